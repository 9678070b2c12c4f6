"""Arrays in .npy, .npz and .h5 files. Large ones are mapped: read where they are used, not loaded."""

import logging
import math
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from wgangp.data.files import open_zip
from wgangp.data.labels import listed
from wgangp.data.sources.content import Content
from wgangp.machine.text import shown

log = logging.getLogger(__name__)

LARGE = 2**28  # bytes from which an array is mapped: a file that is written anew while it is mapped ends the run
NAMES = ("images", "x", "data", "samples")
LABELS = "labels"
FILLS = ("_FillValue", "missing_value")
PACKED = {"scale_factor": 1, "add_offset": 0}
SPARSE = ({"data", "indices", "indptr"}, {"data", "row", "col"})  # the arrays of scipy's sparse matrices
ADVICE = {
    "key": "set it to null",
    "labels": "give both as arrays of an .npz",
    "condition": "give the conditions as another .npy file, or both as arrays of an .npz",
}

Read = Callable[[str], np.ndarray]


@dataclass(frozen=True)
class Keys:
    """The arrays of a file that are wanted, by dataset.key, dataset.labels and dataset.condition; None: not named."""

    key: str | None = None
    labels: str | None = None
    condition: str | None = None


def read_arrays(path: Path, keys: Keys) -> Content:
    """Returns the arrays of a file. Raises ValueError if it is damaged, or holds other things than numbers."""
    what = f"dataset.path={shown(path)}"
    if (kind := path.suffix.lower()) in (".h5", ".hdf5"):
        return _read_h5(path, keys)
    if kind not in (".npy", ".npz") and not _has_arrays(path):
        raise ValueError(f"{what} is of no kind that is known: give .npy, .npz, .h5, .hdf5, .csv, .tsv or .parquet")
    if not zipfile.is_zipfile(path):
        for name, value in vars(keys).items():
            if value is not None:
                raise ValueError(f"dataset.{name}={shown(value)}: {what} is one array: {ADVICE[name]}")
        return Content(_read_npy(what, lambda: path.open("rb"), path.stat().st_size, mapped=path))
    with open_zip(path) as archive:
        members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}

        def read(name: str) -> np.ndarray:
            what = f"{shown(name)} in dataset.path={shown(path)}"
            return _read_npy(what, partial(archive.open, members[name]), members[name].file_size)

        return _content(path, members, read, keys)


