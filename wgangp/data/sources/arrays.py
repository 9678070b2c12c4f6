"""Arrays of images in .npy and .npz files."""

import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from wgangp.data.files import open_zip, shown
from wgangp.data.sources.source import ImageSource, Part, array_part, image_source, local_path

ARRAYS = ("images", "labels", "test_images", "test_labels")
MOST_CLASSES = 2**16


@dataclass(frozen=True, kw_only=True)
class Array(ImageSource):
    """uint8 images of a .npy, or of a .npz with images and, optionally, labels, test_images and test_labels."""

    path: str

    def read(self) -> tuple[Part, Part | None, Sequence[str] | None]:
        content = _read_arrays(local_path(self.path))
        test = _array_part(self.path, content, "test_") if "test_images" in content else None
        return _array_part(self.path, content, ""), test, None


array = image_source(Array)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Returns the content of a .npy, as images, or the named arrays of a .npz. Raises ValueError if it is neither."""
    if not path.is_file():
        raise FileNotFoundError(f"dataset.path={path}: there is no such file")
    if not zipfile.is_zipfile(path):
        return {"images": _read_npy(f"dataset.path={path}", lambda: path.open("rb"), path.stat().st_size)}
    with open_zip(path) as archive:
        members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
        if "images" not in members:
            names = shown(", ".join(members))
            raise ValueError(f"dataset.path={path} has the arrays {names}, but none that is called images")
        wanted = {name: members[name] for name in ARRAYS if name in members}
        return {
            name: _read_npy(f"{name} in dataset.path={path}", partial(archive.open, member), member.file_size)
            for name, member in wanted.items()
        }


def _read_npy(what: str, open_file: Callable[[], IO[bytes]], size: int) -> np.ndarray:
    """Returns the array of a .npy of `size` bytes.

    Raises ValueError if it is damaged, holds Python objects or claims another size.
    """
    try:
        with open_file() as file:
            v1 = npy.read_magic(file) == (1, 0)
            shape, _, dtype = (npy.read_array_header_1_0 if v1 else npy.read_array_header_2_0)(file)
            if math.prod(shape) * dtype.itemsize != size - file.tell():  # before memory is taken
                raise ValueError(f"shape {shape} of {dtype} is not what its size of {size:,} bytes can hold")
            file.seek(0)
            return npy.read_array(file, allow_pickle=False)
    except Exception as error:  # numpy, zipfile and zlib raise an exception each for damaged files
        raise ValueError(f"{what} is damaged or no array of plain numbers ({error})") from error


def _array_part(path: str, content: dict[str, np.ndarray], prefix: str) -> Part:
    """Returns the images called PREFIXimages, with their labels. Raises ValueError if their numbers differ."""
    images, labels = _as_images(path, content[f"{prefix}images"]), _as_labels(path, content.get(f"{prefix}labels"))
    try:
        return array_part(images, labels)
    except ValueError as error:
        raise ValueError(f"dataset.path={path}: {error}") from error


def _as_images(path: str, x: np.ndarray) -> Tensor:
    """Returns (N, c, h, w) of (N, h, w), (N, h, w, c) or (N, c, h, w) uint8. Raises ValueError for other arrays."""
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or not x.size:
        raise ValueError(
            f"dataset.path={path} has images of type {x.dtype} and shape {x.shape}: give uint8 of (N, h, w), "
            "(N, h, w, c) or (N, c, h, w)"
        )
    images = torch.from_numpy(np.ascontiguousarray(x))
    if x.ndim == 3:
        return images[:, None]
    images = images.permute(0, 3, 1, 2) if x.shape[3] <= 4 < x.shape[2] else images
    if images.shape[1] > 4:
        raise ValueError(f"dataset.path={path} has images of shape {x.shape}: pictures have 1 to 4 channels")
    return images


def _as_labels(path: str, y: np.ndarray | None) -> Tensor | None:
    """Returns labels (N,) int64; None for None. Raises ValueError if they are no class numbers."""
    if y is None:
        return None
    if y.dtype.kind not in "biu" or not y.size or y.min() < 0 or y.max() >= MOST_CLASSES:
        raise ValueError(
            f"dataset.path={path} has labels of type {y.dtype} and shape {y.shape}: give whole numbers from 0 to "
            f"{MOST_CLASSES - 1}, one for each image"
        )
    return torch.from_numpy(y.astype(np.int64).reshape(-1))
