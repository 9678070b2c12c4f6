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


def gradient_norm(critic: Critic, x: Tensor, order: float = 2) -> Tensor:
    """|grad_x f(x)| of each sample, (n,), over all its axes; differentiable in the critic's weights.

    The norm's subgradient at a zero gradient is zero, so a constant critic gives no NaN.
    """
    grad = torch.func.grad(lambda x: scores(critic, x).sum())(x)  # (n, *shape)
    return torch.linalg.vector_norm(at_least_float32(grad).flatten(1), ord=order, dim=1)  # (n,)


def one_each(x: Tensor) -> Tensor:
    """A uniform number in [0, 1) for each sample, broadcastable with x."""
    return torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device, dtype=x.dtype)


def interpolates(real: Tensor, fake: Tensor) -> Tensor:
    """A uniformly drawn point on the line between each real and its fake (Algorithm 1, lines 4 and 6)."""
    return real + one_each(real) * (fake - real)  # (n, *shape)


def perturbed(real: Tensor, fake: Tensor) -> Tensor:
    """Reals with uniform noise of up to half their standard deviation, by a uniform share (Kodali et al. 2017)."""
    return real + one_each(real) * 0.5 * real.std() * torch.rand_like(real)


POINTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "interpolates": interpolates,
    "real": lambda real, fake: real,
    "fake": lambda real, fake: fake,
    "both": lambda real, fake: torch.cat([real, fake]),
    "perturbed": perturbed,
}

DEVIATIONS: dict[str, Callable[[Tensor], Tensor]] = {  # of a norm (n,), raised to a power and averaged
    "two_sided": lambda norm: (norm - 1).abs(),
    "one_sided": lambda norm: (norm - 1).relu(),
    "zero_centred": lambda norm: norm,
}

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"mean": torch.mean, "max": torch.amax}


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, weight: float = 10.0) -> Tensor:
    """weight * E[(|grad f(x)| - 1)^2] at interpolates (Gulrajani et al. 2017, equation 3), for any training loop.

    real, fake: (n, *shape). The critic may return (n,), (n, 1) or (n, 1 + num_classes).
    """
    return weight * (gradient_norm(critic, interpolates(real, fake)) - 1).square().mean()


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


class IntervalPenalty(NoPenalty):
    """What is added to the critic's loss at every `interval`-th update, `interval` times as heavy.

    It shares its update with the loss, so the optimizer steps as often as ever, and the correction of StyleGAN2 (Karras
    et al. 2020, appendix B), whose penalty has steps of its own, is not due.
    """

    per_sample = True

    def __init__(self, weight: float, interval: int) -> None:
        if weight < 0 or interval < 1:
            raise ValueError(f"penalty.weight is {weight}, penalty.interval {interval}: they must be >= 0 and >= 1")
        self.weight, self.interval = weight, interval

    def due(self, update: int) -> bool:
        return update % self.interval == 0

    def __call__(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        return self.weight * self.interval * self.term(critic, real, fake)

    def term(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        raise NotImplementedError


class GradientPenalty(IntervalPenalty):
    """reduction(deviation(|grad f|_norm) ^ power) at chosen points."""

    def __init__(
        self, *, points: str, norm: float, cost: str, power: float, reduction: str, weight: float, interval: int
    ) -> None:
        super().__init__(weight, interval)
        tables: tuple[tuple[str, str, dict], ...] = (
            ("points", points, POINTS),
            ("cost", cost, DEVIATIONS),
            ("reduction", reduction, REDUCTIONS),
        )
        for key, value, known in tables:
            if value not in known:
                raise ValueError(f"penalty.{key} is {value!r}: choose {', '.join(known)}")
        if norm < 1 or power < 1:
            raise ValueError(f"penalty.norm is {norm}, penalty.power {power}: they must be >= 1 (a norm may be inf)")
        self.points, self.deviation, self.reduction = POINTS[points], DEVIATIONS[cost], REDUCTIONS[reduction]
        self.norm, self.power = norm, power

    def term(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        norms = gradient_norm(critic, self.points(real, fake), self.norm)  # (n,)
        return self.reduction(self.deviation(norms) ** self.power)


class FiniteDifference(IntervalPenalty):
    """E[(f(x + sigma e) - f(x))^2] for reals and fakes, e ~ N(0, I): about sigma^2 |grad f|^2, with no gradient taken.

    Seaweed-APT (Lin et al. 2025, section 3.3): for critics that cannot be differentiated twice.
    """

    def __init__(self, *, sigma: float, weight: float, interval: int) -> None:
        super().__init__(weight, interval)
        if sigma <= 0:
            raise ValueError(f"penalty.sigma is {sigma}: it must be above 0")
        self.sigma = sigma

    def term(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        x = torch.cat([real, fake])
        return 2 * (scores(critic, x + self.sigma * torch.randn_like(x)) - scores(critic, x)).square().mean()
