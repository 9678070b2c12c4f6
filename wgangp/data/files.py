"""Encoded image files, in a folder tree or a zip, to one uint8 tensor that is kept in a cache file beside them."""

import hashlib
import io
import logging
import os
import threading
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

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
        self.path = path
        self.local = threading.local()  # a ZipFile per thread: one cannot be read by several at once
        if path.is_dir():
            found = [(p.relative_to(path).as_posix(), p.stat()) for p in path.rglob("*") if _is_image(p.as_posix())]
            self.stamps = {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found}
        else:
            try:
                with zipfile.ZipFile(path) as archive:
                    members = [m for m in archive.infolist() if not m.is_dir() and _is_image(m.filename)]
                    self.stamps = {m.filename: (m.file_size, m.CRC) for m in members}
            except (OSError, zipfile.BadZipFile) as error:
                raise ValueError(f"{path} is no folder and no sound zip file ({error})") from error
        self.names = sorted(self.stamps)

    def read(self, name: str) -> bytes:
        if self.path.is_dir():
            return (self.path / name).read_bytes()
        if not hasattr(self.local, "archive"):
            self.local.archive = zipfile.ZipFile(self.path)
        return self.local.archive.read(name)

    def decode(self, name: str, size: int, channels: int) -> Tensor:
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
        return torch.from_numpy(np.array(image).reshape(size, size, channels)).permute(2, 0, 1)


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts[-2:])
    return path.suffix.lower() in ENDINGS and not hidden


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
    fingerprint = hashlib.sha256(repr((sources, size, channels)).encode()).hexdigest()
    if (images := _read_cache(cache, fingerprint)) is not None:
        return images
    images = torch.empty(len(names), channels, size, size, dtype=torch.uint8)

    def work(i: int) -> None:
        images[i] = files.decode(names[i], size, channels)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = pool.map(work, range(len(names)), chunksize=1)
        try:
            for _ in tqdm(jobs, total=len(names), desc=f"decoding {files.path.name}", unit="image"):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    _write_cache(cache, fingerprint, images)
    return images


def _read_cache(cache: Path, fingerprint: str) -> Tensor | None:
    try:
        content = torch.load(cache, mmap=True, weights_only=True)
        return content["images"] if content["fingerprint"] == fingerprint else None
    except FileNotFoundError:
        return None
    except Exception:  # whatever is wrong with it, it can be made anew
        log.info("%s is damaged: decoding again", cache)
        return None


def _write_cache(cache: Path, fingerprint: str, images: Tensor) -> None:
    """Written beside and renamed, so that no reader sees half of it."""
    partial = cache.with_name(f"{cache.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            torch.save({"fingerprint": fingerprint, "images": images}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, cache)
    except OSError as error:
        partial.unlink(missing_ok=True)
        log.warning("the decoded images are not kept, so the next start decodes again (%s)", error)
