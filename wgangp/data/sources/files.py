"""Arrays in .npy, .npz and .h5 files. Large ones are mapped: read where they are used, not loaded."""

import math
import zipfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from wgangp.data.files import open_zip, shown
from wgangp.data.labels import listed
from wgangp.data.sources.content import Content

LARGE = 2**28  # bytes from which an array is mapped: a file that is written anew while it is mapped ends the run
NAMES = ("images", "x", "data", "samples")
LABELS = "labels"

Read = Callable[[str], np.ndarray]


def read_arrays(path: Path, key: str | None, labels: str | None) -> Content:
    """Returns the arrays of a file. Raises ValueError if it is damaged, or holds other things than numbers."""
    if path.suffix.lower() in (".h5", ".hdf5"):
        return _read_h5(path, key, labels)
    if not zipfile.is_zipfile(path):
        what = f"dataset.path={shown(path)}"
        return Content(_read_npy(what, lambda: path.open("rb"), path.stat().st_size, mapped=path))
    with open_zip(path) as archive:
        members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}

        def read(name: str) -> np.ndarray:
            what = f"{shown(name)} in dataset.path={shown(path)}"
            return _read_npy(what, partial(archive.open, members[name]), members[name].file_size)

        return _content(path, members, read, key, labels)


def _content(path: Path, names: Iterable[str], read: Read, key: str | None, labels: str | None) -> Content:
    """Returns the samples, those of the key or of the only likely array, with their labels and the held-out part."""
    names = list(names)
    for option, name in (("key", key), ("labels", labels)):
        if name is not None and name not in names:
            raise ValueError(
                f"dataset.{option}={shown(name)}: dataset.path={shown(path)} has no such array; choose from "
                f"{shown(listed(names))}"
            )
    labels = labels or (LABELS if LABELS in names else None)
    found = [n for n in names if n != labels and not n.startswith("test_")]
    likely = [n for known in NAMES for n in found if n.lower() == known]
    if key is None and len(found) != 1 and not likely:
        held = f"the arrays {shown(listed(names))}: choose one of them by dataset.key" if names else "no arrays"
        raise ValueError(f"dataset.path={shown(path)} has {held}")
    key = key or (likely or found)[0]
    y = None if labels is None else read(labels)
    if f"test_{key}" not in names:
        return Content(read(key), y)
    test = Content(read(f"test_{key}"), read(f"test_{labels}") if f"test_{labels}" in names else None)
    return Content(read(key), y, test=test)


def _read_npy(what: str, open_file: Callable[[], IO[bytes]], size: int, mapped: Path | None = None) -> np.ndarray:
    """Returns the array of a .npy of `size` bytes; of the file `mapped`, if it is large.

    Raises ValueError if it is damaged, holds Python objects or claims another size.
    """
    try:
        with open_file() as file:
            v1 = npy.read_magic(file) == (1, 0)
            shape, fortran, dtype = (npy.read_array_header_1_0 if v1 else npy.read_array_header_2_0)(file)
            if dtype.hasobject:
                raise ValueError("it holds Python objects, such as rows of different lengths: make them of one length")
            if math.prod(shape) * dtype.itemsize != size - file.tell():  # before memory is taken
                raise ValueError(f"shape {shape} of {dtype} is not what its size of {size:,} bytes can hold")
            if mapped is not None and size >= LARGE:
                return np.memmap(mapped, dtype, "r", file.tell(), shape, "F" if fortran else "C")
            file.seek(0)
            return npy.read_array(file, allow_pickle=False)
    except Exception as error:  # numpy, zipfile and zlib raise an exception each for damaged files
        raise ValueError(f"{what} is damaged or no array of plain numbers ({error})") from error


def _read_h5(path: Path, key: str | None, labels: str | None) -> Content:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ValueError(f"dataset.path={shown(path)}: h5py is not installed: pip install -e '.[arrays]'") from error
    try:
        with h5py.File(path, "r") as file:
            found: list[str] = []
            file.visititems(lambda name, node: found.append(name) if isinstance(node, h5py.Dataset) else None)

            def read(name: str) -> np.ndarray:
                data = file[name]
                start = data.id.get_offset()  # None if it is in several pieces, or compressed
                if start is not None and data.nbytes >= LARGE and data.dtype.kind in "biuf":
                    return np.memmap(path, data.dtype, "r", start, data.shape)
                array = np.asarray(data.asstr()[()], str) if h5py.check_string_dtype(data.dtype) else data[()]
                if array.dtype.hasobject:
                    raise ValueError(f"{name} holds rows of different lengths: make them of one length")
                return np.asarray(array)

            return _content(path, found, read, key, labels)
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise ValueError(f"dataset.path={shown(path)} is damaged or no HDF5 file ({shown(error)})") from error
