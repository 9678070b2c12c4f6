"""Samples with labels or conditions as one tensor, on the training device where it fits, and their batches."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wgangp.data import Dataset, Order, draw_positions
from wgangp.data.labels import draw_evenly, listed
from wgangp.units import Conditions, Units


@dataclass
class Split:
    """Samples (M, *shape) of any kind, and the labels (N,) int64 of those that are used.

    `where` (N,) is the row of `samples` of each of them; None: row i is sample i, so that N = M. `conditions`
    (M, *) are numbers or pictures that the samples come with. Samples mapped from a file are never copied as a whole.
    """

    samples: Tensor
    labels: Tensor
    where: Tensor | None = None
    conditions: Tensor | None = None

    def __post_init__(self) -> None:
        if len(self.samples if self.where is None else self.where) != len(self.labels):
            raise ValueError(f"{len(self.samples)} samples have {len(self.labels)} labels: each needs one")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def nbytes(self) -> int:
        return self.samples.nbytes + (0 if self.conditions is None else self.conditions.nbytes)

    def to(self, device: torch.device) -> "Split":
        where, conditions = (None if t is None else t.to(device) for t in (self.where, self.conditions))
        return Split(self.samples.to(device), self.labels.to(device), where, conditions)

    def pick(self, picked: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the samples (n, *shape) at these positions (n,), and their labels (n,) or conditions (n, *)."""
        return self.samples[picked if self.where is None else self.where[picked]], self.targets(picked)

    def targets(self, picked: Tensor) -> Tensor:
        """Returns the conditions (n, *) of the samples at these positions (n,); the labels (n,) if there are none."""
        if self.conditions is None:
            return self.labels[picked]
        return self.conditions[picked if self.where is None else self.where[picked]]

    def part(self, picked: Tensor) -> "Split":
        """Returns the samples at these positions (n,) as a split of their own, without a copy of them."""
        return replace(self, labels=self.labels[picked], where=picked if self.where is None else self.where[picked])

    def all(self) -> Tensor:
        """Returns all samples (N, *shape)."""
        return self.samples if self.where is None else self.samples[self.where]


