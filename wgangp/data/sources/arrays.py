"""Your own arrays: pictures if they are uint8 of 1 to 4 channels, else vectors, signals, fields or volumes.

With dataset.axes=nthw, or with c for channels, arrays of uint8 are clips.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wgangp.data.arrays import Arrays
from wgangp.data.images import Images
from wgangp.data.labels import listed
from wgangp.data.sources import conditions
from wgangp.data.sources.axes import axes_of
from wgangp.data.sources.content import (
    Content,
    as_labels,
    as_tensor,
    check_numbers,
    check_pixels,
    concatenated,
    in_order,
    named_for,
)
from wgangp.data.sources.files import Keys, read_arrays
from wgangp.data.sources.source import Parts, Source, array_part, source_function
from wgangp.data.sources.tables import Columns, read_table
from wgangp.data.statistics import fit_units, limits_of
from wgangp.machine.paths import local_path
from wgangp.machine.text import shown
from wgangp.units import channels_first

log = logging.getLogger(__name__)

TABLES = (".csv", ".tsv", ".parquet")
PICTURES = ({*"nhw"}, {*"nchw"}, {*"nthw"}, {*"ncthw"})  # axes of uint8 pictures and clips


@dataclass(frozen=True, kw_only=True)
class Array(Source):
    """The options of conf/dataset/array.yaml. A held-out part may be a file, too."""

    path: str | Sequence[str]
    key: str | int | None
    labels: str | int | None
    columns: Sequence[str | int] | None
    axes: str | None
    scaling: str
    condition: str | int | Sequence[str | int] | None

    def dataset(self) -> Images | Arrays:
        samples = max(0, (self.axes or "n").find("n"))
        content = concatenated([self._read(path) for path in _listed(self.path)], along=samples)
        content = replace(content, where=f"dataset.path={shown(self.path)}")
        if self.condition is not None and self.labels is not None:
            raise ValueError(f"dataset.labels={self.labels} and {self._given}: give classes or a condition, not both")
        if conditions.is_file(self.condition):
            if content.test is not None or isinstance(self.held_out, str):
                raise ValueError(
                    f"{self._given}: the held-out samples need conditions, too: give both as arrays of an .npz, and "
                    "the array's name as dataset.condition"
                )
            content = replace(content, condition=conditions.read_conditions(str(self.condition)), labels=None)
        if isinstance(self.held_out, str):
            if content.test is not None:
                raise ValueError(
                    f"dataset.held_out={self.held_out}: the file has test samples of its own; set it to null"
                )
            test = in_order(self._read(self.held_out, "held_out"), content.names)
            test = replace(test, where=f"dataset.held_out={shown(self.held_out)}")
            content = replace(content, test=test)
            dataset = replace(self, held_out=None)._of(content)
            if dataset.held_out_split is None:
                raise ValueError(
                    f"dataset.held_out={shown(self.held_out)}: no sample is of a class that is trained on, "
                    f"{listed(dataset.class_names)}: give others, or set it to null"
                )
            return dataset
        return self._of(content)

    def _of(self, content: Content) -> Images | Arrays:
        contents = [content, *([content.test] if content.test is not None else [])]
        for c in contents:
            check_numbers(c.where or f"{content.where}, held-out samples:", c.x, c.names)
        axes = self._picture_axes(content.x)
        dataset = self._arrays(contents) if axes is None else self.as_images(*self.splits(*self._parts(contents, axes)))
        if (given := content.condition) is not None:
            axes = dataset.units.axes if dataset.units is not None else str(axes)
            beside = conditions.axes_beside(self._given, given.x.shape, axes, content.x.shape)
            dataset.use(None, conditions.fitted(dataset.train, beside, given.names))
        return dataset

    @property
    def _given(self) -> str:
        """The option of the condition, for messages."""
        return f"dataset.condition={shown(self.condition)}"

    def _names(self) -> list[str]:
        """Returns the array or the columns of the condition; none if it has a file of its own."""
        if self.condition is None or conditions.is_file(self.condition):
            return []
        return [str(self.condition)] if isinstance(self.condition, str | int) else [*map(str, self.condition)]

    def _read(self, path: object, option: str = "path") -> Content:
        """Returns the content of the file that an option names. Raises ValueError if it is none that can be used."""
        file = local_path(path)
        if not file.is_file():
            advice = ": give a share such as 0.1, a number, or a file" if option == "held_out" else ""
            advice = ", but a folder: give a file, or a list of files as in [a.npy,b.npy]" if file.is_dir() else advice
            raise FileNotFoundError(f"dataset.{option}={path}: there is no such file{advice}")
        with named_for(option):
            return self._content(path, file)

    def _content(self, path: object, file: Path) -> Content:
        labels, names = None if self.labels is None else str(self.labels), self._names()
        if file.suffix.lower() in TABLES:
            if self.key is not None:
                raise ValueError(f"dataset.key={shown(self.key)}: a table has no arrays: set it to null")
            return read_table(file, Columns(None if self.columns is None else [*map(str, self.columns)], labels, names))
        if self.columns is not None:
            raise ValueError(
                f"dataset.columns={[*self.columns]}: dataset.path={path} has no named columns; set it to null"
            )
        if len(names) > 1:
            raise ValueError(f"{self._given}: dataset.path={path} has no named columns; give the name of one array")
        return read_arrays(file, Keys(None if self.key is None else str(self.key), labels, next(iter(names), None)))

    def _picture_axes(self, x: np.ndarray) -> str | None:
        """Returns the axes if these are pictures: uint8 of 1 to 4 channels, of which nothing else is asked."""
        if x.dtype != np.uint8 or not x.size or x.ndim not in (3, 4, 5) or self.scaling != "auto":
            return None
        if self.axes is not None:
            return self.axes if {*self.axes} in PICTURES and len(self.axes) == x.ndim else None
        if x.ndim == 5:
            return None
        if x.ndim == 3:
            return "nhw"
        axes = "nhwc" if x.shape[3] <= 4 < x.shape[2] else "nchw"
        return axes if x.shape[axes.index("c")] <= 4 else None

    def _parts(self, contents: list[Content], axes: str) -> Parts:
        """Returns the parts of Source.read, checked."""
        content, where = contents[0], contents[0].where
        check_pixels(f"{where}: of the training and the held-out samples", contents)
        pictures = [c.condition for c in contents if c.condition is not None and c.condition.x.ndim > 2]
        check_pixels(f"{where}: of their conditions", pictures)
        labels, names = as_labels(where, [c.labels for c in contents])
        parts = []
        for c, y in zip(contents, labels, strict=True):
            both = {"conditions": (c.condition, content.condition), "labels": (c.labels, content.labels)}
            for what, (of_part, of_training) in both.items():
                if (of_part is None) != (of_training is None):
                    raise ValueError(
                        f"{where}: either the training or the held-out samples lack {what}: give these, too"
                    )
            if c.names != content.names:
                raise ValueError(
                    f"{where}: the held-out samples have the columns {shown(listed(c.names))}, and the training "
                    f"samples {shown(listed(content.names))}: give the same"
                )
            if c.x.ndim != content.x.ndim:
                raise ValueError(f"{where} has held-out samples of other axes than the training samples")
            given = conditions.beside(self._given, c, axes)
            try:
                parts.append(array_part(channels_first(as_tensor(c.x), axes), y, given))
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
        return parts[0], parts[1] if parts[1:] else None, names

    def _arrays(self, contents: list[Content]) -> Arrays:
        content = contents[0]
        options = {"size": None, "channels": None, "flip": False, "dequantise": False}
        for name, value in options.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"dataset.{name} is for pictures, which are uint8 without dataset.scaling: this is read as "
                    f"{content.x.dtype} numbers; leave it out"
                )
        if content.names and not (self.axes or "n").startswith("n"):
            raise ValueError(
                f"dataset.axes={self.axes}: the rows of a table are its samples: give n first, or leave it out"
            )
        pixels = content.x.dtype == np.uint8 and self.scaling == "auto"
        axes = axes_of(content.where, content.x.shape, self.axes, may_be_clips=pixels)
        train, held_out, class_names = self.splits(*self._parts(contents, axes))
        limits = limits_of(train)
        scaling = "standard" if self.scaling == "auto" else self.scaling
        names = content.names if "d" in axes else ()  # of columns
        return Arrays(
            train,
            held_out,
            len(class_names),
            class_names=class_names,
            units=fit_units(scaling, train, limits, axes, names, held_out=held_out),
            limits=limits,
            seed=self.seed,
            device=self.device,
        )


def _listed(path: str | Sequence[str]) -> list[str | Path]:
    paths: list[str | Path] = [path] if isinstance(path, str | Path) else list(path)
    if not paths:
        raise ValueError("dataset.path=[] names no file: give one, or several")
    return paths


array = source_function(Array)
