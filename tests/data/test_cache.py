"""The cache of decoded images: sound or not used, and never needed."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from wgangp.data.files import cache as caches
from wgangp.data.files import decoding
from wgangp.data.files.cache import HEADER
from wgangp.data.files.pixels import decode_file
from wgangp.data.sources import image_folder

PHOTOS = {"size": 8, "channels": 1, "classes": None, "limit": None, "levels": None, "verify": False, "cache": None}
PHOTOS |= {"held_out": None}
PHOTOS |= {"flip": False, "dequantise": False, "seed": 0, "device": torch.device("cpu")}
NOT_KEPT = "the decoded images are not kept, so the next start decodes again"


def write_photos(folder, n=20):
    """Picture i is all 100 + i."""
    folder.mkdir(exist_ok=True)
    for i in range(n):
        Image.new("L", (9, 8), 100 + i).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


def load(folder, **options):
    return image_folder(path=str(folder), **(PHOTOS | options)).train.samples


def is_right(images, n=20):
    return images[:, 0, 0, 0].tolist() == [100 + i for i in range(n)] and bool((images == images[:, :, :1, :1]).all())


def cached(monkeypatch):
    monkeypatch.setattr(decoding, "decode_file", lambda *a: pytest.fail("decoded again"))


def the_cache(folder):
    (cache,) = folder.glob(".*.cache")
    return cache


# Without a place to write.


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG])
@pytest.mark.parametrize("call", ["open", "pwrite", "ftruncate", "fsync", "replace"])
def test_what_cannot_be_written_is_not_kept(photos, monkeypatch, caplog, call, code):
    original = getattr(os, call)

    def fails(first, *arguments, **keywords):
        if call == "open" and not str(first).endswith(".partial"):
            return original(first, *arguments, **keywords)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(caches.os, call, fails)
    assert is_right(load(photos)) and caplog.text.count(NOT_KEPT) == 1 and len(caplog.records) == 1
    assert os.strerror(code) in caplog.text and "dataset.cache" in caplog.text and not list(photos.glob(".*"))


@pytest.mark.parametrize("packed", [False, True])
def test_a_read_only_folder(caplog, packed):
    """As another user than root, who may write everywhere."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    "".encode("cp437")  # zipfile's codec, loaded while Python's own files can still be read
    try:
        path = write_photos(folder / "photos")
        if packed:
            path = folder / "photos.zip"
            with zipfile.ZipFile(path, "w") as archive:
                for file in (folder / "photos").iterdir():
                    archive.write(file, file.name)
        for each in (folder, folder / "photos"):
            each.chmod(0o555)
        try:
            if os.geteuid() == 0:
                os.seteuid(65534)
            assert is_right(load(path)) and caplog.text.count(NOT_KEPT) == 1 and "Permission denied" in caplog.text
        finally:
            os.seteuid(os.getuid())
    finally:
        shutil.rmtree(folder)


