"""Image data sets of the Hugging Face Hub, or a folder of one, by the package `datasets`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from wgangp.data.files import shown
from wgangp.data.labels import listed
from wgangp.data.sources.content import as_labels
from wgangp.data.sources.folders import FileSource
from wgangp.data.sources.layout import zeros
from wgangp.data.sources.source import Part, image_source, local_path

HELD_OUT = ("test", "validation", "valid")  # the first that is there is used
SAVED = ("dataset_dict.json", "state.json")  # in a folder that save_to_disk wrote


class Rows:
    """The encoded images of a column, by their row numbers, as `Files` has them by their names."""

    def __init__(self, name: str, data: Any, column: str) -> None:
        from datasets import Image

        self.path, self.column = Path(name), column
        self.data = data.select_columns([column]).cast_column(column, Image(decode=False))
        self.names = [str(i) for i in range(len(data))]
        self.stamps = {row: (int(data._fingerprint, 16), int(row)) for row in self.names}

    def read(self, name: str) -> bytes:
        """Returns the content of an image file. Raises ValueError if the row has none."""
        image = self.data[int(name)][self.column]
        if image is None:
            raise ValueError("it is empty")
        content: bytes | None = image["bytes"]
        return Path(image["path"]).read_bytes() if content is None else content


@dataclass(frozen=True, kw_only=True)
class HuggingFace(FileSource):
    name: str
    subset: str | None
    download: bool
    split: str
    image: str | None
    label: str | None

    def read(self) -> tuple[Part, Part | None, Sequence[str] | None]:
        found, Image, ClassLabel = self._load()
        if self.split not in found:
            raise ValueError(f"dataset.split={self.split}: choose from {shown(listed(list(found)))}")
        features = found[self.split].features
        images, classes = ([c for c in features if isinstance(features[c], kind)] for kind in (Image, ClassLabel))
        image = self._column("image", images, images, features)
        label = self._column("label", classes, list(features), features) if self.label or len(classes) == 1 else None
        held_out = [split for split in HELD_OUT if split in found and split != self.split][:1]
        splits = {split: found[split] for split in (self.split, *held_out)}
        given = [None if label is None else np.array(data[label][:]) for data in splits.values()]
        labels, names = as_labels(f"dataset.label={shown(label)}", given)
        train, *rest = (self._part(split, splits[split], image, y) for split, y in zip(splits, labels, strict=True))
        return train, rest[0] if rest else None, features[label].names if label in classes else names

    def _load(self) -> tuple[Mapping[str, Any], type, type]:
        """Returns the splits by their names, and the package's types of images and of classes."""
        try:
            import datasets
        except ModuleNotFoundError as error:
            raise ValueError(
                f"dataset=huggingface: {error.name} is not installed: pip install -e '.[huggingface]'"
            ) from error
        folder = local_path(self.name)
        try:
            if any((folder / file).is_file() for file in SAVED):
                found = datasets.load_from_disk(str(folder))
            else:
                datasets.config.HF_HUB_OFFLINE |= not self.download
                found = datasets.load_dataset(str(folder) if folder.is_dir() else self.name, self.subset)
        except Exception as error:  # of the package, of its caches, of the network
            what = f"dataset.name={shown(self.name)} cannot be loaded, neither as a folder nor from the Hub"
            raise ValueError(f"{what} ({shown(error)})") from error
        return found if isinstance(found, dict) else {self.split: found}, datasets.Image, datasets.ClassLabel

    def _column(self, option: str, likely: Sequence[str], possible: Sequence[str], columns: Iterable[str]) -> str:
        """Returns the column that the option names, or else the only likely one. Raises ValueError if there is none."""
        asked: str | None = getattr(self, option)
        if asked is None and len(likely) == 1:
            return likely[0]
        if asked is not None and asked in possible:
            return asked
        held = f"the columns {shown(listed(list(columns)))}, of which {shown(listed(possible)) if possible else 'none'}"
        raise ValueError(
            f"dataset.{option}={shown(asked)}: dataset.name={shown(self.name)} has {held} can be the {option}"
            + ("" if possible else "; tables of numbers are taken by dataset=table")
        )

    def _part(self, split: str, data: Any, image: str, labels: Tensor | None) -> Part:
        from datasets import config

        rows = Rows(self.name, data, image)
        title = "_".join(part for part in (Path(self.name).name, self.subset, split, image) if part)
        beside = Path(config.HF_DATASETS_CACHE) / "wgangp"
        return self.part(rows, rows.names, zeros(len(data)) if labels is None else labels, beside, title)


huggingface = image_source(HuggingFace)
