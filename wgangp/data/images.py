"""Labelled images as one uint8 tensor, on the training device where it fits, and their batches."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from wgangp.data import Dataset, Order, draw
from wgangp.data.labels import listed


@dataclass
class Split:
    """Images (N, c, h, w) uint8 and their labels (N,) int64."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise ValueError(f"{len(self.images)} images have {len(self.labels)} labels: each needs one")

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))


class Resident:
    """A split that lies on the training device as a whole."""

    def __init__(self, split: Split, seed: int, device: torch.device) -> None:
        self.split, self.order = split.to(device), Order(len(split), seed, device)

    def fetch(self, index: int, n: int) -> tuple[Tensor]:
        return (self.order(index, n),)

    def rows(self, picked: Tensor) -> tuple[Tensor, Tensor]:
        return self.split.images[picked], self.split.labels[picked]


class Streamed:
    """A split too large for the device: a thread gathers the next batches in pinned memory while this one is used."""

    AHEAD = 8  # batches

    def __init__(self, split: Split, seed: int, device: torch.device) -> None:
        self.split, self.order, self.device = split, Order(len(split), seed, torch.device("cpu")), device
        self.thread = ThreadPoolExecutor(1, "gather")
        self.coming: dict[tuple[int, int], Future[list[Tensor]]] = {}

    def fetch(self, index: int, n: int) -> tuple[Tensor, ...]:
        wanted = [(i, n) for i in range(index, index + 1 + self.AHEAD)]
        self.coming = {key: self.coming.get(key) or self.thread.submit(self._gather, *key) for key in wanted}
        return tuple(t.to(self.device, non_blocking=True) for t in self.coming[index, n].result())

    def rows(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return images, labels

    def _gather(self, index: int, n: int) -> list[Tensor]:
        picked = self.order(index, n)
        parts = [self.split.images[picked], self.split.labels[picked]]
        return [t.pin_memory() for t in parts] if self.device.type == "cuda" else parts


def fits(split: Split, device: torch.device) -> bool:
    """Returns whether the images leave most of the device's free memory to the training; only CUDA has its own."""
    return device.type != "cuda" or split.images.nbytes < 0.5 * torch.cuda.mem_get_info(device)[0]


class Images(Dataset):
    """Batches are gathered, scaled to [-1, 1], dequantised and flipped on the device.

    num_classes is 0 if the images have no labels. `dequantise` is the official 2 (x / 256 - 1/2) + U[0, 1/128) of
    gan_cifar_resnet.py; without it x / 127.5 - 1.
    """

    def __init__(
        self,
        train: Split,
        held_out: Split | None,
        num_classes: int,
        *,
        class_names: tuple[str, ...] = (),
        flip: bool,
        dequantise: bool,
        seed: int,
        device: torch.device,
    ) -> None:
        self.feed = Resident(train, seed, device) if fits(train, device) else Streamed(train, seed, device)
        self.train, self.test, self.device = self.feed.split, held_out, device
        self.shape, self.num_classes, self.class_names = tuple(train.images.shape[1:]), num_classes, class_names
        self.flip, self.dequantise = flip, dequantise

    def __len__(self) -> int:
        return len(self.train)

    def fetch(self, index: int, n: int) -> tuple[Tensor, ...]:
        if n > len(self):
            raise ValueError(f"batch_size={n} is larger than the dataset ({len(self)} images): make it smaller")
        return self.feed.fetch(index, n)

    def make(self, *fetched: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = self.feed.rows(*fetched)
        x = self.scale(images)  # (n, c, h, w)
        if self.flip:
            x = torch.where(torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5, x.flip(3), x)
        return x, labels

    def held_out(self, index: int, n: int) -> tuple[Tensor, Tensor] | None:
        """Returns n of the held-out images, in their order and not flipped; the first follows the last."""
        if self.test is None:
            return None
        picked = torch.arange(index * n, (index + 1) * n) % len(self.test)
        return self.scale(self.test.images[picked].to(self.device)), self.test.labels[picked].to(self.device)

    def scale(self, x: Tensor) -> Tensor:
        """Returns pixels (uint8) as the networks see them."""
        x = x.float()
        return (x + torch.rand_like(x)) / 128 - 1 if self.dequantise else x / 127.5 - 1

    def to_metric_input(self, x: Tensor) -> Tensor:
        """Returns x (n, c, h, w) in [-1, 1] as uint8 on the CPU, as the official code: int((x + 1) * 255.99 / 2)."""
        return ((x.float() + 1) * (255.99 / 2)).clamp(0, 255).to(torch.uint8).cpu()

    def reference(self, part: str = "train", n: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor] | None:
        split = {"train": self.train, "held_out": self.test}.get(part)
        if split is None:
            return None
        if n is None or n >= len(split):
            return split.images.cpu(), split.labels.cpu()
        picked = draw(len(split), n, seed).to(split.labels.device)
        return split.images[picked].cpu(), split.labels[picked].cpu()

    def describe(self) -> str:
        held_out = "" if self.test is None else f"; {len(self.test):,} held out"
        return f"{len(self):,} images of {'x'.join(map(str, self.shape))}{self._classes()}{held_out}"

    def _classes(self) -> str:
        if not self.num_classes:
            return ""
        counts = torch.bincount(self.train.labels.cpu(), minlength=self.num_classes).tolist()
        names = self.class_names or tuple(map(str, range(self.num_classes)))
        classes = [f"{name} ({count:,})" for name, count in zip(names, counts, strict=True)]
        return f", {self.num_classes} classes: {listed(classes)}"


def brightest(images: Tensor, enough: int, chunk: int = 1024) -> int:
    """Returns the largest pixel value, or the first found that is at least `enough`."""
    brightest = 0
    for part in torch.split(images, chunk):
        brightest = max(brightest, int(part.max()))
        if brightest >= enough:
            break
    return brightest


def fit(images: Tensor, size: int | None, channels: int | None, chunk: int = 4096) -> Tensor:
    """Returns images (N, c, h, w) uint8 as grey or RGB, cut to their central square and resized.

    `size` or `channels` None keeps them as they are. Raises ValueError if the channels cannot be converted.
    """
    if (size is None or images.shape[2:] == (size, size)) and channels in (None, images.shape[1]):
        return images  # perhaps mapped from a file, and larger than the memory
    return torch.cat([_fit(part, size, channels) for part in torch.split(images, chunk)])


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