def test_names_that_are_almost_too_long(tmp_path, monkeypatch, caplog):
    folders = [write_photos(tmp_path / (name * (235 // len(name.encode())))) for name in ("x", "ä", "😀")]
    zips = [Path(shutil.make_archive(str(folder), "zip", folder)) for folder in folders]
    for path in (*folders, *zips):
        assert is_right(load(path))
    cached(monkeypatch)
    for path in (*folders, *zips):
        assert is_right(load(path))
    assert not caplog.records


@pytest.mark.parametrize("place", ["/proc", "/dev/null", "/dev/full/x", "photos/000.png"])
def test_a_cache_folder_that_is_none(photos, monkeypatch, caplog, place):
    monkeypatch.chdir(photos.parent)
    assert is_right(load(photos, cache=place)) and caplog.text.count(NOT_KEPT) == 1


def test_caches_elsewhere(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    other = write_photos(tmp_path / "other", 7)
    shutil.move(other, tmp_path / "deeper" / "photos")  # of the same name
    for _ in range(2):
        assert is_right(load(photos, cache="~/new/caches"))
        assert is_right(load(tmp_path / "deeper" / "photos", cache="~/new/caches"), 7)
        monkeypatch.chdir(tmp_path)
        assert is_right(load("photos", cache="new/caches"))
        cached(monkeypatch)
    assert len(list((tmp_path / "new" / "caches").iterdir())) == 2 and not list(photos.glob(".*"))


# Damaged caches.


@pytest.mark.parametrize("start", [HEADER, HEADER + 64 * 20 - 1, HEADER + 64 * 7 + 3])
def test_a_changed_byte_is_found(photos, start, caplog):
    load(photos)
    content = bytearray((cache := the_cache(photos)).read_bytes())
    content[start] ^= 1
    cache.write_bytes(content)
    assert is_right(load(photos)) and f"{cache} is damaged: the images are decoded again" in caplog.text
    caplog.clear()
    assert is_right(load(photos)) and not caplog.text


def test_black_images_are_found(photos):
    """As two writers of one file left them: the header of the one over the holes of the other."""
    load(photos)
    content = bytearray((cache := the_cache(photos)).read_bytes())
    content[HEADER + 64 : HEADER + 640] = bytes(576)
    cache.write_bytes(content)
    assert is_right(load(photos))


def test_the_numbers_of_images_left_out_are_checked(tmp_path):
    photos = write_photos(tmp_path / "photos", 101)
    (photos / "050.png").write_bytes(b"no")
    kept = [100 + i for i in range(101) if i != 50]
    assert load(photos)[:, 0, 0, 0].tolist() == kept
    content = bytearray((cache := the_cache(photos)).read_bytes())
    content[-8] = 51
    cache.write_bytes(content)
    assert load(photos)[:, 0, 0, 0].tolist() == kept and cache.read_bytes()[-8] == 50


def test_caches_of_other_versions_are_decoded_again(photos, monkeypatch):
    """Those of the first version have images that lie on their side."""
    load(photos)
    start = json.loads((cache := the_cache(photos)).read_bytes()[:HEADER])
    for old in ({"wgangp": "images", "sources": start["sources"], "shape": start["shape"]}, start | {"version": 1}):
        cache.write_bytes(json.dumps(old).encode().ljust(HEADER - 1) + b"\n" + bytes(64 * 20))
        assert is_right(load(photos))
    monkeypatch.setattr(caches, "VERSION", 99)
    monkeypatch.setattr(decoding, "decode_file", lambda *a: decode_file(*a) * 0)
    assert not load(photos).any()


def test_a_disk_that_takes_a_few_bytes_at_a_time(photos, monkeypatch):
    original = os.pwrite
    monkeypatch.setattr(caches.os, "pwrite", lambda file, data, place: original(file, data[:7], place))
    assert is_right(load(photos))
    cached(monkeypatch)
    assert is_right(load(photos))


def test_a_disk_that_stores_something_else(photos, monkeypatch, caplog):
    original = os.pwrite
    monkeypatch.setattr(caches.os, "pwrite", lambda file, data, place: original(file, bytes(len(data)), place))
    assert is_right(load(photos)) and caplog.text.count(NOT_KEPT) == 1


# Several writers, and dead ones.


def test_writers_with_the_same_process_number_have_their_own_files(photos, monkeypatch):
    opened, original = [], os.open

    def noted(path, *arguments):
        opened.append(str(path))
        return original(path, *arguments)

    monkeypatch.setattr(caches.os, "open", noted)
    for _ in range(2):
        load(photos, verify=True)
    partials = [path for path in opened if path.endswith(".partial")]
    assert len(set(partials)) == 2 and not any(str(os.getpid()) in Path(p).name.split(".") for p in partials)


def test_files_of_dead_writers_are_removed_and_those_of_living_ones_stay(photos):
    name = ".photos_8x8x1.cache"
    dead, living = photos / f"{name}.1234.partial", photos / f"{name}.abcd.partial"
    dead.write_bytes(b"?"), living.write_bytes(b"?")
    (photos / f"{name}.link.partial").symlink_to(photos / "000.png")
    with open(living, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_right(load(photos))
    assert not dead.exists() and living.exists() and (photos / "000.png").exists()


KILLED = """
import os, signal, sys, torch
from wgangp.data.files import decoding
from wgangp.data.files.pixels import decode_file
from wgangp.data.sources import image_folder
count = iter(range(5))
decoding.decode_file = lambda *a: decode_file(*a) if next(count, None) is not None else os.kill(os.getpid(), 9)
image_folder(path=sys.argv[1], size=8, channels=1, classes=None, limit=None, levels=None, verify=False, cache=None,
             flip=False, held_out=None, dequantise=False, seed=0, device=torch.device("cpu"))
"""


def test_a_killed_writer_leaves_nothing_for_good(photos):
    killed = subprocess.run([sys.executable, "-c", KILLED, photos], capture_output=True)
    assert killed.returncode == -signal.SIGKILL and len(list(photos.glob(".*.partial"))) == 1
    assert is_right(load(photos)) and not list(photos.glob(".*.partial"))
