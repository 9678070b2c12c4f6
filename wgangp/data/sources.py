"""Where images come from: the public functions are what conf/dataset names, and give `Images`."""

import logging
import math
import re
import textwrap
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from wgangp.data.files import Files, decode, open_zip, shown
from wgangp.data.images import Images, Split, first, fit, only_classes

log = logging.getLogger(__name__)

IDX_FILES = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"
CIFAR_FILES = "data_batch_1 to data_batch_5, test_batch and batches.meta of cifar-10-python.tar.gz"
TORCHVISION_FILES = {
    "MNIST": ("MNIST/raw", IDX_FILES),
    "FashionMNIST": ("FashionMNIST/raw", IDX_FILES),
    "CIFAR10": ("cifar-10-batches-py", CIFAR_FILES),
}
CELEBA_IMAGES = 202_599
ARRAYS = ("images", "labels", "test_images", "test_labels")
MOST_CLASSES = 2**16


def _prepared(
    train: Split,
    test: Split | None,
    size: int | None,
    channels: int | None,
    classes: Sequence[int] | None,
    limit: int | None,
) -> tuple[Split, Split | None, int]:
    """The parts with the wanted classes, size, channels and number of training images; and the number of classes."""
    parts = [only_classes(part, classes) for part in (train, test) if part is not None]
    num_classes = _count_classes(torch.cat([part.labels for part in parts]))
    few = first(limit, len(parts[0]))
    parts[0] = Split(parts[0].images[few], parts[0].labels[few])
    parts = [Split(fit(part.images, size, channels), part.labels) for part in parts]
    if len({part.images.shape[1:] for part in parts}) > 1:
        raise ValueError(
            f"test images of shape {tuple(parts[1].images.shape[1:])}, and training images of "
            f"{tuple(parts[0].images.shape[1:])}: make them alike by dataset.size and dataset.channels"
        )
    return parts[0], parts[1] if test else None, num_classes


def _count_classes(labels: Tensor) -> int:
    """The number of classes; one class is none."""
    number = int(labels.max()) + 1
    return number if number > 1 else 0


def _split(images: Tensor, labels: Tensor | None) -> Split:
    """From images (N, c, h, w) and labels (N,), zeros where there are none."""
    return Split(images, torch.zeros(len(images), dtype=torch.long) if labels is None else labels.long())


def torchvision_dataset(
    *,
    name: str,
    root: str,
    download: bool,
    size: int | None,
    channels: int | None,
    classes: Sequence[int] | None,
    limit: int | None,
    flip: bool,
    dequantise: bool,
    seed: int,
    device: torch.device,
) -> Images:
    """MNIST, FashionMNIST or CIFAR10, with their test images held out."""
    train, test = _torchvision_parts(name, root, download)
    return Images(
        *_prepared(train, test, size, channels, classes, limit),
        flip=flip,
        dequantise=dequantise,
        seed=seed,
        device=device,
    )


def _torchvision_parts(name: str, root: str, download: bool) -> list[Split]:
    """Training and test part; torchvision's errors become one line that says what to put where."""
    from torchvision import datasets

    folder, files = TORCHVISION_FILES[name]
    where = Path(root).resolve() / folder
    try:
        parts = [getattr(datasets, name)(root, train=train, download=download) for train in (True, False)]
        arrays = [(torch.as_tensor(part.data), torch.as_tensor(part.targets)) for part in parts]
        return [_split(x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2), y) for x, y in arrays]
    except Exception as error:  # no network, no file, a damaged file: torchvision has an exception for each
        damaged = _damaged_cifar(where) if name == "CIFAR10" else _damaged_idx(where)
        advice = f"{damaged[0]} is damaged, replace it" if damaged else f"put {files} into {where}"
        told = textwrap.shorten(str(error).partition(". ")[0], 200) or type(error).__name__  # advice comes after
        raise ValueError(f"{name} cannot be read: {advice} ({told})") from error


