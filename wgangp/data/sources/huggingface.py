"""Image data sets of the Hugging Face Hub, or a folder of one, by the package `datasets`."""

import importlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from wgangp.data.labels import listed
from wgangp.data.sources.content import as_labels
from wgangp.data.sources.folders import FileSource
from wgangp.data.sources.layout import zeros
from wgangp.data.sources.source import Part, Parts, source_function
from wgangp.machine.paths import local_path
from wgangp.machine.text import shown

log = logging.getLogger(__name__)

HELD_OUT = ("test", "validation", "valid")  # the first that is there is used
SAVED = ("dataset_dict.json", "state.json")  # in a folder that save_to_disk wrote


class Rows:
    """The encoded images of a column, by their row numbers, as `Files` has them by their names."""

    def __init__(self, name: str, data: Any, column: str) -> None:
        from datasets import Image

        self.path, self.column = Path(name), column
        self.data = data.select_columns([column]).cast_column(column, Image(decode=False))
        self.names = [str(i) for i in range(len(data))]
        fingerprint, paths = int(data._fingerprint, 16), self.data.flatten()[f"{column}.path"]
        self.stamps = {
            row: stamp_of(path) or (fingerprint, int(row)) for row, path in zip(self.names, paths, strict=True)
        }

    def read(self, name: str) -> bytes:
        """Returns the content of an image file. Raises ValueError if the row has none."""
        image = self.data[int(name)][self.column]
        if image is None:
            raise ValueError("it is empty")
        content: bytes | None = image["bytes"]
        return Path(image["path"]).read_bytes() if content is None else content


def stamp_of(path: str | None) -> tuple[int, int] | None:
    """Returns the size and the time of an image file beside the table, by which a change is found; None if none is."""
    if path is None or not os.path.isfile(path):
        return None
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


@dataclass(frozen=True, kw_only=True)
class HuggingFace(FileSource):
    name: str
    subset: str | None
    download: bool
    split: str
    image: str | None
    label: str | None

    def read(self) -> Parts:
        datasets = package()
        found = self._splits(datasets)
        if self.split not in found:
            raise ValueError(f"dataset.split={self.split}: choose from {shown(listed(list(found)))}")
        features = found[self.split].features
        images = [column for column, kind in features.items() if isinstance(kind, datasets.Image)]
        classes = [column for column, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
        if self.image is None and len(images) > 1:
            raise ValueError(
                f"dataset.name={shown(self.name)} has several columns of images: set dataset.image to one of "
                + shown(listed(images))
            )
        image = self._column("image", self.image or the_only(images), images)
        label = self.label or the_only(classes)
        if label is not None:
            self._column("label", label, list(features))
        possible = [split for split in HELD_OUT if split in found and split != self.split]
        known = features[label].names if label in classes else None
        parts = {name: labelled(name, found[name], label, known) for name in (self.split, *possible)}
        if not len(parts[self.split][0]):
            raise ValueError(f"dataset.label={shown(label)}: no sample of dataset.split={self.split} has a label")
        names = [self.split, *[split for split in possible if len(parts[split][0])][:1]]
        labels, class_names = as_labels(f"dataset.label={shown(label)}", [parts[name][1] for name in names])
        beside = Path(datasets.config.HF_DATASETS_CACHE) / "wgangp"
        train, *rest = (self._part(n, parts[n][0], image, y, beside) for n, y in zip(names, labels, strict=True))
        return train, rest[0] if rest else None, known or class_names

    def _splits(self, datasets: ModuleType) -> Mapping[str, Any]:
        """Returns the splits by their names. Raises ValueError if they cannot be loaded."""
        folder, offline = local_path(self.name), datasets.config.HF_HUB_OFFLINE
        datasets.config.HF_HUB_OFFLINE = offline or not self.download
        try:
            if any((folder / file).is_file() for file in SAVED):
                found = datasets.load_from_disk(str(folder))
            else:
                found = datasets.load_dataset(str(folder) if folder.is_dir() else self.name, self.subset)
        except Exception as error:  # of the package, of its caches, of the network
            what = f"dataset.name={shown(self.name)} cannot be loaded, neither as a folder nor from the Hub"
            raise ValueError(f"{what} ({shown(error)})") from error
        finally:
            datasets.config.HF_HUB_OFFLINE = offline
        found = found.with_format(None)  # all columns, as Python has them
        return found if isinstance(found, dict) else {self.split: found}

    def _column(self, option: str, name: str | None, possible: Sequence[str]) -> str:
        """Returns the name, if it is one of the possible columns. Raises ValueError if it is not."""
        if name is not None and name in possible:
            return name
        where = f"dataset.{option}={shown(name)}: dataset.name={shown(self.name)} has no such column of {option}s"
        choices = f"choose from {shown(listed(possible))}" if possible else "dataset=table takes tables of numbers"
        raise ValueError(f"{where}; {choices}")

    def _part(self, split: str, data: Any, image: str, labels: Tensor | None, beside: Path) -> Part:
        rows = Rows(self.name, data, image)
        title = "_".join(part for part in (Path(self.name).name, self.subset, split, image) if part)
        return self.part(rows, rows.names, zeros(len(data)) if labels is None else labels, beside, title)


def package() -> ModuleType:
    """Returns the package `datasets`. Raises ValueError, with the command that installs it, if it is missing."""
    try:
        return importlib.import_module("datasets")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"dataset=huggingface: {error.name} is not installed: pip install -e '.[huggingface]'"
        ) from error


def labelled(name: str, split: Any, label: str | None, known: Sequence[str] | None) -> tuple[Any, np.ndarray | None]:
    """Returns the samples of a split that have a label, if labels are wanted, and these. Logs how many are left out.

    A class is missing if it is null or, of numbered classes, -1; test splits of contests may have -1 alone. `known` are
    the names of the training split's classes, if it has some: those of another split may have other numbers.
    """
    if label is None:
        return split, None
    y = split[label][:] if label in split.features else [None] * len(split)
    if any(isinstance(value, list | dict) for value in y):
        raise ValueError(f"dataset.label={shown(label)} has several values a sample: give one class for each")
    theirs, missing = getattr(split.features.get(label), "names", None), "without labels"
    numbered = theirs is not None or set(y) == {-1}
    kept = [i for i, value in enumerate(y) if value is not None and not (numbered and value == -1)]
    if known and theirs and theirs != known:
        number = {i: known.index(class_name) for i, class_name in enumerate(theirs) if class_name in known}
        kept = [i for i in kept if y[i] in number]
        y = [-1 if value is None else number.get(value, -1) for value in y]
        missing = "without labels that the training part has"
    if len(kept) < len(y):
        count = f"{len(y) - len(kept)} of {len(y)} samples of " if kept else ""
        log.info("left out %s%s: %s", count, shown(name), missing)
        split = split.select(kept)
    return split, np.array([y[i] for i in kept])


def the_only(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None


huggingface = source_function(HuggingFace)
