"""Encoded image files, in a folder tree or a zip, to one uint8 tensor that is kept in a cache file beside them."""

import hashlib
import io
import json
import logging
import math
import os
import re
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

log = logging.getLogger(__name__)

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")  # PIL's others start programs (EPS) or read other files
LARGEST_FILE = 2**29  # bytes of an encoded image: more than any that PIL decodes
EXPANSION, SMALL = 1000, 2**26  # a zip's member may become so many times larger than it is packed, or so many bytes
MAY_MISS = 0.01  # of the images, which are skipped if they cannot be read


def shown(name: object) -> str:
    """A name or message as one line that every terminal and log can write, whatever bytes it is made of."""
    return " ".join(str(name).encode("utf-8", "backslashreplace").decode().split())


def open_zip(path: Path) -> zipfile.ZipFile:
    """Opens a zip file. Raises ValueError if it is damaged, or a member is encrypted, a trap or a bomb."""
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # zipfile has many: BadZipFile, NotImplementedError, struct.error ...
        raise ValueError(f"{shown(path)} is no sound zip file ({shown(error)})") from error
    packed = path.stat().st_size
    for member in archive.infolist():
        if fault := _fault(member, packed):
            raise ValueError(f"{shown(path)} is refused, for its member {shown(member.filename)} {fault}")
    return archive


def _fault(member: zipfile.ZipInfo, packed: int) -> str | None:
    """Why a member is not to be read, of a zip of so many bytes."""
    parts = re.split(r"[/\\]", member.filename)
    if parts[0] == "" or ".." in parts:
        return "has a name that leads out of the archive: pack it again with relative names"
    if member.flag_bits & 1:
        return "is encrypted: pack it again without a password"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed by another method than deflate: pack it again"  # zipfile reads the others without a bound
    if member.file_size > max(SMALL, EXPANSION * min(member.compress_size, packed)):
        return f"claims to be {member.file_size:,} bytes, over {EXPANSION} times what it is packed: remove it"
    return None


class Unreadable(ValueError):
    """A file that is no sound image, on whatever machine."""


class Files:
    """The image files below a folder or inside a zip, by their sorted relative names."""

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, threading.Lock()
        if path.is_dir():
            self.stamps = dict(_walk(str(path)))
        else:
            self.archive = open_zip(path)
            members = [m for m in self.archive.infolist() if not m.is_dir() and _is_image(m.filename)]
            self.stamps = {m.filename: (m.file_size, m.CRC) for m in members}
        self.names = sorted(self.stamps)

    def read(self, name: str) -> bytes:
        """The file. Raises ValueError if it can be no image, or what the system and zipfile have for failures."""
        if self.stamps[name][0] > LARGEST_FILE:
            raise ValueError(f"larger than {LARGEST_FILE:,} bytes")
        if self.path.is_dir():
            if not (self.path / name).is_file():
                raise ValueError("no regular file")
            return (self.path / name).read_bytes()
        with self.lock, self.archive.open(name) as member:  # one for all threads: to open CelebA's takes seconds
            return member.read(self.stamps[name][0])  # no more than it claims

    def decode(self, name: str, size: int, channels: int) -> np.ndarray:
        """(c, size, size) uint8: the central square, resized.

        Raises Unreadable, naming the file, if it is damaged, and ValueError if it is the system that fails.
        """
        try:
            with Image.open(io.BytesIO(self.read(name)), formats=FORMATS) as file:
                file.draft("RGB", (2 * size, 2 * size))  # JPEGs may be decoded at a half or a quarter of their size
                image = _to_8_bits(file).convert("L" if channels == 1 else "RGB")
                image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
        except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, struct.error ... on damaged files
            why = "of no known format" if isinstance(error, UnidentifiedImageError) else shown(error)
            system = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)
            told = f"{shown(self.path / name)} cannot be read as an image: remove or replace it ({why})"
            raise (ValueError if system else Unreadable)(told) from error
        return np.ascontiguousarray(np.asarray(image).reshape(size, size, channels).transpose(2, 0, 1))


def _walk(folder: str, prefix: str = "", above: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[int, int]]]:
    """Relative names of the images below a folder, with their sizes and times; links back up are not followed."""
    here = os.path.realpath(folder)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _walk(entry.path, f"{prefix}{entry.name}/", (*above, here))
            elif _is_image(prefix + entry.name):
                stat = entry.stat(follow_symlinks=entry.is_file())  # of a broken link itself
                yield prefix + entry.name, (stat.st_size, stat.st_mtime_ns)