def _damaged_cifar(where: Path) -> list[Path]:
    """CIFAR-10's files that are there, but not as they were published; those torchvision does not open."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_md5

    published = [*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])]
    return [where / name for name, md5 in published if (where / name).is_file() and not check_md5(where / name, md5)]


def _damaged_idx(where: Path) -> list[Path]:
    """The files that torchvision cannot read: IDX, or what its first versions made of them, which it prefers."""
    return [p for p in sorted(where.glob("*-ubyte")) if not _sound_idx(p)] or sorted(
        where.parent.glob("processed/*.pt")
    )


def _sound_idx(path: Path) -> bool:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    try:
        return len((read_image_file if "images" in path.name else read_label_file)(str(path))) > 0
    except Exception:
        return False


def array(
    *,
    path: str,
    size: int | None,
    channels: int | None,
    classes: Sequence[int] | None,
    limit: int | None,
    flip: bool,
    dequantise: bool,
    seed: int,
    device: torch.device,
) -> Images:
    """uint8 images of a .npy, or of a .npz with images and, optionally, labels, test_images and test_labels."""
    content = _read_arrays(Path(path))
    train = _array_part(path, content, "")
    test = _array_part(path, content, "test_") if "test_images" in content else None
    return Images(
        *_prepared(train, test, size, channels, classes, limit),
        flip=flip,
        dequantise=dequantise,
        seed=seed,
        device=device,
    )


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The content of a .npy, as images, or the named arrays of a .npz. Raises ValueError if it is neither."""
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


def _read_npy(told: str, opened: Callable[[], IO[bytes]], size: int) -> np.ndarray:
    """The array of a .npy of `size` bytes. Raises ValueError if it is damaged, holds objects or claims another size."""
    try:
        with opened() as file:
            v1 = npy.read_magic(file) == (1, 0)
            shape, _, dtype = (npy.read_array_header_1_0 if v1 else npy.read_array_header_2_0)(file)
            if math.prod(shape) * dtype.itemsize != size - file.tell():  # before memory is taken
                raise ValueError(f"shape {shape} of {dtype} is not what its size of {size:,} bytes can hold")
            file.seek(0)
            return npy.read_array(file, allow_pickle=False)
    except Exception as error:  # numpy, zipfile and zlib have an exception each for damaged files
        raise ValueError(f"{told} is damaged or no array of plain numbers ({error})") from error


def _array_part(path: str, content: dict[str, np.ndarray], prefix: str) -> Split:
    """The images called PREFIXimages, with their labels. Raises ValueError if they do not go together."""
    images, labels = _as_images(path, content[f"{prefix}images"]), _as_labels(path, content.get(f"{prefix}labels"))
    try:
        return _split(images, labels)
    except ValueError as error:
        raise ValueError(f"dataset.path={path}: {error}") from error


def _as_images(path: str, x: np.ndarray) -> Tensor:
    """(N, h, w), (N, h, w, c) or (N, c, h, w) uint8 to (N, c, h, w). Raises ValueError for other arrays."""
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
    """(N,) int64; None for None. Raises ValueError for what can be no numbers of classes."""
    if y is None:
        return None
    if y.dtype.kind not in "biu" or not y.size or y.min() < 0 or y.max() >= MOST_CLASSES:
        raise ValueError(
            f"dataset.path={path} has labels of type {y.dtype} and shape {y.shape}: give whole numbers from 0 to "
            f"{MOST_CLASSES - 1}, one for each image"
        )
    return torch.from_numpy(y.astype(np.int64).reshape(-1))


def image_folder(
    *,
    path: str,
    size: int,
    channels: int,
    classes: Sequence[int] | None,
    limit: int | None,
    verify: bool,
    flip: bool,
    dequantise: bool,
    seed: int,
    device: torch.device,
) -> Images:
    """The images below a folder or in a zip, of any size; where all are in sub-folders, these are the classes."""
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(f"dataset.path={path}: there is no such folder or zip file")
    files = Files(source)
    if not files.names:
        raise ValueError(f"dataset.path={path} has no images (looked for .jpg, .png and others, also in sub-folders)")
    cache = (source if source.is_dir() else source.parent) / f".{source.stem}_{size}x{size}x{channels}.cache"
    images, kept = decode(files, files.names, size, channels, cache, verify=verify)
    labels = _folder_labels(files.names)[kept]
    split, _, num_classes = _prepared(Split(images, labels), None, None, None, classes, limit)
    return Images(split, None, num_classes, flip=flip, dequantise=dequantise, seed=seed, device=device)


