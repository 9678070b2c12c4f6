"""Schedules of the penalty's weight: constant, linear, or controlled by the measured gradient norm."""

import math

import torch
from torch import Tensor, nn

from wgangp.machine.distributed import mean_over_ranks


class Schedule(nn.Module):
    """The weight over a run: `value` is its current value, `start` its first one."""

    value: float | Tensor

    def __init__(self, start: float) -> None:
        super().__init__()
        if not 0 <= start < math.inf:
            raise ValueError(f"penalty.weight is {start}: it must be a finite number of at least 0")
        self.start = start

    def begin(self, progress: float) -> None:
        """Called before each step with the finished share of the run, from 0 to 1."""

    def observe(self, norm: Tensor) -> None:
        """Called after each penalised update with this rank's mean gradient norm, a scalar; see `mean_over_ranks`."""


class Constant(Schedule):
    """Always the first value."""

    def __init__(self, start: float) -> None:
        super().__init__(start)
        self.value = start


class Linear(Schedule):
    """Changes linearly from the first value to `final` at the end of the run."""

    value: Tensor  # on the device, where a CUDA graph reads it

    def __init__(self, start: float, *, final: float) -> None:
        super().__init__(start)
        if not 0 <= final < math.inf:
            raise ValueError(f"penalty.schedule.final is {final}: it must be a finite number of at least 0")
        self.final = final
        self.register_buffer("value", torch.tensor(float(start)), persistent=False)

    def begin(self, progress: float) -> None:
        self.value.fill_(self.start + progress * (self.final - self.start))


class Adaptive(Schedule):
    """Multiplies the weight by (norm / target)^rate after each penalised update, and keeps it within [least, most].

    This is an integral controller of log(weight): the weight grows while the mean norm is above its target, and falls
    while it is below. One update changes it by a factor of at most 10^rate. Mtetwa et al. (2025) control the weight by
    the norm, too.
    """

    value: Tensor  # likewise

    def __init__(self, start: float, *, target: float, rate: float, least: float, most: float) -> None:
        super().__init__(start)
        if not (target > 0 and rate > 0 and 0 < least <= start <= most < math.inf):
            raise ValueError(
                f"penalty.schedule: target {target} and rate {rate} must be above 0, and penalty.weight {start} from "
                f"least {least} to most {most}"
            )
        self.target, self.rate, self.least, self.most = target, rate, least, most
        self.register_buffer("value", torch.tensor(float(start)))  # part of the checkpoint

    @torch.no_grad()
    def observe(self, norm: Tensor) -> None:
        factor = (mean_over_ranks(norm) / self.target).clamp(0.1, 10) ** self.rate
        self.value.mul_(factor).clamp_(self.least, self.most)
