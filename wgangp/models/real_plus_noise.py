"""A generator that is held: real points plus Gaussian noise (gan_toy.py's FIXED_GENERATOR)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wgangp.machine.distributed import sharded_random


class Generator(nn.Module):
    """Points of the dataset, drawn at random, plus `scale` times z. What holds it is a learning rate of 0.

    `dataset(seed=0, device=...)` gives toy data: make(positions) of n positions gives n points (n, *shape).
    """

    def __init__(self, *, shape: Sequence[int], num_classes: int, dataset: Callable[..., Any]) -> None:
        super().__init__()
        self.nz, self.num_classes = shape[0], 0
        self.dataset = dataset
        self.data: Any = None  # made on the device where it is asked for first
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.data is None:
            self.data = self.dataset(seed=0, device=z.device)
        positions = sharded_random(lambda n: torch.randint(1 << 30, (n,), device=z.device), len(z))
        real, _ = self.data.make(positions)
        return real + self.scale * z  # (n, *shape)
