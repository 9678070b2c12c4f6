"""The official two-dimensional data (gan_toy.py)."""

from collections.abc import Callable

import torch
from torch import Tensor

from wgangp.data import Dataset, draw_positions

__all__ = ["gaussians8", "gaussians25", "swissroll"]  # the functions that conf/dataset names

Sampler = Callable[[Tensor], Tensor]


class Toy(Dataset):
    """Points (n, 2) from sampler(positions); `centres` (k, 2) and `std` of the modes, k = 0 without modes.

    Positions (n,) count the points of the run from 0. `size` is the number of different points; None: endless.
    """

    shape, num_classes = (2,), 0
    centres: Tensor

    def __init__(self, sampler: Sampler, centres: Tensor, std: float, size: int | None = None) -> None:
        self.sampler, self.centres, self.std, self.size = sampler, centres, std, size

    def __len__(self) -> int:
        return super().__len__() if self.size is None else self.size

    def fetch(self, index: int, n: int) -> tuple[Tensor, ...]:
        return (torch.arange(index * n, (index + 1) * n, device=self.centres.device),)

    def make(self, *fetched: Tensor) -> tuple[Tensor, Tensor]:
        (positions,) = fetched
        return self.sampler(positions), torch.zeros_like(positions)

    def reference(self, part: str = "train", n: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor] | None:
        """As Dataset.reference. Raises TypeError if n is None and the points are an endless stream."""
        if part != "train":
            return None
        device = self.centres.device
        if n is None or self.size is not None:
            return self.make(draw_positions(len(self), n, seed).to(device))
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            return self.make(torch.arange(n, device=device))

    def describe(self) -> str:
        number = "an endless stream of" if self.size is None else f"{self.size:,}"
        modes = f", {len(self.centres)} Gaussians of standard deviation {self.std:.3g}" if len(self.centres) else ""
        return f"{number} points in the plane{modes}"


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

    return Toy(sample, (centres / 2.828).to(device), 0.05 / 2.828, len(points))


def swissroll(*, seed: int, device: torch.device) -> Toy:
    """x and z of scikit-learn's make_swiss_roll(noise=0.25), divided by 7.5; an endless stream."""

    def sample(positions: Tensor) -> Tensor:
        n = len(positions)
        t = 1.5 * torch.pi * (1 + 2 * torch.rand(n, device=device))
        roll = torch.stack([t * t.cos(), t * t.sin()], dim=1)  # (n, 2)
        return (roll + 0.25 * torch.randn(n, 2, device=device)) / 7.5

    return Toy(sample, torch.empty(0, 2, device=device), 0.25 / 7.5)