def hold_out(split: Split, amount: float | str, class_names: tuple[str, ...]) -> tuple[Split, Split]:
    """Returns the training and the held-out part: a share, or a number of samples, of every class alike.

    The draw is the same for every seed of the training. Raises ValueError if `amount` is no share or number, or leaves
    no training sample of a class.
    """
    n = len(split)
    held = amount if type(amount) is int else round(amount * n) if isinstance(amount, float) and amount < 1 else 0
    if n < 2:
        raise ValueError(f"dataset.held_out={amount}: there is one sample alone, which is trained on: give more")
    if not 1 <= held < n:
        raise ValueError(
            f"dataset.held_out={amount}: of {n} samples give a whole number from 1 to {n - 1}, or a share that is at "
            "least one of them, such as 0.5"
        )
    train = draw_evenly(split.labels, n - held)
    rest = torch.ones(n, dtype=torch.bool)
    rest[train] = False
    parts = split.part(train), split.part(rest.nonzero().flatten())
    counts = torch.bincount(parts[0].labels, minlength=len(class_names)).tolist()
    if lost := [name for name, count in zip(class_names, counts, strict=False) if not count]:
        raise ValueError(
            f"dataset.held_out={amount} leaves no training sample of the classes {listed(lost)}: hold out fewer, or "
            "choose others by dataset.classes"
        )
    return parts


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

    AHEAD = 8  # batches that are gathered before they are asked for
    BEHIND = 64  # batches whose copies the device may not have made yet: each keeps its pinned memory until then

    def __init__(self, split: Split, seed: int, device: torch.device) -> None:
        self.split, self.order, self.device = split, Order(len(split), seed, torch.device("cpu")), device
        self.thread = ThreadPoolExecutor(1, "gather")
        self.coming: dict[tuple[int, int], Future[list[Tensor]]] = {}
        self.copies: deque[torch.cuda.Event] = deque()

    def fetch(self, index: int, n: int) -> tuple[Tensor, ...]:
        wanted = [(i, n) for i in range(index, index + 1 + self.AHEAD)]
        self.coming = {key: self.coming.get(key) or self.thread.submit(self._gather, *key) for key in wanted}
        batch = tuple(t.to(self.device, non_blocking=True) for t in self.coming[index, n].result())
        if self.device.type == "cuda":
            self.copies.append(torch.cuda.Event())
            self.copies[-1].record()
            if len(self.copies) > self.BEHIND:
                self.copies.popleft().synchronize()
        return batch

    def rows(self, samples: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return samples, targets

    def _gather(self, index: int, n: int) -> list[Tensor]:
        parts = self.split.pick(self.order(index, n))
        return [t.pin_memory() if self.device.type == "cuda" else t for t in parts]


def fits_on(split: Split, device: torch.device) -> bool:
    """Returns whether the samples leave most of the device's free memory to the training; only CUDA has its own."""
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
        self.feed = Resident(train, seed, device) if fits_on(train, device) else Streamed(train, seed, device)
        self.train, self.held_out_split, self.device = self.feed.split, held_out, device
        self.shape, self.num_classes, self.class_names = tuple(train.samples.shape[1:]), num_classes, class_names

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
        x, y = self.feed.rows(*fetched)
        return self.scale(x), self.scale_condition(y)

    def scale_condition(self, y: Tensor) -> Tensor:
        """Returns conditions (n, *) of a split, on the device, as the networks see them; labels as they are."""
        return y if self.conditions is None else self.condition_units.apply(y)

    def use(self, units: Units | None, conditions: Conditions | None = None) -> None:
        if conditions is not None:
            self.conditions, self.condition_units = conditions, conditions.units.to(self.device)

    def training_conditions(self, n: int) -> Tensor | None:
        if self.conditions is not None:
            picked = draw_positions(len(self.train), n, seed=0)[torch.arange(n) % len(self.train)]
            return self.scale_condition(self.train.targets(picked.to(self.train.labels.device)).to(self.device)).cpu()
        if not self.num_classes:
            return None
        picked = torch.randint(len(self.train), (n,), generator=torch.Generator().manual_seed(0))
        return self.train.labels[picked.to(self.train.labels.device)].cpu()

    def held_out(self, index: int, n: int) -> tuple[Tensor, Tensor] | None:
        """Returns n of the held-out samples, in their order; the first follows the last."""
        if self.held_out_split is None:
            return None
        x, y = self.held_out_split.pick(torch.arange(index * n, (index + 1) * n) % len(self.held_out_split))
        return self.scale(x.to(self.device)), self.scale_condition(y.to(self.device))

    def reference(self, part: str = "train", n: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor] | None:
        split = self._part(part)
        if split is None:
            return None
        if n is None or n >= len(split):
            return split.all().cpu(), split.labels.cpu()
        picked = draw_positions(len(split), n, seed).to(split.labels.device)
        return split.pick(picked)[0].cpu(), split.labels[picked].cpu()

    def class_counts(self) -> Tensor:
        return torch.bincount(self.train.labels.cpu(), minlength=self.num_classes)

    def _part(self, part: str) -> Split | None:
        return {"train": self.train, "held_out": self.held_out_split}.get(part)

    def _details(self) -> str:
        """Returns the classes, the conditions and the number of held-out samples, in words."""
        classes = ""
        if self.num_classes:
            names = self.class_names or tuple(map(str, range(self.num_classes)))
            counted = [f"{name} ({n:,})" for name, n in zip(names, self.class_counts().tolist(), strict=True)]
            classes = f", {self.num_classes} classes: {listed(counted)}"
        given = "" if self.conditions is None else f", each with {self.conditions}"
        held_out = "" if self.held_out_split is None else f"; {len(self.held_out_split):,} held out"
        return classes + given + held_out
