"""Penalties that keep the critic 1-Lipschitz: at which points, at what cost of the gradient's norm, how heavy."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Critic = Callable[[Tensor], Tensor]


def at_least_float32(x: Tensor) -> Tensor:
    """Sums and norms are accumulated in float32 (or float64) whatever the precision of the network's passes."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def scores(critic: Critic, x: Tensor) -> Tensor:
    """f(x) of shape (n,) in float32, from a critic that returns (n,), (n, 1) or (n, 1 + num_classes)."""
    out = critic(x)
    return at_least_float32(out if out.ndim == 1 else out[:, 0])


def gradient_norm(critic: Critic, x: Tensor) -> Tensor:
    """|grad_x f(x)| of each sample, (n,), over all its axes; differentiable in the critic's weights.

    The norm's subgradient at a zero gradient is zero, so a constant critic gives no NaN.
    """
    grad = torch.func.grad(lambda x: scores(critic, x).sum())(x)  # (n, *shape)
    return torch.linalg.vector_norm(at_least_float32(grad).flatten(1), dim=1)  # (n,)


def interpolates(real: Tensor, fake: Tensor) -> Tensor:
    """A uniformly drawn point on the line between each real and its fake (Algorithm 1, lines 4 and 6)."""
    alpha = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device, dtype=real.dtype)
    return real + alpha * (fake - real)  # (n, *shape)


POINTS = {"interpolates": interpolates, "real": lambda real, fake: real, "fake": lambda real, fake: fake}

COSTS = {
    "two_sided": lambda norm: (norm - 1).square(),  # Gulrajani et al. 2017, equation 3
    "one_sided": lambda norm: (norm - 1).relu().square(),  # Petzka et al. 2018 (WGAN-LP)
    "zero_centred": lambda norm: norm.square(),  # Mescheder et al. 2018 (R1, R2)
}


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, weight: float = 10.0) -> Tensor:
    """weight * E[(|grad f(x)| - 1)^2] at interpolates (Gulrajani et al. 2017, equation 3), for any training loop.

    real, fake: (n, *shape). The critic may return (n,), (n, 1) or (n, 1 + num_classes).
    """
    return weight * COSTS["two_sided"](gradient_norm(critic, interpolates(real, fake))).mean()


class NoPenalty:
    """The critic is left alone."""

    per_sample = False
    weight = 0.0

    def due(self, update: int) -> bool:
        """Whether this critic update, counted from the run's first, is penalised."""
        return False

    def __call__(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        return real.new_zeros(())

    def project(self, critic: nn.Module) -> None:
        """Called after each critic update."""


class WeightClipping(NoPenalty):
    """Every critic weight clamped to [-clip, clip] after each update (Arjovsky et al. 2017, Algorithm 1, line 7)."""

    def __init__(self, *, clip: float) -> None:
        if clip <= 0:
            raise ValueError(f"penalty.clip is {clip}: it must be above 0")
        self.clip = clip

    @torch.no_grad()
    def project(self, critic: nn.Module) -> None:
        for p in critic.parameters():
            p.clamp_(-self.clip, self.clip)


class GradientPenalty(NoPenalty):
    """weight * E[cost(|grad f(x)|)] at chosen points; every `interval`-th update, then `interval` times as heavy."""

    per_sample = True

    def __init__(self, *, points: str, cost: str, weight: float, interval: int) -> None:
        for key, value, known in (("points", points, POINTS), ("cost", cost, COSTS)):
            if value not in known:
                raise ValueError(f"penalty.{key} is {value!r}: choose {', '.join(known)}")
        if weight < 0 or interval < 1:
            raise ValueError(f"penalty.weight is {weight}, penalty.interval {interval}: they must be >= 0 and >= 1")
        self.points, self.cost = POINTS[points], COSTS[cost]
        self.weight, self.interval = weight, interval

    def due(self, update: int) -> bool:
        return update % self.interval == 0

    def __call__(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        norms = gradient_norm(critic, self.points(real, fake))  # (n,)
        return self.weight * self.interval * self.cost(norms).mean()
