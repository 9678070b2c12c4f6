"""MNIST, FashionMNIST and CIFAR-10, as torchvision reads them, and stacked MNIST."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wgangp.data.sources.source import Part, Parts, Source, array_part, source_function
from wgangp.machine.paths import local_path

IDX_FILES = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"
CIFAR_FILES = "data_batch_1 to data_batch_5, test_batch and batches.meta of cifar-10-python.tar.gz"
FILES = {  # the folder, and the files that belong into it
    "MNIST": ("MNIST/raw", IDX_FILES),
    "FashionMNIST": ("FashionMNIST/raw", IDX_FILES),
    "CIFAR10": ("cifar-10-batches-py", CIFAR_FILES),
}


@dataclass(frozen=True, kw_only=True)
class TorchvisionDataset(Source):
    """MNIST, FashionMNIST or CIFAR10, with their test images held out."""

    name: str
    root: str
    download: bool

    def read(self) -> Parts:
        return read_parts(self.name, local_path(self.root), self.download)


@dataclass(frozen=True, kw_only=True)
class StackedDigits(Source):
    """`images_drawn` times three random digits of MNIST as red, green and blue: 1,000 modes (Metz et al. 2017)."""

    root: str
    download: bool
    images_drawn: int

    def read(self) -> Parts:
        train, test, _ = read_parts("MNIST", local_path(self.root), self.download)
        return stacked(train, self.images_drawn), stacked(test, len(test.labels)), None


def stacked(digits: Part, n: int) -> Part:
    """Returns n images (3, h, w) of three digits each. The draw is the same for every seed of a run."""
    size = len(digits.labels)
    images, _ = digits.load(torch.arange(size))  # (N, 1, h, w)
    picked = torch.randint(size, (n, 3), generator=torch.Generator().manual_seed(0))
    return array_part(images[:, 0][picked], None)


torchvision_dataset = source_function(TorchvisionDataset)
stacked_digits = source_function(StackedDigits)


def read_parts(name: str, root: Path, download: bool) -> tuple[Part, Part, Sequence[str]]:
    """Returns the training and the test part, and the names of the classes.

    Raises ValueError, in one line that says which files to put where, if torchvision cannot read them.
    """
    from torchvision import datasets

    folder, files = FILES[name]
    where = root.resolve() / folder
    try:
        train, test = (getattr(datasets, name)(str(root), train=train, download=download) for train in (True, False))
        names = [label.partition(" - ")[0] for label in train.classes]  # MNIST has "7 - seven"
        return _part(train.data, train.targets), _part(test.data, test.targets), names
    except Exception as error:  # no network, no file, a damaged file: torchvision has an exception for each
        damaged = _damaged_cifar(where) if name == "CIFAR10" else _damaged_idx(where)
        advice = f"{damaged[0]} is damaged, replace it" if damaged else f"put {files} into {where}"
        reason = textwrap.shorten(str(error).partition(". ")[0], 200) or type(error).__name__  # advice comes after
        raise ValueError(f"{name} cannot be read: {advice} ({reason})") from error


def _part(data: np.ndarray | Tensor, targets: Sequence[int] | Tensor) -> Part:
    x = torch.as_tensor(data)
    return array_part(x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2), torch.as_tensor(targets))


def _damaged_cifar(where: Path) -> list[Path]:
    """Returns CIFAR-10's files that differ from the published ones, which torchvision does not open."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_md5

    published = [*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])]
    return [where / name for name, md5 in published if (where / name).is_file() and not check_md5(where / name, md5)]


def _damaged_idx(where: Path) -> list[Path]:
    """Returns the files that torchvision cannot read: IDX files, or the pickles of its first versions."""
    return [p for p in sorted(where.glob("*-ubyte")) if not _sound_idx(p)] or sorted(
        where.parent.glob("processed/*.pt")
    )


def _sound_idx(path: Path) -> bool:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    try:
        return len((read_image_file if "images" in path.name else read_label_file)(str(path))) > 0
    except Exception:
        return False
