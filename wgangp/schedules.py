"""How the weight of a penalty moves over a run: held, in a line, or steered by the gradient norms it brings about."""

import math

import torch
from torch import Tensor, nn


class Schedule(nn.Module):
    """A course of the weight from `start`: its `value`, and what may move it."""

    value: float | Tensor

    def __init__(self, start: float) -> None:
        super().__init__()
        if not 0 <= start < math.inf:
            raise ValueError(f"penalty.weight is {start}: it must be 0 or above")
        self.start = start

    def begin(self, progress: float) -> None:
        """Called before each step, with the share of the run that is behind, 0 to 1."""

    def observe(self, norm: Tensor) -> None:
        """Called after each penalised update, with the mean gradient norm () that it found."""


class Constant(Schedule):
    """Held."""

    def __init__(self, start: float) -> None:
        super().__init__(start)
        self.value = start


# The others' values are on the device, where a CUDA graph reads them.


class Linear(Schedule):
    """From the first value to `final` at the end of the run."""

    def __init__(self, start: float, *, final: float) -> None:
        super().__init__(start)
        if not 0 <= final < math.inf:
            raise ValueError(f"penalty.schedule.final is {final}: it must be 0 or above")
        self.final = final
        self.register_buffer("value", torch.tensor(float(start)), persistent=False)

    def begin(self, progress: float) -> None:
        self.value.fill_(self.start + progress * (self.final - self.start))  # type: ignore[union-attr]


class Adaptive(Schedule):
    """Multiplied by (norm / target)^rate after each penalised update, within [least, most].

    An integral controller of log(weight): steep critics make it heavier, flat ones lighter, until the mean norm is at
    its target; after that the first value is forgotten. One update changes it by at most 10^rate. The idea of steering
    the weight by the norm is that of Mtetwa et al. (2025).
    """

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
        factor = (norm / self.target).clamp(0.1, 10) ** self.rate
        self.value.mul_(factor).clamp_(self.least, self.most)  # type: ignore[union-attr]
