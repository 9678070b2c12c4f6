"""Encoded image files, in a folder tree or a zip, to one uint8 tensor that is kept in a cache file beside them."""

import hashlib
import io
import json
import logging
import math
import os
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
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

log = logging.getLogger(__name__)

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}


class Files:
    """The image files below a folder or inside a zip, by their sorted relative names."""

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, threading.Lock()
        if path.is_dir():
            self.stamps = dict(_walk(str(path)))
        else:
            try:
                self.archive = zipfile.ZipFile(path)
            except (OSError, zipfile.BadZipFile) as error:
                raise ValueError(f"{path} is no folder and no sound zip file ({error})") from error
            members = [m for m in self.archive.infolist() if not m.is_dir() and _is_image(m.filename)]
            self.stamps = {m.filename: (m.file_size, m.CRC) for m in members}
        self.names = sorted(self.stamps)

    def read(self, name: str) -> bytes:
        if self.path.is_dir():
            return (self.path / name).read_bytes()
        with self.lock:  # one for all threads: to open CelebA's takes seconds
            return self.archive.read(name)

    def decode(self, name: str, size: int, channels: int) -> np.ndarray:
        """(c, size, size) uint8: the central square, resized. Raises ValueError, naming the file, if it is damaged."""
        try:
            with Image.open(io.BytesIO(self.read(name))) as file:
                file.draft("RGB", (2 * size, 2 * size))  # JPEGs may be decoded at a half or a quarter of their size
                image = _to_8_bits(file).convert("L" if channels == 1 else "RGB")
                image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
        except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, struct.error ... on damaged files
            raise ValueError(
                f"{self.path / name} cannot be read as an image: remove or replace it ({error})"
            ) from error
        return np.ascontiguousarray(np.asarray(image).reshape(size, size, channels).transpose(2, 0, 1))


def _walk(folder: str, prefix: str = "") -> Iterator[tuple[str, tuple[int, int]]]:
    """Relative names of the images below a folder, with their sizes and times."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _walk(entry.path, f"{prefix}{entry.name}/")
            elif _is_image(prefix + entry.name):
                stat = entry.stat()
                yield prefix + entry.name, (stat.st_size, stat.st_mtime_ns)


def _is_image(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    last = folder.rpartition("/")[2]
    hidden = file.startswith(".") or last.startswith(".") or last == "__MACOSX"
    return not hidden and os.path.splitext(file)[1].lower() in ENDINGS


def _to_8_bits(image: Image.Image) -> Image.Image:
    """16-bit images scaled to 8 bits, where PIL's own conversion would clip; transparency on white."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image


def decode(files: Files, names: Sequence[str], size: int, channels: int, cache: Path) -> Tensor:
    """The named files as (N, c, size, size) uint8, decoded on all cores, or mapped from `cache` if it is of them."""
    if type(size) is not int or size < 1 or channels not in (1, 3):
        raise ValueError(
            f"dataset.size={size}, dataset.channels={channels}: image files need a size, and 1 or 3 channels"
        )
    sources = [(name, *files.stamps[name]) for name in names]
    shape = (len(names), channels, size, size)
    header = _header(hashlib.sha256(repr(sources).encode()).hexdigest(), shape)
    if (images := _read_cache(cache, header, shape)) is not None:
        return images
    with _written_beside(cache) as file:
        file.write(header)
        file.flush()
        image_bytes = channels * size * size

        def keep(i: int, image: np.ndarray) -> None:  # a system call, so that writing does not hold up decoding
            os.pwrite(file.fileno(), image.data, len(header) + i * image_bytes)

        _decode_all(files, names, size, channels, keep)
    if (images := _read_cache(cache, header, shape)) is not None:
        return images
    array = np.empty(shape, dtype=np.uint8)
    _decode_all(files, names, size, channels, array.__setitem__)
    return torch.from_numpy(array)


def _decode_all(
    files: Files, names: Sequence[str], size: int, channels: int, keep: Callable[[int, np.ndarray], None]
) -> None:
    """keep(i, image) for every image, in many threads; the first error ends it."""
    chunks = [range(i, min(i + 8, len(names))) for i in range(0, len(names), 8)]

    def work(chunk: range) -> int:
        for i in chunk:
            keep(i, files.decode(names[i], size, channels))
        return len(chunk)

    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(names), desc=f"decoding {files.path.name}", unit="image") as bar,
    ):
        try:
            for done in pool.map(work, chunks):
                bar.update(done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


# A cache file is a header of 4096 bytes, which tells what it is of, and the images as they are.


def _header(fingerprint: str, shape: tuple[int, ...]) -> bytes:
    return json.dumps({"wgangp": "images", "sources": fingerprint, "shape": shape}).encode().ljust(4095) + b"\n"


def _read_cache(cache: Path, header: bytes, shape: tuple[int, ...]) -> Tensor | None:
    """The images mapped from `cache`; None if it is absent, damaged or of other images."""
    size = len(header) + math.prod(shape)
    if not cache.exists() or cache.stat().st_size != size or cache.open("rb").read(len(header)) != header:
        return None
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # torch cannot mark tensors as read-only
        # Read-only, since a mapping that may be written to has to fit into memory.
        return torch.from_numpy(np.memmap(cache, np.uint8, "r", offset=len(header), shape=shape))


@contextmanager
def _written_beside(cache: Path) -> Iterator[BinaryIO]:
    """A file that becomes `cache` when all of it is on the disk; where the disk has no room, only a warning is left."""
    partial = cache.with_name(f"{cache.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
            os.fsync(file.fileno())
        os.replace(partial, cache)
    except OSError as error:
        log.warning("the decoded images are not kept, so the next start decodes again (%s)", error)
    finally:
        partial.unlink(missing_ok=True)
