"""Where images come from: the public functions are what conf/dataset names, and give `Images`."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wgangp.data.files import Files, decode
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
    few = first(limit, len(parts[0]))
    parts[0] = Split(parts[0].images[few], parts[0].labels[few])
    parts = [Split(fit(part.images, size, channels), part.labels) for part in parts]
    return parts[0], parts[1] if test else None, _count_classes(parts[0].labels)


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
    except Exception as error:  # no network, no file, a damaged file: torchvision has an exception for each
        damaged = [path for path in where.glob("*-ubyte") if not _sound_idx(path)]
        advice = f"{damaged[0]} is damaged, replace it" if damaged else f"put {files} into {where}"
        told = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{name} cannot be read: {advice} ({told})") from error
    arrays = [(torch.as_tensor(part.data), torch.as_tensor(part.targets)) for part in parts]
    return [_split(x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2), y) for x, y in arrays]


def _sound_idx(path: Path) -> bool:
    from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

    try:
        return len(read_sn3_pascalvincent_tensor(str(path))) > 0
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
    train = _split(_as_images(path, content["images"]), _as_labels(content.get("labels")))
    test = None
    if "test_images" in content:
        test = _split(_as_images(path, content["test_images"]), _as_labels(content.get("test_labels")))
    return Images(
        *_prepared(train, test, size, channels, classes, limit),
        flip=flip,
        dequantise=dequantise,
        seed=seed,
        device=device,
    )


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        content = np.load(path, allow_pickle=False)
        arrays = {"images": content} if isinstance(content, np.ndarray) else dict(content)
    except FileNotFoundError:
        raise FileNotFoundError(f"dataset.path={path}: there is no such file") from None
    except Exception as error:  # numpy, zipfile and zlib have an exception each for damaged files
        raise ValueError(f"dataset.path={path} is damaged or no .npy or .npz of plain arrays") from error
    if "images" not in arrays:
        raise ValueError(f"dataset.path={path} has the arrays {', '.join(arrays)}, but none that is called images")
    return arrays


def _as_images(path: str, x: np.ndarray) -> Tensor:
    """(N, h, w), (N, h, w, c) or (N, c, h, w) uint8 to (N, c, h, w)."""
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or not len(x):
        raise ValueError(
            f"dataset.path={path} has images of type {x.dtype} and shape {x.shape}: give uint8 of (N, h, w), "
            "(N, h, w, c) or (N, c, h, w)"
        )
    images = torch.from_numpy(np.ascontiguousarray(x))
    if x.ndim == 3:
        return images[:, None]
    return images.permute(0, 3, 1, 2) if x.shape[3] <= 4 < x.shape[2] else images


def _as_labels(y: np.ndarray | None) -> Tensor | None:
    return None if y is None else torch.from_numpy(y.astype(np.int64).reshape(-1))


def image_folder(
    *,
    path: str,
    size: int,
    channels: int,
    classes: Sequence[int] | None,
    limit: int | None,
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
    images = decode(files, files.names, size, channels, cache)
    split, _, num_classes = _prepared(Split(images, _folder_labels(files.names)), None, None, None, classes, limit)
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
        return _split(decode(files, names, size, channels, cache), None)

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
    """{"000001.jpg": 0 (train), 1 (validation) or 2 (test)} from list_eval_partition.txt or .csv; {} without it."""
    for folder in (files.path.parent, files.path):
        for file in folder.glob("list_eval_partition.*") if folder.is_dir() else ():
            rows = re.findall(r"^(\S+)[ ,]+([012])\s*$", file.read_text(), re.MULTILINE)
            return {name: int(number) for name, number in rows}
    return {}
