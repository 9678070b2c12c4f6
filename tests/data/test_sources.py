"""Datasets in the formats people have them: IDX, CIFAR pickles, CelebA's three layouts, folders, zips, arrays."""

import gzip
import hashlib
import logging
import os
import pickle
import shutil
import threading
import zipfile

import numpy as np
import pytest
import torch
from conftest import array, picture, write_mnist
from PIL import Image

from wgangp.data.files import Files, cache, decode, decoding
from wgangp.data.files.pixels import decode_file
from wgangp.data.sources import celeba, image_folder, stacked_digits, torchvision_dataset

DRAW = {"held_out": None, "limit": None, "flip": False, "dequantise": False, "seed": 0, "device": torch.device("cpu")}
AS_IS = {"size": None, "channels": None, "classes": None, **DRAW}
SMALL = {"size": 16, "channels": 3, "classes": None, "levels": None, "verify": False, "cache": None, **DRAW}
PLAIN = {"levels": None, "verify": False}
rng = np.random.default_rng(0)


@pytest.mark.parametrize(("name", "folder"), [("MNIST", "MNIST"), ("FashionMNIST", "FashionMNIST")])
def test_idx_files(tmp_path, name, folder):
    x, y = write_mnist(tmp_path / folder / "raw")
    data = torchvision_dataset(name=name, root=str(tmp_path), download=False, **AS_IS)
    assert data.shape == (1, 28, 28) and data.num_classes == 10 and len(data) == 30
    assert torch.equal(data.train.samples[:, 0], torch.from_numpy(x)) and data.train.labels.tolist() == y.tolist()
    assert len(data.held_out_split.labels) == 12
    resized = torchvision_dataset(
        name=name, root=str(tmp_path), download=False, **(AS_IS | {"size": 32, "channels": 3, "classes": [1, 4]})
    )
    assert resized.shape == (3, 32, 32) and resized.num_classes == 2 and len(resized) == 6


def test_stacked_digits(tmp_path):
    """Each channel is a digit of MNIST, drawn by itself; other seeds of a run have the same images."""
    x, _ = write_mnist(tmp_path / "MNIST" / "raw")
    one, other = (
        stacked_digits(root=str(tmp_path), download=False, images_drawn=50, **(AS_IS | {"seed": seed}))
        for seed in (0, 7)
    )
    assert one.shape == (3, 28, 28) and (len(one), len(one.held_out_split), one.num_classes) == (50, 12, 0)
    assert torch.equal(one.train.samples, other.train.samples)
    digits = torch.from_numpy(x)
    drawn = [int((digits == channel).all(dim=(1, 2)).nonzero()) for channel in one.train.samples.flatten(0, 1)]
    assert len(set(drawn)) > 20 and len({tuple(drawn[i : i + 3]) for i in range(0, 150, 3)}) > 45


def test_a_limit_is_drawn_from_all_classes(tmp_path, folder, faces):
    x, y = write_mnist(tmp_path / "MNIST" / "raw")
    np.savez(tmp_path / "x.npz", images=x, labels=y)
    few = {"limit": 20}
    for data in (
        torchvision_dataset(name="MNIST", root=str(tmp_path), download=False, **(AS_IS | few)),
        array(path=str(tmp_path / "x.npz"), **(AS_IS | few | {"seed": 7})),  # the same for every seed
    ):
        assert torch.bincount(data.train.labels).tolist() == [2] * 10 and data.num_classes == 10
        kept = [i for i in range(30) if (torch.from_numpy(x[i]) == data.train.samples).flatten(1).all(1).any()]
        assert torch.equal(data.train.samples[:, 0], torch.from_numpy(x[kept])) and kept != list(range(20))
        assert data.train.labels.tolist() == y[kept].tolist()
    assert len(celeba(root=str(faces), download=False, **(SMALL | {"limit": 3}))) == 3
    for limit in (0, 31, "many", True):
        with pytest.raises(ValueError, match=f"dataset.limit={limit}: give a whole number from 1 to 30"):
            array(path=str(tmp_path / "x.npz"), **(AS_IS | {"limit": limit}))


