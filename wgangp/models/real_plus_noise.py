"""Real points plus Gaussian noise: gan_toy.py's FIXED_GENERATOR."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from wgangp import models
from wgangp.machine.distributed import sharded_random


class ToyData(Protocol):
    """Data that are a function of positions: make(positions (n,)) returns n points (n, *shape) and their labels."""

    def make(self, positions: Tensor) -> tuple[Tensor, Tensor]: ...


class Generator(models.Generator):
    """Points of the dataset, drawn at random, plus `scale` times z. A learning rate of 0 holds it fixed.

    In a critic's update the points are those of its real batch (`beside`), as in the official code.

    `dataset(seed=0, device=...)` returns the toy data.
    """

    def __init__(self, *, shape: Sequence[int], num_classes: int, dataset: Callable[..., ToyData]) -> None:
        super().__init__()
        self.nz, self.num_classes = shape[0], 0
        self.dataset = dataset
        self.data: ToyData | None = None  # made in the first forward pass, on the device of z
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.data is None:
            self.data = self.dataset(seed=0, device=z.device)
        positions = sharded_random(lambda n: torch.randint(1 << 30, (n,), device=z.device), len(z))
        real, _ = self.data.make(positions)
        return self.beside(real, z)

    def beside(self, real: Tensor, z: Tensor) -> Tensor:
        """Returns these reals plus noise, (n, *shape)."""
        return real + self.scale * z


def fakes(generator: models.Generator, real: Tensor, z: Tensor, y: Tensor) -> Tensor:
    """Returns what the critic compares with a real batch: G(z, y); of a held generator, these reals plus noise."""
    return generator.beside(real, z) if isinstance(generator, Generator) else generator(z, y)
