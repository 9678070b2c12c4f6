"""CelebA's aligned faces."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch

from wgangp.data.files import Files
from wgangp.data.labels import listed
from wgangp.data.sources.folders import FileSource
from wgangp.data.sources.source import Part, Parts, source_function
from wgangp.machine.paths import local_path
from wgangp.machine.text import shown

log = logging.getLogger(__name__)

IMAGES = 202_599
FOLDERS = ("img_align_celeba", "img_align_celeba_png")
TRAIN, VALIDATION = 0, 1  # of list_eval_partition.txt; 2 is the test part


@dataclass(frozen=True, kw_only=True)
class CelebA(FileSource):
    """Aligned faces, cut to their central square; the validation part of the official partition is held out."""

    root: str
    download: bool

    def read(self) -> Parts:
        root = local_path(self.root)
        files = _find(root)
        if files is None and self.download:
            _download(root)
            files = _find(root)
        if files is None:
            raise FileNotFoundError(
                f"CelebA is not there: looked for .jpg and .png files in {', '.join(map(str, _places(root)))}; put the "
                f"folder or the file img_align_celeba.zip (Google Drive or Kaggle, see the CelebA page) into one of "
                "them"
            )
        if len(files.names) < IMAGES:
            log.info("CelebA: found %s of %s images", f"{len(files.names):,}", f"{IMAGES:,}")
        train, held_out, notes = _parts(files)
        return (
            self._faces(files, train, "train", notes),
            self._faces(files, held_out, "valid") if held_out else None,
            None,
        )

    def _faces(self, files: Files, names: Sequence[str], kind: str, notes: Sequence[str] = ()) -> Part:
        labels = torch.zeros(len(names), dtype=torch.long)
        return self.part(files, names, labels, files.path.parent, f"celeba_{kind}", notes)


celeba = source_function(CelebA)


def _places(root: Path) -> list[Path]:
    """Returns where people have the images: in torchvision's layout, the zip alone, without the folder celeba."""
    names = [name + ending for name in FOLDERS for ending in ("", ".zip")]
    return [base / name for base in (root / "celeba", root) for name in names]


def _find(root: Path) -> Files | None:
    """Returns the files of the first place with images; Kaggle's folder within a folder is found as a sub-folder."""
    return next((files for p in _places(root) if p.exists() and (files := Files(p)).names), None)


def _download(root: Path) -> None:
    from torchvision.datasets import CelebA

    try:
        CelebA(str(root), download=True)
    except Exception as error:  # no network, no gdown, Google Drive's quota: the caller says what to do
        log.info("CelebA could not be downloaded (%s)", shown(error))


def _parts(files: Files) -> tuple[list[str], list[str], list[str]]:
    """Returns the names of the training and of the held-out images, and notes for the log.

    Names are matched without folders and endings, since the partition names .jpg files and the images may be .png.
    Without a partition, or if it has no training images among these, all images are for training.
    """
    partition = _partition(files)
    if not partition:
        return files.names, [], []
    numbers = {name: partition.get(PurePosixPath(name).stem) for name in files.names}
    train, held_out, unknown = ([name for name in files.names if numbers[name] == k] for k in (TRAIN, VALIDATION, None))
    if len(unknown) == len(files.names):
        raise ValueError(
            f"{shown(files.path)}: the partition file names none of the images, such as {shown(files.names[0])}: "
            "give them their official names, or remove the partition file to train on all"
        )
    notes = [
        f"left out {len(unknown)} of {len(files.names)} images, which the partition does not name: "
        f"{shown(listed(unknown))}"
    ]
    return train or held_out or files.names, held_out if train else [], notes if unknown else []


def _partition(files: Files) -> dict[str, int]:
    """Returns {"000001": 0 (train), 1 (validation) or 2 (test)} of list_eval_partition.txt or .csv; {} without it.

    Raises ValueError if the file has no such lines.
    """
    for folder in (files.path.parent, files.path):
        for file in folder.glob("list_eval_partition.*") if folder.is_dir() else ():
            text = file.read_text(errors="replace")
            rows = re.findall(r"^(\S+?)(?:\.\w+)?[ \t,]+([012])\s*$", text, re.MULTILINE)
            if not rows:
                raise ValueError(f"{file} has no lines like 000001.jpg 0: replace or remove it")
            return {stem: int(number) for stem, number in rows}
    return {}