def test_a_limit_decodes_only_what_it_uses(folder, monkeypatch):
    decoded = []
    monkeypatch.setattr(decoding, "decode_file", lambda *a: decoded.append(a[1]) or decode_file(*a))
    for options in ({"limit": 3}, {"limit": 3}, {"classes": ["dogs"]}):
        image_folder(path=str(folder), **(SMALL | options))
    assert len(decoded) == 3 + 2 and all(name.startswith("dogs") for name in decoded[3:])
    assert len(image_folder(path=str(folder), **SMALL)) == 5 and len(list(folder.glob(".*.cache"))) == 3


def test_a_damaged_idx_file_is_named(tmp_path):
    write_mnist(raw := tmp_path / "MNIST" / "raw")
    path = raw / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="train-images-idx3-ubyte is damaged"):
        torchvision_dataset(name="MNIST", root=str(tmp_path), download=False, **AS_IS)


def write_cifar(folder, monkeypatch):
    from torchvision.datasets import CIFAR10

    folder.mkdir(parents=True)
    x = rng.integers(0, 256, (6, 10, 3072), dtype=np.uint8)
    batches = [(f"data_batch_{i + 1}", x[i]) for i in range(5)] + [("test_batch", x[5])]
    md5s = []
    for name, data in batches:
        content = pickle.dumps({"data": data, "labels": list(range(10))})
        (folder / name).write_bytes(content)
        md5s.append([name, hashlib.md5(content).hexdigest()])
    meta = pickle.dumps({"label_names": list("abcdefghij")})
    (folder / "batches.meta").write_bytes(meta)
    monkeypatch.setattr(CIFAR10, "train_list", md5s[:5])
    monkeypatch.setattr(CIFAR10, "test_list", md5s[5:])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": hashlib.md5(meta).hexdigest()})
    return x.reshape(6, 10, 3, 32, 32)


def test_cifar_batches(tmp_path, monkeypatch):
    x = write_cifar(tmp_path / "cifar-10-batches-py", monkeypatch)
    data = torchvision_dataset(name="CIFAR10", root=str(tmp_path), download=False, **AS_IS)
    assert torch.equal(data.train.samples, torch.from_numpy(x[:5].reshape(50, 3, 32, 32)))
    assert torch.equal(data.held_out_split.samples, torch.from_numpy(x[5])) and data.num_classes == 10
    (tmp_path / "cifar-10-batches-py" / "data_batch_2").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"CIFAR10 cannot be read: .*data_batch_2 is damaged, replace it"):
        torchvision_dataset(name="CIFAR10", root=str(tmp_path), download=False, **AS_IS)


def test_a_failed_download_says_what_to_put_where(tmp_path, monkeypatch):
    def offline(*arguments, **keywords):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", offline)
    with pytest.raises(ValueError, match=r"put train-images-idx3-ubyte.* into .*MNIST/raw") as error:
        torchvision_dataset(name="MNIST", root=str(tmp_path), download=True, **AS_IS)
    assert "\n" not in str(error.value)


def zipped(folder, path, prefix=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, prefix + str(file.relative_to(folder)))
    return path


@pytest.fixture
def faces(tmp_path):
    """Six faces in torchvision's layout: four to train on, one each to validate and test."""
    for i in range(6):
        picture(tmp_path / "celeba" / "img_align_celeba" / f"{i + 1:06d}.jpg", (18, 22))
    partition = "".join(f"{i + 1:06d}.jpg {part}\n" for i, part in enumerate([0, 0, 1, 0, 2, 0]))
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text(partition)
    return tmp_path


def test_the_three_layouts_of_celeba_are_equal(faces, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    ours = celeba(root=str(faces), download=False, **SMALL)
    assert "found 6 of 202,599" in caplog.text
    assert (
        len(ours) == 4 and len(ours.held_out_split.labels) == 1 and ours.shape == (3, 16, 16) and ours.num_classes == 0
    )

    folder, zip_root, kaggle = faces / "celeba" / "img_align_celeba", tmp_path / "zip", tmp_path / "kaggle"
    zip_root.mkdir()
    zipped(folder, zip_root / "img_align_celeba.zip", "img_align_celeba/")
    shutil.copy(faces / "celeba" / "list_eval_partition.txt", zip_root)
    shutil.copytree(folder, kaggle / "celeba" / "img_align_celeba" / "img_align_celeba")
    rows = (faces / "celeba" / "list_eval_partition.txt").read_text().replace(" ", ",")
    (kaggle / "celeba" / "list_eval_partition.csv").write_text("image_id,partition\n" + rows)
    for root in (zip_root, kaggle):
        other = celeba(root=str(root), download=False, **SMALL)
        assert torch.equal(ours.train.samples, other.train.samples)
        assert torch.equal(ours.held_out_split.samples, other.held_out_split.samples)


def test_absent_celeba_lists_where_it_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"celeba/img_align_celeba\.zip.*put the folder") as error:
        celeba(root=str(tmp_path), download=False, **SMALL)
    assert "\n" not in str(error.value)