def _folder_labels(names: list[str]) -> Tensor:
    """(N,) numbers of the first folders in which the names differ; zeros where some image is in none."""
    parts = [Path(name).parts for name in names]
    while all(len(p) > 1 and p[0] == parts[0][0] for p in parts):
        parts = [p[1:] for p in parts]
    folders = sorted({p[0] for p in parts})
    if min(len(p) for p in parts) == 1:
        return torch.zeros(len(names), dtype=torch.long)
    return torch.tensor([folders.index(p[0]) for p in parts])


def celeba(
    *,
    root: str,
    download: bool,
    size: int,
    channels: int,
    limit: int | None,
    verify: bool,
    flip: bool,
    dequantise: bool,
    seed: int,
    device: torch.device,
) -> Images:
    """Aligned faces, cut to their central square; the validation part of the official partition is held out."""
    files = _find_celeba(Path(root))
    if files is None and download:
        _download_celeba(root)
        files = _find_celeba(Path(root))
    if files is None:
        raise FileNotFoundError(
            f"CelebA is not there: looked for .jpg files in {', '.join(map(str, _celeba_places(Path(root))))}; put the "
            f"folder or the file img_align_celeba.zip (Google Drive or Kaggle, see the CelebA page) into one of them"
        )
    if len(files.names) < CELEBA_IMAGES:
        log.info("CelebA: found %s of %s images", f"{len(files.names):,}", f"{CELEBA_IMAGES:,}")
    part = _partition(files)
    names = [[n for n in files.names if part.get(n.rpartition("/")[2], 0) == number] for number in (0, 1)]

    def split(kind: str, names: list[str]) -> Split:
        cache = files.path.parent / f".celeba_{kind}_{size}x{size}x{channels}.cache"
        return _split(decode(files, names, size, channels, cache, verify=verify)[0], None)

    faces = names[0] or files.names
    train = split("train" if limit is None else f"train{limit}", faces[first(limit, len(faces))])
    held_out = split("valid", names[1]) if names[0] and names[1] else None
    return Images(train, held_out, 0, flip=flip, dequantise=dequantise, seed=seed, device=device)


def _celeba_places(root: Path) -> list[Path]:
    """Where people have it: torchvision's layout, the zip alone, and the same without the folder celeba."""
    return [base / name for base in (root / "celeba", root) for name in ("img_align_celeba", "img_align_celeba.zip")]


def _find_celeba(root: Path) -> Files | None:
    """The first place with images; Kaggle's folder within a folder is found as a sub-folder."""
    return next((files for p in _celeba_places(root) if p.exists() and (files := Files(p)).names), None)


def _download_celeba(root: str) -> None:
    from torchvision.datasets import CelebA

    try:
        CelebA(root, download=True)
    except Exception as error:  # no network, no gdown, Google Drive's quota: the caller says what to do
        log.info("CelebA could not be downloaded (%s)", " ".join(str(error).split()))


def _partition(files: Files) -> dict[str, int]:
    """{"000001.jpg": 0 (train), 1 (validation) or 2 (test)} from list_eval_partition.txt or .csv; {} without it.

    Raises ValueError if it tells nothing.
    """
    for folder in (files.path.parent, files.path):
        for file in folder.glob("list_eval_partition.*") if folder.is_dir() else ():
            rows = re.findall(r"^(\S+)[ ,]+([012])\s*$", file.read_text(errors="replace"), re.MULTILINE)
            if not rows:
                raise ValueError(f"{file} has no lines like 000001.jpg 0: replace or remove it")
            return {name: int(number) for name, number in rows}
    return {}
