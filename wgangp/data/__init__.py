"""Datasets: the data that a run trains on, in batches."""

from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wgangp.units import Conditions, Units, are_clips


class Dataset:
    """Data of one `shape` with `num_classes` classes (0: unlabelled). Batches are functions of their index.

    The shape is (d,) of vectors, and (c, *spatial) of signals, images, clips, fields and volumes: channels
    come first.
    A batch is made in two steps. `fetch` runs on the host and chooses the samples. `make` runs on the device, so that
    it can be compiled and replayed as part of a CUDA graph; its random numbers come from torch's generator, which the
    trainer seeds once per step.
    """

    shape: tuple[int, ...]
    num_classes: int
    class_names: tuple[str, ...] = ()  # of the num_classes classes
    vocabulary: str | None = None  # the characters of text
    centres: Tensor | None = None  # (k, 2), the modes of toy data
    std: float = 0.0  # of each mode
    units: Units | None = None  # of arrays that are no pictures: how their own numbers become those of the networks
    conditions: Conditions | None = None  # of data whose samples come with numbers or pictures

    @cached_property
    def bounded(self) -> bool:
        """Whether the data lie in [-1, 1] as the networks see them: images (c, h, w) do, unless a subclass differs."""
        return len(self.shape) == 3

    @property
    def is_video(self) -> bool:
        """Whether samples are clips (c, t, h, w) in [-1, 1]."""
        return are_clips(self.shape, self.bounded, self.units)

    def __len__(self) -> int:
        """Returns the number of training samples. Raises TypeError if the data are an endless stream."""
        raise TypeError("this dataset is an endless stream of samples")

    def fetch(self, index: int, n: int) -> tuple[Tensor, ...]:
        """Chooses batch `index` of n samples, on the host. Returns tensors on the device, always of the same shapes."""
        raise NotImplementedError

    def make(self, *fetched: Tensor) -> tuple[Tensor, Tensor]:
        """Returns x (n, *shape) and labels y (n,), zeros without labels; or conditions y. Runs on the device."""
        raise NotImplementedError

    @property
    def condition_shape(self) -> tuple[int, ...] | None:
        """The shape of one condition, (k,) of numbers or (c, *size) of pictures; None if y are labels."""
        return None if self.conditions is None else self.conditions.shape

    def training_conditions(self, n: int) -> Tensor | None:
        """Returns conditions (n, *condition_shape) of training samples, as the networks see them; None without any.

        They are those of the samples of `reference`, and the first follows the last if n is larger than the data.
        Labels (n,) are a draw with replacement: each class comes as often as in the data.
        """
        return None

    def batch(self, index: int, n: int) -> tuple[Tensor, Tensor]:
        return self.make(*self.fetch(index, n))

    def held_out(self, index: int, n: int) -> tuple[Tensor, Tensor] | None:
        """Returns batch `index` of the held-out samples, x (n, *shape) and y as `make`; None if none are held out."""
        return None

    def to_metric_input(self, x: Tensor) -> Any:
        """Returns generated samples x (n, *shape) as metrics take them.

        Images become (n, c, h, w) uint8 on the CPU, text a list of n strings, other arrays numbers in the data's own
        units. Points stay as they are.
        """
        return x

    def comparable(self, x: Tensor) -> Tensor:
        """Returns samples as metrics take them, in units in which columns compare: as the networks see them."""
        return x if self.units is None else self.units.to(x.device).apply(x)

    def reference(self, part: str = "train", n: int | None = None, seed: int = 0) -> tuple[Any, Tensor] | None:
        """Returns n real samples as metrics take them, and their labels (n,); None if there is no such part.

        `part` is train or held_out. The samples are a seeded draw without replacement. They are all samples, in their
        order, if n is None or not smaller than the part.
        """
        return None

    def class_counts(self) -> Tensor | None:
        """Returns how many training samples each class has, (num_classes,); None if that is not known."""
        try:
            found = self.reference("train", len(self))
        except TypeError:  # an endless stream
            return None
        return None if found is None else torch.bincount(found[1].cpu(), minlength=self.num_classes)

    def use(self, units: Units | None, conditions: Conditions | None = None) -> None:
        """Takes the units of a checkpoint: a run keeps those that it began with. Ignored if there are none."""

    def describe(self) -> str:
        """Returns one line about the data: how many samples, of what shape, of which classes."""
        return f"samples of shape {'x'.join(map(str, self.shape))}"

    def picture(self, x: Tensor) -> np.ndarray | None:
        """Returns samples x as one picture (h, w, 3) uint8 if the dataset draws its own samples, else None."""
        return None


class Order:
    """An endless sequence of shuffled epochs of `size` samples: returns the samples of a batch, by its index."""

    def __init__(self, size: int, seed: int, device: torch.device) -> None:
        self.size, self.seed, self.device = size, seed, device
        self.permutation = lru_cache(maxsize=2)(self._permutation)

    def __call__(self, index: int, n: int) -> Tensor:
        """Returns the samples (n,) of batch `index`, on the device."""
        epoch, start = divmod(index * n, self.size)
        picked = self.permutation(epoch)[start : start + n]
        if len(picked) < n:  # the batch straddles two epochs
            picked = torch.cat([picked, self.permutation(epoch + 1)[: n - len(picked)]])
        return picked

    def _permutation(self, epoch: int) -> Tensor:
        """The order of an epoch: drawn on the CPU, so that every device has the same."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**64)
        order = torch.randperm(self.size, generator=generator)
        if self.device.type == "cuda":
            order = order.pin_memory()  # so that the copy waits for nothing
        return order.to(self.device, non_blocking=True)


def draw_positions(size: int, n: int | None, seed: int) -> Tensor:
    """Returns n of `size` positions, a seeded draw without replacement; all, in order, if n is None or too large."""
    if n is None or n >= size:
        return torch.arange(size)
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:n]