@pytest.fixture
def folder(tmp_path):
    """Two classes of images of several formats and modes."""
    for i, (mode, ending) in enumerate([("RGB", "jpg"), ("L", "png"), ("P", "gif"), ("CMYK", "jpg"), ("RGBA", "png")]):
        picture(tmp_path / "photos" / ("cats", "dogs")[i % 2] / f"{i} ä.{ending}", (20 + i, 30 - i), mode)
    (tmp_path / "photos" / "dogs" / "notes.txt").write_text("not an image")
    (tmp_path / "photos" / "dogs" / "._3.jpg").write_bytes(b"what a Mac leaves")
    return tmp_path / "photos"


@pytest.mark.parametrize("channels", [1, 3])
def test_folder_and_zip_are_equal(folder, channels):
    options = SMALL | {"channels": channels}
    ours = image_folder(path=str(folder), **options)
    assert (
        ours.shape == (channels, 16, 16)
        and ours.num_classes == 2
        and sorted(ours.train.labels.tolist()) == [0, 0, 0, 1, 1]
    )
    for prefix in ("", "photos/"):
        path = zipped(folder, folder.parent / "photos.zip", prefix)
        other = image_folder(path=str(path), **options)
        assert torch.equal(ours.train.samples, other.train.samples) and torch.equal(
            ours.train.labels, other.train.labels
        )


