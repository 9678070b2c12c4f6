"""The official two-dimensional data (gan_toy.py)."""

from collections.abc import Callable

import torch
from torch import Tensor

from wgangp.data import Dataset

Sampler = Callable[[Tensor], Tensor]


class Toy(Dataset):
    """Points (n, 2) from sampler(positions); `centres` (k, 2) and `std` of the modes, where there are modes.

    Positions (n,) count the points of the run from 0.
    """

    shape, num_classes = (2,), 0

    def __init__(self, sampler: Sampler, centres: Tensor, std: float) -> None:
        self.sampler, self.centres, self.std = sampler, centres, std

    def fetch(self, index: int, n: int) -> tuple[Tensor]:
        return (torch.arange(index * n, (index + 1) * n, device=self.centres.device),)

    def make(self, positions: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return self.sampler(positions), torch.zeros_like(positions)


def gaussians8(*, seed: int, device: torch.device) -> Toy:
    """8 Gaussians on a circle of radius 2, std 0.02, all divided by 1.414; an endless stream."""
    angles = torch.arange(8, device=device) * (torch.pi / 4)
    centres = 2 * torch.stack([angles.cos(), angles.sin()], dim=1)  # (8, 2)

    def sample(positions: Tensor) -> Tensor:
        n = len(positions)
        mode = torch.randint(8, (n,), device=device)
        return (centres[mode] + 0.02 * torch.randn(n, 2, device=device)) / 1.414

    return Toy(sample, centres / 1.414, 0.02 / 1.414)


def gaussians25(*, seed: int, device: torch.device) -> Toy:
    """4,000 points around each centre (2i, 2j), |i|, |j| <= 2, std 0.05, all divided by 2.828.

    The 100,000 points are drawn and shuffled once and used in this order again and again, as in the official code.
    """
    generator = torch.Generator().manual_seed(seed)
    ticks = 2.0 * torch.arange(-2, 3)
    centres = torch.cartesian_prod(ticks, ticks)  # (25, 2)
    points = centres.repeat(4000, 1) + 0.05 * torch.randn(100_000, 2, generator=generator)
    points = (points[torch.randperm(len(points), generator=generator)] / 2.828).to(device)

    def sample(positions: Tensor) -> Tensor:
        return points[positions % len(points)]

    return Toy(sample, (centres / 2.828).to(device), 0.05 / 2.828)


def swissroll(*, seed: int, device: torch.device) -> Toy:
    """x and z of scikit-learn's make_swiss_roll(noise=0.25), divided by 7.5; an endless stream."""

    def sample(positions: Tensor) -> Tensor:
        n = len(positions)
        t = 1.5 * torch.pi * (1 + 2 * torch.rand(n, device=device))
        roll = torch.stack([t * t.cos(), t * t.sin()], dim=1)  # (n, 2)
        return (roll + 0.25 * torch.randn(n, 2, device=device)) / 7.5

    return Toy(sample, torch.empty(0, 2, device=device), 0.25 / 7.5)