def _has_arrays(path: Path) -> bool:
    """Whether a file of any name begins as a .npy does, or is a zip file of some."""
    if zipfile.is_zipfile(path):
        with open_zip(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    with open(path, "rb") as file:
        return file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX


def _content(path: Path, names: Iterable[str], read: Read, keys: Keys) -> Content:
    """Returns the samples, those of the key or of the only likely array, with all that they come with.

    Labels that are not named are left alone if there is a condition.
    """
    names = list(names)
    for option, name in vars(keys).items():
        if name is not None and name not in names:
            raise ValueError(
                f"dataset.{option}={shown(name)}: dataset.path={shown(path)} has no such array; choose from "
                f"{shown(listed(names))}"
            )
    condition, labels = keys.condition, keys.labels or (LABELS if LABELS in names else None)
    found = [n for n in names if n not in (labels, condition) and not n.startswith("test_")]
    likely = [n for known in NAMES for n in found if n.lower() == known]
    if keys.key is None and len(found) != 1 and not likely:
        held = f"the arrays {shown(listed(names))}: choose one of them by dataset.key" if names else "no arrays"
        raise ValueError(f"dataset.path={shown(path)} has {held}")
    if keys.key is None and any(kind <= set(names) for kind in SPARSE):
        raise ValueError(f"dataset.path={shown(path)} holds a sparse matrix: save its toarray(), as by np.save")
    key = keys.key or (likely or found)[0]
    labels = None if condition else labels
    beside = keys.labels or keys.condition  # who names one knows of them
    used = {prefix + str(name) for prefix in ("", "test_") for name in (key, labels, condition)}
    if not beside and (others := [name for name in names if name not in used]):
        log.info(
            "%s: the arrays %s are not used: name labels by dataset.labels, conditions by dataset.condition",
            *(shown(path), shown(listed(others))),
        )

    def part(prefix: str) -> Content:
        y, given = (read(prefix + n) if n and prefix + n in names else None for n in (labels, condition))
        return Content(read(prefix + key), y, condition=None if given is None else Content(given))

    return replace(part(""), test=part("test_")) if f"test_{key}" in names else part("")


def _read_npy(what: str, open_file: Callable[[], IO[bytes]], size: int, mapped: Path | None = None) -> np.ndarray:
    """Returns the array of a .npy of `size` bytes; of the file `mapped`, if it is large.

    Raises ValueError if it is damaged, holds Python objects or claims another size.
    """
    try:
        with open_file() as file:
            v1 = npy.read_magic(file) == (1, 0)
            shape, fortran, dtype = (npy.read_array_header_1_0 if v1 else npy.read_array_header_2_0)(file)
            if dtype.hasobject:
                raise ValueError("it holds Python objects: save text by .astype(str), and rows of one length")
            if math.prod(shape) * dtype.itemsize != size - file.tell():  # before memory is taken
                raise ValueError(f"shape {shape} of {dtype} is not what its size of {size:,} bytes can hold")
            if mapped is not None and size >= LARGE:
                return np.memmap(mapped, dtype, "r", file.tell(), shape, "F" if fortran else "C")
            file.seek(0)
            return npy.read_array(file, allow_pickle=False)
    except Exception as error:  # numpy, zipfile and zlib raise an exception each for damaged files
        raise ValueError(f"{what} is damaged or no array of plain numbers ({error})") from error


def _read_h5(path: Path, keys: Keys) -> Content:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ValueError(f"dataset.path={shown(path)}: h5py is not installed: pip install -e '.[arrays]'") from error
    try:
        with h5py.File(path, "r") as file:
            names: list[str] = []
            file.visititems_links(lambda name, link: names.append(name))  # also what leads to another place, or file
            arrays = {name: data for name in names if isinstance(data := file.get(name), h5py.Dataset)}
            known = [name for name in (keys.key, keys.labels, keys.condition) if name in arrays]
            by_place = {(a.file.filename, h5py.h5o.get_info(a.id).addr): name for name, a in reversed(arrays.items())}
            found = [*dict.fromkeys([*known, *reversed(by_place.values())])]  # of several names for one array the first

            def read(name: str) -> np.ndarray:
                data = file[name]
                start = data.id.get_offset()  # None if it is in several pieces, or compressed
                if start is not None and data.nbytes >= LARGE and data.dtype.kind in "biuf":
                    return unpacked(np.memmap(data.file.filename, data.dtype, "r", start, data.shape), data.attrs)
                array = (
                    np.asarray(data.asstr("utf-8", "replace")[()], str)
                    if h5py.check_string_dtype(data.dtype)
                    else data[()]
                )
                if array.dtype.hasobject:
                    raise ValueError(f"{name} holds rows of different lengths: make them of one length")
                return unpacked(np.asarray(array), data.attrs)

            return _content(path, found, read, keys)
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise ValueError(f"dataset.path={shown(path)} is damaged or no HDF5 file ({shown(error)})") from error


def unpacked(array: np.ndarray, attributes: Mapping[str, Any]) -> np.ndarray:
    """Returns an array as netCDF's attributes mean it: fill values are NaN, and packed numbers are unpacked.

    Pixels stay as they are, and attributes that are not one number do not count.
    """
    if array.dtype.kind not in "biuf" or array.dtype == np.uint8:
        return array
    known = {name: np.ravel(attributes[name]) for name in (*FILLS, *PACKED) if name in attributes}
    known = {name: value[0] for name, value in known.items() if value.size == 1 and value.dtype.kind in "iuf"}
    fills = [known[name].astype(array.dtype) for name in FILLS if name in known]
    scale, offset = (float(known.get(name, plain)) for name, plain in PACKED.items())
    lost = np.isin(array, fills) if fills else np.zeros((), bool)
    if (scale, offset) == (1, 0) and not lost.any():
        return array
    return np.where(lost, np.nan, array * np.float64(scale) + offset)