def _is_image(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    last = folder.rpartition("/")[2]
    hidden = file.startswith(".") or last.startswith(".") or last == "__MACOSX"
    return not hidden and os.path.splitext(file)[1].lower() in ENDINGS


def _to_8_bits(image: Image.Image) -> Image.Image:
    """16-bit images scaled to 8 bits, where PIL's own conversion would clip; transparency on white.

    Raises ValueError for floating-point pixels, whose white may be 1 or 255 or anything.
    """
    if image.mode == "F":
        raise ValueError("floating-point pixels")
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image


def decode(
    files: Files, names: Sequence[str], size: int, channels: int, cache: Path, *, verify: bool
) -> tuple[Tensor, Tensor]:
    """The images (n, c, size, size) uint8, and which of the names they are (n,).

    They are decoded on all cores, or mapped from `cache` if it is of them. A few files that cannot be read are left
    out and told; with `verify` all are decoded anew and none is left out. Raises ValueError, naming a file, where
    more cannot be read than may be left out.
    """
    if type(size) is not int or size < 1 or channels not in (1, 3):
        raise ValueError(
            f"dataset.size={size}, dataset.channels={channels}: image files need a size, and 1 or 3 channels"
        )
    if type(verify) is not bool:
        raise ValueError(f"dataset.verify={verify}: choose true or false")
    sources = [(name, *files.stamps[name]) for name in names]
    fingerprint, shape = hashlib.sha256(repr(sources).encode()).hexdigest(), (len(names), channels, size, size)
    cached = None if verify else _read_cache(cache, fingerprint, shape)
    skippable = 0 if verify else int(MAY_MISS * len(names))
    images, skipped = cached or _decode_and_cache(files, names, shape, skippable, cache, fingerprint)
    if skipped:
        few = ", ".join(shown(names[i]) for i in skipped[:3]) + (", ..." if len(skipped) > 3 else "")
        log.warning("left out %d of %d images, which cannot be read: %s", len(skipped), len(names), few)
    return images, _all_but(skipped, len(names))


def _all_but(skipped: list[int], n: int) -> Tensor:
    """The numbers below n without the skipped ones."""
    return torch.from_numpy(np.delete(np.arange(n), skipped))


def _decode_and_cache(
    files: Files, names: Sequence[str], shape: tuple[int, ...], skippable: int, cache: Path, fingerprint: str
) -> tuple[Tensor, list[int]]:
    """The images that can be read, mapped from the cache where it can be written, and the numbers of the others."""
    image_bytes = math.prod(shape[1:])

    def place(i: int) -> int:
        return HEADER + i * image_bytes

    with _written_beside(cache) as file:

        def keep(i: int, image: np.ndarray) -> None:  # a system call, so that writing does not hold up decoding
            os.pwrite(file.fileno(), image.data, place(i))

        skipped = _decode_all(files, names, shape, skippable, keep)
        for i, source in enumerate(_all_but(skipped, len(names)).tolist() if skipped else ()):  # close the gaps
            os.pwrite(file.fileno(), os.pread(file.fileno(), image_bytes, place(source)), place(i))
        n = len(names) - len(skipped)
        os.ftruncate(file.fileno(), place(n))
        os.pwrite(file.fileno(), np.array(skipped, np.int64).data, place(n))
        os.pwrite(file.fileno(), _header(fingerprint, (n, *shape[1:])), 0)
    if (cached := _read_cache(cache, fingerprint, shape)) is not None:
        return cached
    array = np.empty(shape, dtype=np.uint8)
    skipped = _decode_all(files, names, shape, skippable, array.__setitem__)
    return torch.from_numpy(np.delete(array, skipped, axis=0) if skipped else array), skipped


def _decode_all(
    files: Files,
    names: Sequence[str],
    shape: tuple[int, ...],
    skippable: int,
    keep: Callable[[int, np.ndarray], None],
) -> list[int]:
    """keep(i, image) in many threads; the numbers of what is Unreadable. Raises ValueError if they are too many."""
    chunks = [range(i, min(i + 8, len(names))) for i in range(0, len(names), 8)]

    def work(chunk: range) -> dict[int, Unreadable]:
        unreadable = {}
        for i in chunk:
            try:
                image = files.decode(names[i], shape[2], shape[1])
            except Unreadable as error:
                unreadable[i] = error
            else:
                keep(i, image)
        return unreadable

    unreadable: dict[int, Unreadable] = {}
    with (
        warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(names), desc=f"decoding {shown(files.path.name)}", unit="image") as bar,
    ):
        try:
            for chunk, found in zip(chunks, pool.map(work, chunks), strict=True):
                unreadable |= found
                if len(unreadable) > skippable:
                    raise _refusal(unreadable, skippable, len(names))
                bar.update(len(chunk))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return list(unreadable)


def _refusal(unreadable: dict[int, Unreadable], skippable: int, n: int) -> ValueError:
    """The first file's error; with the count, where some could have been left out."""
    first = next(iter(unreadable.values()))
    count = f"; so are at least {len(unreadable)} of {n} files, and only {skippable} can be left out"
    return ValueError(f"{first}{count if skippable else ''}")


# A cache file is a header of 4096 bytes, which tells what it is of, the images as they are, and the numbers of those
# that could not be read, as int64.

HEADER = 4096


def _header(fingerprint: str, shape: tuple[int, ...]) -> bytes:
    header = {"wgangp": "images", "sources": fingerprint, "shape": shape}
    return json.dumps(header).encode().ljust(HEADER - 1) + b"\n"


def _read_cache(cache: Path, fingerprint: str, shape: tuple[int, ...]) -> tuple[Tensor, list[int]] | None:
    """The images mapped from `cache`, and what could not be read; None if it is absent, damaged or of other images."""
    try:
        with open(cache, "rb") as file:
            header = file.read(HEADER)
        n = json.loads(header)["shape"][0]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    if n not in range(1, shape[0] + 1) or header != _header(fingerprint, (n, *shape[1:])):
        return None
    end = HEADER + n * math.prod(shape[1:])
    if cache.stat().st_size != end + 8 * (shape[0] - n):
        return None
    skipped = np.fromfile(cache, np.int64, offset=end).tolist()
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # torch cannot mark tensors as read-only
        # Read-only, since a mapping that may be written to has to fit into memory.
        mapped = np.memmap(cache, np.uint8, "r", offset=HEADER, shape=(n, *shape[1:]))
        return torch.from_numpy(mapped), skipped


@contextmanager
def _written_beside(cache: Path) -> Iterator[BinaryIO]:
    """A file that becomes `cache` when all of it is on the disk; where the disk has no room, only a warning is left."""
    partial = cache.with_name(f"{cache.name}.{os.getpid()}.partial")
    try:
        with open(partial, "w+b") as file:
            yield file
            os.fsync(file.fileno())
        os.replace(partial, cache)
    except OSError as error:
        log.warning("the decoded images are not kept, so the next start decodes again (%s)", error)
    finally:
        partial.unlink(missing_ok=True)
