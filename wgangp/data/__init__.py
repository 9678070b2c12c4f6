"""Datasets: what a batch is, apart from how it is trained on."""

from functools import lru_cache

import torch
from torch import Tensor


class Dataset:
    """Data of one `shape` with `num_classes` classes (0: unlabelled), in batches that are functions of an index.

    A batch is had in two steps, so that the second one can be compiled, and replayed as part of a CUDA graph:
    `fetch` decides on the host what is in it, `make` does the rest on the device, where all its random numbers are
    of torch's generator, which the trainer seeds once per step.
    """

    shape: tuple[int, ...]
    num_classes: int
    vocabulary: str | None = None
    class_names: tuple[str, ...] = ()

    def fetch(self, index: int, n: int) -> tuple[Tensor, ...]:
        """What batch `index` of n is made of: tensors of the same shapes every time, on the training device."""
        raise NotImplementedError

    def make(self, *fetched: Tensor) -> tuple[Tensor, Tensor]:
        """The batch: x (n, *shape) and labels y (n,), zeros where there are none."""
        raise NotImplementedError

    def batch(self, index: int, n: int) -> tuple[Tensor, Tensor]:
        return self.make(*self.fetch(index, n))

    def decode(self, x: Tensor) -> list[str]:
        """Samples (n, v, t) as strings, where the data are strings."""
        raise NotImplementedError

    def held_out(self, index: int, n: int) -> tuple[Tensor, Tensor] | None:
        """The same of what is held out of training; None where nothing is."""
        return None


class Order:
    """An endless row of shuffled epochs of `size` items: which ones are in a batch, by the batch's index."""

    def __init__(self, size: int, seed: int, device: torch.device) -> None:
        self.size, self.seed, self.device = size, seed, device
        self.permutation = lru_cache(maxsize=2)(self._permutation)

    def __call__(self, index: int, n: int) -> Tensor:
        """The items (n,) of batch `index`, on the device."""
        epoch, start = divmod(index * n, self.size)
        picked = self.permutation(epoch)[start : start + n]
        if len(picked) < n:  # the batch straddles two epochs
            picked = torch.cat([picked, self.permutation(epoch + 1)[: n - len(picked)]])
        return picked

    def _permutation(self, epoch: int) -> Tensor:
        """The order of an epoch: drawn on the CPU, so that every device has the same."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(self.size, generator=generator).to(self.device)
