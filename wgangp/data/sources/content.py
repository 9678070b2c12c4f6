"""The arrays of a file: samples, labels, column names, conditions, and their checks."""

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from wgangp.data.labels import as_number, listed
from wgangp.units import MOST_CLASSES

PART = 2**22  # numbers that are checked at once
WHOLE = re.compile(r"-?\d+(\.0*)?")
MOST_WHOLE = 2**53  # float64 rounds larger whole numbers


@dataclass(frozen=True)
class Content:
    """Samples (n, *), in the file's own axes, and perhaps labels (n,), numbers or names, and names of columns.

    `condition` holds numbers or pictures that the samples come with, `test` the held-out part that the file brings.
    """

    x: np.ndarray
    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()
    test: "Content | None" = None
    condition: "Content | None" = None
    where: str = ""  # the option and the file, for messages


@contextmanager
def named_for(option: str) -> Iterator[None]:
    """Errors of the readers, which speak of dataset.path, name the option that the file was given by."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace("dataset.path=", f"dataset.{option}=")) from error


def concatenated(contents: list[Content], along: int = 0) -> Content:
    """Returns the content of several files as one, where axis `along` counts the samples.

    Raises ValueError if they differ in more than their length.
    """
    first = contents[0]
    if len(contents) == 1:
        return first
    contents = [in_order(content, first.names) for content in contents]
    if along and any(c.condition is not None for c in contents):
        raise ValueError("dataset.path: several files with a condition need n first among their axes: transpose them")
    shapes = {c.x.shape[:along] + c.x.shape[along + 1 :] for c in contents}
    if len(shapes) > 1:
        raise ValueError(
            f"dataset.path: the files have samples of shapes {listed([*map(str, shapes)])}: make them alike"
        )
    check_pixels("dataset.path: of the files", contents)
    types = [c.x.dtype for c in contents]
    if all(kind.kind in "iu" for kind in types) and np.result_type(*types).kind == "f":
        raise ValueError(f"dataset.path: the files have whole numbers of {listed([*map(str, types)])}: make them alike")
    for i, c in enumerate(contents, start=1):
        for what, beside in (("labels", c.labels), ("conditions", None if c.condition is None else c.condition.x)):
            if beside is not None and len(beside) != c.x.shape[along]:
                raise ValueError(f"dataset.path: file {i} has {len(beside)} {what} for {c.x.shape[along]} samples")
    if any(c.names != first.names or (c.labels is None) != (first.labels is None) for c in contents):
        raise ValueError("dataset.path: the files have other columns, or some have no labels: make them alike")
    labels = (
        None if first.labels is None else np.concatenate([in_row(c.labels) for c in contents if c.labels is not None])
    )
    tests, given = ([c for c in parts if c] for parts in zip(*((c.test, c.condition) for c in contents), strict=True))
    test, condition = (concatenated(parts, along) if parts else None for parts in (tests, given))
    x = np.concatenate([c.x for c in contents], along)
    return Content(x, labels, first.names, test, condition)


def in_row(labels: np.ndarray) -> np.ndarray:
    """Returns labels (n, 1) as (n,), and others as they are."""
    return labels[:, 0] if labels.shape == (labels.size, 1) else labels


def in_order(content: Content, names: tuple[str, ...]) -> Content:
    """Returns a table with its columns in the order of these names, if it has the same ones."""
    if content.names == names or sorted(content.names) != sorted(names) or len(set(names)) < len(names):
        return content
    return replace(content, x=content.x[:, [content.names.index(name) for name in names]], names=names)


def check_pixels(where: str, contents: list[Content]) -> None:
    """Raises ValueError if some arrays hold pixels, uint8 from 0 to 255, and others numbers of another type."""
    if len(kinds := {c.x.dtype == np.uint8: c.x.dtype for c in contents}) > 1:
        raise ValueError(
            f"{where} some are {kinds[True]} and some {kinds[False]}, which are likely on other scales: make them alike"
        )


def check_numbers(where: str, x: np.ndarray, names: tuple[str, ...]) -> None:
    """Raises ValueError if an array is empty, holds no real numbers, or some that are NaN or infinite."""
    if x.dtype.kind == "c":
        raise ValueError(f"{where} has complex numbers: give the real and the imaginary part as two channels")
    if x.dtype.kind not in "biuf" or not x.size or not x.ndim:
        raise ValueError(
            f"{where} has type {x.dtype} and shape {x.shape}: give an array of real numbers, of one sample or more"
        )
    if x.dtype.kind in "iu":
        check_whole(where, int(x.min()), int(x.max()))
    if x.dtype.kind != "f":
        return
    rows = max(1, PART // max(1, x[0].size))
    count, first = 0, None  # their number, and the index of the first
    for start in range(0, len(x), rows):
        wrong = ~np.isfinite(x[start : start + rows])
        if wrong.any():
            first = [start, *[0] * (x.ndim - 1)] + np.argwhere(wrong)[0] if first is None else first
            count += int(wrong.sum())
    if first is not None:
        row, *place = first.tolist()
        at = f"in column {names[place[0]]}, row {row + 1}" if names else f"at {[row, *place]}"
        raise ValueError(
            f"{where} has {count:,} numbers that are missing (NaN) or infinite, the first {at}: remove or replace them"
        )


def check_whole(where: str, low: int, high: int) -> None:
    """Raises ValueError if float64, in which numbers are scaled, does not hold all whole numbers from low to high."""
    if low < -MOST_WHOLE or high > MOST_WHOLE:
        raise ValueError(
            f"{where} has whole numbers beyond 2^53, which float64 rounds: subtract a constant from them, or leave "
            "them out if they are names"
        )


def as_tensor(x: np.ndarray) -> Tensor:
    """Returns an array as a tensor, of the same memory, perhaps mapped, if torch knows its type."""
    native = {"b1": "u1", "u2": "i4", "u4": "i8", "u8": "f8"}.get(x.dtype.str[1:], x.dtype.str[1:])
    native = "f8" if x.dtype.kind == "f" and x.dtype.itemsize > 8 else native
    x = x.astype(native, copy=False)
    if any(stride < 0 for stride in x.strides):
        x = np.ascontiguousarray(x)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # torch cannot mark tensors as read-only
        return torch.from_numpy(x)


def as_labels(where: str, parts: list[np.ndarray | None]) -> tuple[list[Tensor | None], list[str] | None]:
    """Returns the labels (n,) int64 of the parts of a dataset, and the names of the classes if labels are names.

    Raises ValueError if they are no class numbers and no names.
    """
    parts = [None if y is None else as_names(y) for y in parts]
    given = [y for y in parts if y is not None]
    for y in given:
        if y.shape not in ((y.size,), (y.size, 1)):
            raise ValueError(f"{where} has labels of shape {y.shape}: give one for each sample, (n,)")
    if any(y.dtype.kind == "U" for y in given):
        return _named(where, parts)
    for y in given:
        _check_numbered(where, y)
    return [None if y is None else torch.from_numpy(y.astype(np.int64).reshape(-1)) for y in parts], None


def _named(where: str, parts: list[np.ndarray | None]) -> tuple[list[Tensor | None], list[str]]:
    """Returns the positions (n,) of names among all of them in order, and these."""
    for y in parts:
        blank = [] if y is None or y.dtype.kind != "U" else [i for i, v in enumerate(y.reshape(-1)) if is_blank(str(v))]
        if blank:
            raise ValueError(f"{where}: sample {blank[0] + 1} has no class: give it one, or remove the sample")
    whole = [None if y is None else y.reshape(-1) for y in as_whole(parts)]
    names = sorted({str(value) for y in whole if y is not None for value in np.unique(y)}, key=_by_number)
    if len(names) > MOST_CLASSES:
        raise ValueError(f"{where} has {len(names):,} different labels: give up to {MOST_CLASSES} classes")
    number = {name: i for i, name in enumerate(names)}
    return [None if y is None else torch.tensor([number[str(value)] for value in y]) for y in whole], names


def _check_numbered(where: str, y: np.ndarray) -> None:
    if y.dtype.kind == "f" and (missing := np.flatnonzero(np.isnan(y))).size:
        raise ValueError(
            f"{where} has labels of type {y.dtype}, and sample {missing[0] + 1} has none: give it one, or remove it"
        )
    if y.dtype.kind not in "biu" or not y.size:
        raise ValueError(
            f"{where} has labels of type {y.dtype} and shape {y.shape}: give names or whole numbers, one for each "
            "sample"
        )


def as_names(y: np.ndarray) -> np.ndarray:
    """Returns labels as text if they are text, bytes, or whole numbers that no table of classes can have.

    Blanks around a name are no part of it.
    """
    if y.dtype.kind in "SU":
        return np.char.strip(np.char.decode(y, "utf-8", "replace") if y.dtype.kind == "S" else y)
    if y.dtype.kind == "f" and y.size and bool(((np.abs(y) <= MOST_WHOLE) & (y == np.round(y))).all()):
        y = y.astype(np.int64)  # as NumPy saves whole numbers beside others
    beyond = y.dtype.kind in "iu" and y.size > 0 and bool(y.min() < 0 or y.max() >= MOST_CLASSES)
    return y.astype(str) if beyond else y


def is_blank(label: str) -> bool:
    """Whether a class's name stands for a missing one."""
    return label.strip().lower() in ("", "nan")


def as_whole(parts: list[np.ndarray | None]) -> list[np.ndarray | None]:
    """Returns names with 1.0 as 1, as programs write whole numbers beside missing ones, if all are whole numbers."""
    given = [np.char.strip(y.astype(str)) for y in parts if y is not None]
    if not all(WHOLE.fullmatch(str(value)) for y in given for value in np.unique(y)):
        return parts
    return [None if y is None else np.char.partition(np.char.strip(y.astype(str)), ".")[..., 0] for y in parts]


def _by_number(name: str) -> tuple[bool, float, str]:
    """Numbers first, by their value; NaN has no place among them."""
    value = as_number(name)
    return math.isnan(value), 0.0 if math.isnan(value) else value, name