def test_cached_equals_decoded_and_follows_its_sources(folder, monkeypatch):
    first = image_folder(path=str(folder), **SMALL).train.samples
    monkeypatch.setattr(decoding, "decode_file", lambda *a: pytest.fail("decoded again"))
    assert torch.equal(first, image_folder(path=str(folder), **SMALL).train.samples)
    monkeypatch.undo()

    picture(folder / "cats" / "0 ä.jpg")  # another image of the same name
    changed = image_folder(path=str(folder), **SMALL).train.samples.clone()
    assert not torch.equal(first, changed)
    (cache,) = folder.glob(".*.cache")
    cache.write_bytes(cache.read_bytes()[: cache.stat().st_size // 2])
    assert torch.equal(changed, image_folder(path=str(folder), **SMALL).train.samples)
    assert image_folder(path=str(folder), **(SMALL | {"size": 8})).shape == (3, 8, 8)
    assert len(list(folder.glob(".*.cache"))) == 2 and not list(folder.glob("*.partial"))


@pytest.mark.parametrize("call", ["pwrite", "fsync", "replace"])
def test_a_folder_that_cannot_be_written_trains_all_the_same(folder, monkeypatch, caplog, call):
    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(cache.os, call, full)
    assert len(image_folder(path=str(folder), **SMALL)) == 5
    assert "the next start decodes again" in caplog.text and not list(folder.glob(".*"))


def test_interrupted_decoding_leaves_no_cache(folder, monkeypatch):
    names = iter(range(3))
    monkeypatch.setattr(
        decoding, "decode_file", lambda *a: decode_file(*a) if next(names, None) is not None else interrupt()
    )
    with pytest.raises(KeyboardInterrupt):
        image_folder(path=str(folder), **SMALL)
    assert not list(folder.glob(".*"))


def interrupt():
    raise KeyboardInterrupt


def test_a_damaged_image_is_named(folder):
    path = folder / "cats" / "0 ä.jpg"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"cats/0 ä\.jpg cannot be read as an image"):
        image_folder(path=str(folder), **SMALL)


def test_sixteen_bit_images_keep_their_brightness(tmp_path):
    Image.fromarray(np.full((20, 20), 40_000, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert set(decode_file(Files(tmp_path), "deep.png", 8, 1, None).flat) == {40_000 >> 8}


def test_decoding_is_pils_central_square(tmp_path):
    x = np.zeros((8, 16, 3), dtype=np.uint8)
    x[:, 4:12] = 200
    Image.fromarray(x).save(tmp_path / "wide.png")
    images, _ = decode(Files(tmp_path), ["wide.png"], size=8, channels=3, **PLAIN, cache=tmp_path / "c")
    assert images.unique().tolist() == [200]


@pytest.mark.parametrize("bad", [{"size": None}, {"size": 0}, {"channels": None}, {"channels": 4}])
def test_image_files_need_a_size_and_channels(folder, bad):
    with pytest.raises(ValueError, match=r"image files need a size, and 1 or 3 channels"):
        image_folder(path=str(folder), **(SMALL | bad))


def test_celeba_without_training_faces_trains_on_what_there_is(faces):
    (faces / "celeba" / "list_eval_partition.txt").write_text("".join(f"{i + 1:06d}.jpg 1\n" for i in range(6)))
    data = celeba(root=str(faces), download=False, **SMALL)
    assert len(data) == 6 and data.held_out_split is None


def test_what_is_no_image_folder_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.zip").write_bytes(b"not a zip")
    for name, message in (("empty", "has no images"), ("absent", "no such folder"), ("file.zip", "no sound zip")):
        with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
            image_folder(path=str(tmp_path / name), **SMALL)
        assert name in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(9, 12, 12), (9, 12, 12, 3), (9, 12, 12, 1), (9, 3, 12, 12), (9, 1, 12, 12)])
def test_arrays_of_every_layout(tmp_path, shape):
    x = rng.integers(0, 256, shape, dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    data = array(path=str(tmp_path / "x.npy"), **AS_IS)
    c = 3 if 3 in shape[1:] else 1
    assert data.shape == (c, 12, 12) and data.num_classes == 0
    expected = x.reshape(9, 12, 12, c).transpose(0, 3, 1, 2) if shape[-1] in (1, 3) or x.ndim == 3 else x
    assert np.array_equal(data.train.samples, expected)


def test_npz_with_labels_and_a_held_out_part(tmp_path):
    x, y = rng.integers(0, 256, (9, 8, 8, 3), dtype=np.uint8), np.arange(9) % 3
    np.savez(tmp_path / "x.npz", images=x, labels=y, test_images=x[:4], test_labels=y[:4])
    data = array(path=str(tmp_path / "x.npz"), **AS_IS)
    assert data.num_classes == 3 and data.train.labels.tolist() == y.tolist() and len(data.held_out_split.labels) == 4
    assert len(array(path=str(tmp_path / "x.npz"), **(AS_IS | {"classes": [2]}))) == 3


def test_arrays_that_are_none_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("floats.npy", np.zeros((4, 8, 8)))
    np.savez("other.npz", faces=np.zeros((4, 8, 8), dtype=np.uint8), hands=np.zeros((4, 8, 8), dtype=np.uint8))
    np.save("code.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez("few.npz", images=np.zeros((4, 8, 8), dtype=np.uint8), labels=np.zeros(3, dtype=int))
    with gzip.open("x.gz", "wb") as file:
        file.write(b"zip?")
    for name, message in (
        ("floats.npy", "has several readings"),
        ("other.npz", "has the arrays faces, hands"),
        ("code.npy", "damaged or no"),
        ("few.npz", "4 samples have 3 labels"),
        ("x.gz", "of no kind that is known"),
        ("absent.npy", "no such file"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
            array(path=name, **AS_IS)
        assert "\n" not in str(error.value)


def test_decoding_uses_every_core(tmp_path, monkeypatch):
    seen = set()
    for i in range(64):
        picture(tmp_path / f"{i}.jpg", (200, 200))
    monkeypatch.setattr(decoding, "decode_file", lambda *a: seen.add(threading.get_ident()) or decode_file(*a))
    decode(Files(tmp_path), [f"{i}.jpg" for i in range(64)], size=64, channels=3, **PLAIN, cache=tmp_path / "c")
    assert len(seen) == os.cpu_count()
