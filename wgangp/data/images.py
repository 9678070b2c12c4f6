"""Labelled images as one uint8 tensor on the training device, and their batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass
class Split:
    """Images (N, c, h, w) uint8 and their labels (N,) int64."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise ValueError(f"{len(self.images)} images have {len(self.labels)} labels: each needs one")

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))


class Images:
    """Batches are indexed, scaled to [-1, 1], dequantised and flipped on the device.

    num_classes is 0 where the images have no labels. `dequantise` is the official 2 (x / 256 - 1/2) + U[0, 1/128) of
    gan_cifar_resnet.py; without it x / 127.5 - 1.
    """

    def __init__(
        self,
        train: Split,
        held_out: Split | None,
        num_classes: int,
        *,
        flip: bool,
        dequantise: bool,
        seed: int,
        device: torch.device,
    ) -> None:
        self.train, self.test = train.to(device), held_out.to(device) if held_out else None
        self.shape, self.num_classes = tuple(train.images.shape[1:]), num_classes
        self.flip, self.dequantise, self.seed = flip, dequantise, seed
        self.permutation = lru_cache(maxsize=2)(self._permutation)

    def __len__(self) -> int:
        return len(self.train.labels)

    def batch(self, index: int, n: int) -> tuple[Tensor, Tensor]:
        """Batch `index` of n images (n, c, h, w) and labels (n,), from an endless row of shuffled epochs."""
        if n > len(self):
            raise ValueError(f"batch_size={n} is larger than the dataset ({len(self)} images): make it smaller")
        epoch, start = divmod(index * n, len(self))
        picked = self.permutation(epoch)[start : start + n]
        if len(picked) < n:  # the batch straddles two epochs
            picked = torch.cat([picked, self.permutation(epoch + 1)[: n - len(picked)]])
        x = self._scale(self.train.images[picked])
        if self.flip:
            x = torch.where(torch.rand(n, 1, 1, 1, device=x.device) < 0.5, x.flip(3), x)
        return x, self.train.labels[picked]

    def held_out(self, index: int, n: int) -> tuple[Tensor, Tensor] | None:
        """The same of the held-out images, in their order; None where there are none."""
        if self.test is None:
            return None
        picked = torch.arange(index * n, (index + 1) * n, device=self.test.labels.device) % len(self.test.labels)
        return self._scale(self.test.images[picked]), self.test.labels[picked]

    def _permutation(self, epoch: int) -> Tensor:
        """The order of an epoch: drawn on the CPU, so that every device has the same."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(len(self), generator=generator).to(self.train.labels.device)

    def _scale(self, x: Tensor) -> Tensor:
        x = x.float()
        return (x + torch.rand_like(x)) / 128 - 1 if self.dequantise else x / 127.5 - 1


def fit(images: Tensor, size: int | None, channels: int | None, chunk: int = 4096) -> Tensor:
    """Images (N, c, h, w) uint8 cut to their central square and resized, where a size is asked, and grey or RGB."""
    return torch.cat([_fit(part, size, channels) for part in images.split(chunk)])


def _fit(x: Tensor, size: int | None, channels: int | None) -> Tensor:
    if channels == 1 and x.shape[1] == 3:
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R 601, as PIL
        x = (x * weights).sum(1, keepdim=True).round().to(torch.uint8)
    elif channels == 3 and x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    elif channels not in (None, x.shape[1]):
        raise ValueError(f"dataset.channels={channels}: images of {x.shape[1]} channels can only become 1 or 3")
    if size is not None and x.shape[2:] != (size, size):
        side = min(x.shape[2:])
        top, left = (x.shape[2] - side) // 2, (x.shape[3] - side) // 2
        x = x[:, :, top : top + side, left : left + side].float()
        x = F.interpolate(x, (size, size), mode="bicubic", antialias=True).round().clamp(0, 255).to(torch.uint8)
    return x


def only_classes(split: Split, classes: Sequence[int] | None) -> Split:
    """The images of these classes, which are numbered anew from 0; all where none are named."""
    if classes is None:
        return split
    new = torch.full((int(split.labels.max()) + 1,), -1)
    for number, old in enumerate(classes):
        if not 0 <= old < len(new):
            raise ValueError(f"dataset.classes={list(classes)}: the labels go from 0 to {len(new) - 1}")
        new[old] = number
    labels = new[split.labels]
    return Split(split.images[labels >= 0], labels[labels >= 0])
