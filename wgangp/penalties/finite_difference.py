"""A penalty without a second derivative."""

from collections.abc import Callable

import torch
from torch import Tensor

from wgangp.machine import distributed
from wgangp.machine.distributed import local_shard, mean_over_ranks
from wgangp.penalties.base import IntervalPenalty
from wgangp.penalties.gradients import ScoreFunction, scores
from wgangp.schedules import Schedule


class FiniteDifference(IntervalPenalty):
    """E[(f(x + sigma e) - f(x))^2] at reals and fakes, e ~ N(0, I): about sigma^2 |grad f|^2, without a gradient in x.

    The approximated R1 of Seaweed-APT (Lin et al. 2025) is this at reals: for critics without a second derivative.
    """

    def __init__(self, *, sigma: float, weight: float, schedule: Callable[[float], Schedule], interval: int) -> None:
        super().__init__(weight, schedule, interval)
        if sigma <= 0:
            raise ValueError(f"penalty.sigma is {sigma}: it must be above 0")
        self.sigma = sigma

    def unweighted(self, critic: ScoreFunction, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([real, fake])
        noise = torch.randn(len(x) * distributed.WORLD_SIZE, *x.shape[1:], device=x.device, dtype=x.dtype)
        noise = torch.cat([local_shard(half) for half in noise.chunk(2)])  # of the whole batch's reals, then its fakes
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 rounds f by as much as it changes
            mean_square = (scores(critic, x + self.sigma * noise) - scores(critic, x)).square().mean()
        return 2 * mean_square, mean_over_ranks(mean_square.detach()).sqrt() / self.sigma  # of the whole batch
