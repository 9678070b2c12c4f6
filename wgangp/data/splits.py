"""Labelled samples as one tensor, on the training device where it fits, and their batches."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from wgangp.data import Dataset, Order, draw
from wgangp.data.labels import draw_evenly, listed


@dataclass
class Split:
    """Samples: `images` (M, *shape) of any kind, and the labels (N,) int64 of those that are used.

    `where` (N,) is the position of each of them; None: all, in order, so that N = M. Images that are mapped from a
    file are never copied as a whole.
    """

    images: Tensor
    labels: Tensor
    where: Tensor | None = None

    def __post_init__(self) -> None:
        if len(self.images if self.where is None else self.where) != len(self.labels):
            raise ValueError(f"{len(self.images)} images have {len(self.labels)} labels: each needs one")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def nbytes(self) -> int:
        return self.images.nbytes

    def to(self, device: torch.device) -> "Split":
        where = None if self.where is None else self.where.to(device)
        return Split(self.images.to(device), self.labels.to(device), where)

    def pick(self, picked: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the samples (n, *shape) at these positions (n,) and their labels (n,)."""
        return self.images[picked if self.where is None else self.where[picked]], self.labels[picked]

    def all(self) -> Tensor:
        """Returns all samples (N, *shape)."""
        return self.images if self.where is None else self.images[self.where]


def hold_out(split: Split, amount: float | str) -> tuple[Split, Split]:
    """Returns the training and the held-out part: a share, or a number of samples, of every class alike.

    The draw is the same for every seed of the training. Raises ValueError if `amount` is no share or number.
    """
    n = len(split)
    held = amount if type(amount) is int else round(amount * n) if isinstance(amount, float) and amount < 1 else 0
    if not 1 <= held < n:
        raise ValueError(
            f"dataset.held_out={amount}: give a share such as 0.1, or a whole number from 1 to {n - 1}, of {n} samples"
        )
    train = draw_evenly(split.labels, n - held)
    rest = torch.ones(n, dtype=torch.bool)
    rest[train] = False
    where = torch.arange(n) if split.where is None else split.where
    a, b = (Split(split.images, split.labels[part], where[part]) for part in (train, rest.nonzero().flatten()))
    return a, b


class Resident:
    """A split that lies on the training device as a whole."""

    def __init__(self, split: Split, seed: int, device: torch.device) -> None:
        self.split, self.order = split.to(device), Order(len(split), seed, device)

    def fetch(self, index: int, n: int) -> tuple[Tensor]:
        return (self.order(index, n),)

    def rows(self, picked: Tensor) -> tuple[Tensor, Tensor]:
        return self.split.pick(picked)


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
        parts = self.split.pick(self.order(index, n))
        return [t.pin_memory() if self.device.type == "cuda" else t for t in parts]


def fits(split: Split, device: torch.device) -> bool:
    """Returns whether the images leave most of the device's free memory to the training; only CUDA has its own."""
    return device.type != "cuda" or split.nbytes < 0.5 * torch.cuda.mem_get_info(device)[0]


class Labelled(Dataset):
    """What datasets of labelled samples have in common. num_classes is 0 if the samples have no labels.

    A subclass says how the networks see its samples, by `scale`, and what they are called in messages.
    """

    noun = "samples"

    def __init__(
        self,
        train: Split,
        held_out: Split | None,
        num_classes: int,
        *,
        class_names: tuple[str, ...],
        seed: int,
        device: torch.device,
    ) -> None:
        self.feed = Resident(train, seed, device) if fits(train, device) else Streamed(train, seed, device)
        self.train, self.test, self.device = self.feed.split, held_out, device
        self.shape, self.num_classes, self.class_names = tuple(train.images.shape[1:]), num_classes, class_names

    def __len__(self) -> int:
        return len(self.train)

    def scale(self, x: Tensor) -> Tensor:
        """Returns samples (n, *shape) of a split, on the device, as the networks see them."""
        raise NotImplementedError

    def fetch(self, index: int, n: int) -> tuple[Tensor, ...]:
        if n > len(self):
            raise ValueError(f"batch_size={n} is larger than the dataset ({len(self)} {self.noun}): make it smaller")
        return self.feed.fetch(index, n)

    def make(self, *fetched: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = self.feed.rows(*fetched)
        return self.scale(images), labels

    def held_out(self, index: int, n: int) -> tuple[Tensor, Tensor] | None:
        """Returns n of the held-out samples, in their order; the first follows the last."""
        if self.test is None:
            return None
        images, labels = self.test.pick(torch.arange(index * n, (index + 1) * n) % len(self.test))
        return self.scale(images.to(self.device)), labels.to(self.device)

    def reference(self, part: str = "train", n: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor] | None:
        split = {"train": self.train, "held_out": self.test}.get(part)
        if split is None:
            return None
        if n is None or n >= len(split):
            return split.all().cpu(), split.labels.cpu()
        images, labels = split.pick(draw(len(split), n, seed).to(split.labels.device))
        return images.cpu(), labels.cpu()

    def _classes(self) -> str:
        if not self.num_classes:
            return ""
        counts = torch.bincount(self.train.labels.cpu(), minlength=self.num_classes).tolist()
        names = self.class_names or tuple(map(str, range(self.num_classes)))
        classes = [f"{name} ({count:,})" for name, count in zip(names, counts, strict=True)]
        return f", {self.num_classes} classes: {listed(classes)}"

    def _held_out(self) -> str:
        return "" if self.test is None else f"; {len(self.test):,} held out"
