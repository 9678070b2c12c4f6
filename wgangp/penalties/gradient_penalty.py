"""The gradient penalty (Gulrajani et al. 2017) and its family."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from wgangp.machine import distributed
from wgangp.models.layers import couples_samples
from wgangp.penalties.base import COUPLED, IntervalPenalty, module_of
from wgangp.penalties.gradients import ScoreFunction, at_least_float32, gradient_norm
from wgangp.penalties.points import COSTS, POINTS, REDUCTIONS, Cost, Points, Reduction, by_name, interpolates
from wgangp.schedules import Schedule


def gradient_penalty(critic: ScoreFunction, real: Tensor, fake: Tensor, weight: float = 10.0) -> Tensor:
    """Returns weight * E[(|grad f(x)| - 1)^2] at interpolates (Gulrajani et al. 2017, equation 3), a scalar.

    For use in any training loop. real, fake: (n, *shape). The critic may return (n,), (n, 1) or (n, 1 + num_classes).
    The interpolates are drawn with torch's global random numbers.

    Raises ValueError if the critic has BatchNorm, for it must treat samples separately.
    """
    module = module_of(critic)
    if isinstance(module, nn.Module) and couples_samples(module):
        raise ValueError(f"{COUPLED}: use LayerNorm, or no norm, in the critic")
    return weight * (gradient_norm(critic, interpolates(real, fake)) - 1).square().mean()


class GradientPenalty(IntervalPenalty):
    """reduction(cost(|grad f|_norm) ^ power) at chosen points.

    `points`, `cost` and `reduction` are names (wgangp.penalties.points) or callables of the same signature.
    """

    def __init__(
        self,
        *,
        points: str | Points,
        norm: float,
        cost: str | Cost,
        power: float,
        reduction: str | Reduction,
        weight: float,
        schedule: Callable[[float], Schedule],
        interval: int,
    ) -> None:
        super().__init__(weight, schedule, interval)
        if norm < 1 or not 1 <= power < math.inf:
            raise ValueError(f"penalty.norm is {norm}, penalty.power {power}: they must be >= 1 (a norm may be inf)")
        self.points: Points = by_name("points", points, POINTS)
        self.cost: Cost = by_name("cost", cost, COSTS)
        self.reduction: Reduction = by_name("reduction", reduction, REDUCTIONS)
        self.norm, self.power = norm, power

    def unweighted(self, critic: ScoreFunction, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        norms = gradient_norm(critic, self.points(real, fake), self.norm)  # (n,)
        return self.reduction(self.cost(norms) ** self.power), norms.mean()


class Consistency(GradientPenalty):
    """CT-GAN (Wei et al. 2018, equations 4 and 5): the gradient penalty, and a critic that is consistent at reals.

    Two passes with different dropout masks differ by (f' - f'')^2 + 0.1 mean (features' - features'')^2. What exceeds
    `margin` is averaged and weighted by `consistency`. `dropout` is the rate of each nn.Dropout of the critic, which
    needs `features` and `output`, as every critic of wgangp.models has them.
    """

    def __init__(
        self,
        *,
        consistency: float,
        margin: float,
        dropout: float,
        points: str | Points,
        norm: float,
        cost: str | Cost,
        power: float,
        reduction: str | Reduction,
        weight: float,
        schedule: Callable[[float], Schedule],
        interval: int,
    ) -> None:
        super().__init__(
            points=points,
            norm=norm,
            cost=cost,
            power=power,
            reduction=reduction,
            weight=weight,
            schedule=schedule,
            interval=interval,
        )
        if consistency < 0 or margin < 0 or not 0 < dropout < 1:
            raise ValueError(
                f"penalty.consistency is {consistency}, margin {margin}: they must be 0 or above; penalty.dropout is "
                f"{dropout}: it must be between 0 and 1"
            )
        self.consistency, self.margin, self.dropout = consistency, margin, dropout

    def wrap(self, critic: nn.Module) -> nn.Module:
        dropouts = [module for module in critic.modules() if isinstance(module, nn.Dropout)]
        if not dropouts or not hasattr(critic, "features"):
            raise ValueError("penalty=ct needs a critic with features(x), output and a place for dropout (nn.Dropout)")
        if distributed.WORLD_SIZE > 1:
            raise ValueError("penalty=ct runs in one process: every rank would draw the same dropout masks")
        for dropout in dropouts:
            dropout.p = self.dropout
        return critic

    def terms(self, critic: Any, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        penalty, norm = super().terms(critic, real, fake)
        features = critic.features(torch.cat([real, real]))  # (2n, d), other dropout masks for each half
        (a, b), (f_a, f_b) = features.chunk(2), critic.output(features)[:, 0].chunk(2)
        difference = at_least_float32(f_a - f_b).square() + 0.1 * at_least_float32(a - b).square().mean(dim=1)  # (n,)
        return penalty + self.consistency * (difference - self.margin).relu().mean(), norm
