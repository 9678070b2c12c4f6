"""Datasets: what a batch is, apart from how it is trained on."""

from torch import Tensor


class Dataset:
    """Data of one `shape` with `num_classes` classes (0: unlabelled), in batches that are functions of an index.

    A batch is had in two steps, so that the second one can be compiled, and replayed as part of a CUDA graph:
    `fetch` decides on the host what is in it, `make` does the rest on the device, where all its random numbers are
    of torch's generator, which the trainer seeds once per step.
    """

    shape: tuple[int, ...]
    num_classes: int

    def fetch(self, index: int, n: int) -> tuple[Tensor, ...]:
        """What batch `index` of n is made of: tensors of the same shapes every time, on the training device."""
        raise NotImplementedError

    def make(self, *fetched: Tensor) -> tuple[Tensor, Tensor]:
        """The batch: x (n, *shape) and labels y (n,), zeros where there are none."""
        raise NotImplementedError

    def batch(self, index: int, n: int) -> tuple[Tensor, Tensor]:
        return self.make(*self.fetch(index, n))

    def held_out(self, index: int, n: int) -> tuple[Tensor, Tensor] | None:
        """The same of what is held out of training; None where nothing is."""
        return None
