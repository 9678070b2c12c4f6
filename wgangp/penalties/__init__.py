"""What keeps the critic 1-Lipschitz: penalties of its gradient's norm at chosen points, and what takes their place."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from wgangp.machine.distributed import drawn
from wgangp.models.layers import spectral_norm
from wgangp.penalties.gradients import Critic, at_least_float32, gradient_norm, jacobian_norm, scores
from wgangp.schedules import Schedule

__all__ = ["GradientPenalty", "gradient_norm", "gradient_penalty", "jacobian_norm"]  # for other training loops


def one_each(x: Tensor) -> Tensor:
    """A uniform number in [0, 1) for each sample, broadcastable with x."""
    return drawn(lambda n: torch.rand(n, *[1] * (x.ndim - 1), device=x.device, dtype=x.dtype), len(x))


def interpolates(real: Tensor, fake: Tensor) -> Tensor:
    """A uniformly drawn point on the line between each real and its fake (Algorithm 1, lines 4 and 6).

    Raises ValueError where they do not pair.
    """
    if real.shape != fake.shape:
        raise ValueError(f"interpolates need a fake for each real: {tuple(real.shape)} and {tuple(fake.shape)} differ")
    return real + one_each(real) * (fake - real)  # (n, *shape)


def perturbed(real: Tensor, fake: Tensor) -> Tensor:
    """Reals with uniform noise of up to half their standard deviation, by a uniform share (Kodali et al. 2017)."""
    noise = drawn(lambda n: torch.rand(n, *real.shape[1:], device=real.device, dtype=real.dtype), len(real))
    return real + one_each(real) * 0.5 * real.std() * noise


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


class NoPenalty(nn.Module):
    """The critic is left alone. What all penalties have, each doing nothing."""

    per_sample = False  # whether it needs each sample's own gradient, which BatchNorm has not
    weight: float | Tensor = 0.0

    def wrap(self, critic: nn.Module) -> nn.Module:
        """The critic to train in place of this one."""
        return critic

    def begin(self, progress: float) -> None:
        """Called before each step, with the share of the run that is behind, 0 to 1."""

    def due(self, update: int) -> bool:
        """Whether this critic update, counted from the run's first, is penalised."""
        return False

    def terms(self, critic: Critic, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """What is added to the loss, and the mean gradient norm that it is about: two numbers ()."""
        return real.new_zeros(()), real.new_zeros(())

    def forward(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        """What is added to the loss, for reals and fakes (n, *shape)."""
        return self.terms(critic, real, fake)[0]

    def project(self, critic: nn.Module) -> None:
        """Called after each critic update."""

    def observe(self, norm: Tensor) -> None:
        """Called after each penalised update, with the norm of `terms`, detached."""


class WeightClipping(NoPenalty):
    """Every critic weight clamped to [-clip, clip] after each update (Arjovsky et al. 2017, Algorithm 1, line 7)."""

    def __init__(self, *, clip: float) -> None:
        super().__init__()
        if clip <= 0:
            raise ValueError(f"penalty.clip is {clip}: it must be above 0")
        self.clip = clip

    @torch.no_grad()
    def project(self, critic: nn.Module) -> None:
        for p in critic.parameters():
            p.clamp_(-self.clip, self.clip)


class SpectralNorm(NoPenalty):
    """Every weight of the critic divided by its largest singular value (Miyato et al. 2018, equation 8)."""

    def wrap(self, critic: nn.Module) -> nn.Module:
        spectral_norm(critic)
        return critic


class Normalised(nn.Module):
    """f(x) / (|grad f(x)| + |f(x)|), which is below 1 in size; class logits pass as they are."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, x: Tensor) -> Tensor:
        def score_sum(x: Tensor) -> tuple[Tensor, Tensor]:
            out = self.critic(x)  # (n, 1 + num_classes)
            return at_least_float32(out[:, 0]).sum(), out

        grad, out = torch.func.grad(score_sum, has_aux=True)(x)
        out = at_least_float32(out)
        f, norm = out[:, :1], torch.linalg.vector_norm(at_least_float32(grad).flatten(1), dim=1, keepdim=True)
        return torch.cat([f / (norm + f.abs()), out[:, 1:]], dim=1)


class GradientNormalisation(NoPenalty):
    """The critic divided by its gradient's norm and its own size, in both losses (Wu et al. 2021)."""

    per_sample = True

    def wrap(self, critic: nn.Module) -> nn.Module:
        return Normalised(critic)


class IntervalPenalty(NoPenalty):
    """What is added to the critic's loss at every `interval`-th update, `interval` times as heavy.

    It shares its update with the loss, so the optimizer steps as often as ever, and the correction of StyleGAN2 (Karras
    et al. 2020, appendix B), whose penalty has steps of its own, is not due. `schedule` makes the weight's course
    (wgangp.schedules) from its first value.
    """

    per_sample = True

    def __init__(self, weight: float, schedule: Callable[[float], Schedule], interval: int) -> None:
        super().__init__()
        if interval < 1:
            raise ValueError(f"penalty.interval is {interval}: it must be a whole number of 1 or above")
        self.schedule, self.interval = schedule(weight), interval

    @property
    def weight(self) -> float | Tensor:  # type: ignore[override]
        return self.schedule.value

    def begin(self, progress: float) -> None:
        self.schedule.begin(progress)

    def due(self, update: int) -> bool:
        return update % self.interval == 0

    def terms(self, critic: Critic, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        term, norm = self.term(critic, real, fake)
        return self.weight * self.interval * term, norm

    def term(self, critic: Critic, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """The penalty of weight 1, and the mean gradient norm."""
        raise NotImplementedError

    def observe(self, norm: Tensor) -> None:
        self.schedule.observe(norm)


class GradientPenalty(IntervalPenalty):
    """reduction(deviation(|grad f|_norm) ^ power) at chosen points."""

    def __init__(
        self,
        *,
        points: str,
        norm: float,
        cost: str,
        power: float,
        reduction: str,
        weight: float,
        schedule: Callable[[float], Schedule],
        interval: int,
    ) -> None:
        super().__init__(weight, schedule, interval)
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

    def term(self, critic: Critic, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        norms = gradient_norm(critic, self.points(real, fake), self.norm)  # (n,)
        return self.reduction(self.deviation(norms) ** self.power), norms.mean()


class Consistency(GradientPenalty):
    """CT-GAN (Wei et al. 2018, equations 4 and 5): the gradient penalty, and a critic that agrees with itself at reals.

    Two passes with other units dropped differ by (f' - f'')^2 + 0.1 mean (features' - features'')^2; what of that is
    above `margin` is averaged and weighs `consistency`. The critic gets the share `dropout` wherever it has a place
    for it (nn.Dropout); it needs `features` and `output`, as every critic of wgangp.models.
    """

    def __init__(
        self,
        *,
        consistency: float,
        margin: float,
        dropout: float,
        points: str,
        norm: float,
        cost: str,
        power: float,
        reduction: str,
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
        places = [module for module in critic.modules() if isinstance(module, nn.Dropout)]
        if not places or not hasattr(critic, "features"):
            raise ValueError("penalty=ct needs a critic with features(x), output and a place for dropout (nn.Dropout)")
        for place in places:
            place.p = self.dropout
        return critic

    def terms(self, critic: Any, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        penalty, norm = super().terms(critic, real, fake)
        features = critic.features(torch.cat([real, real]))  # (2n, d), each half with its own units dropped
        (a, b), (f_a, f_b) = features.chunk(2), critic.output(features)[:, 0].chunk(2)
        difference = at_least_float32(f_a - f_b).square() + 0.1 * at_least_float32(a - b).square().mean(dim=1)  # (n,)
        return penalty + self.consistency * self.interval * (difference - self.margin).relu().mean(), norm


class Sobolev(NoPenalty):
    """The constraint E |grad f|^2 = 1 over reals and fakes (Mroueh et al. 2018, Algorithm 1), by augmented Lagrangian.

    With its violation v = E |grad f|^2 - 1, m v + rho v^2 / 2 is added to the loss, and rho v to the multiplier m after
    each update. m starts at 0, is logged as the weight, and is part of the checkpoint.
    """

    per_sample = True
    multiplier: Tensor

    def __init__(self, *, rho: float) -> None:
        super().__init__()
        if rho <= 0:
            raise ValueError(f"penalty.rho is {rho}: it must be above 0")
        self.rho = rho
        self.register_buffer("multiplier", torch.zeros(()))

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self.multiplier

    def due(self, update: int) -> bool:
        return True

    def terms(self, critic: Critic, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        mean_square = gradient_norm(critic, torch.cat([real, fake])).square().mean()
        violation = mean_square - 1
        return self.multiplier * violation + self.rho / 2 * violation.square(), mean_square.sqrt()

    @torch.no_grad()
    def observe(self, norm: Tensor) -> None:
        self.multiplier += self.rho * (norm.square() - 1)


class FiniteDifference(IntervalPenalty):
    """E[(f(x + sigma e) - f(x))^2] for reals and fakes, e ~ N(0, I): about sigma^2 |grad f|^2, with no gradient taken.

    Seaweed-APT (Lin et al. 2025, section 3.3): for critics that cannot be differentiated twice.
    """

    def __init__(self, *, sigma: float, weight: float, schedule: Callable[[float], Schedule], interval: int) -> None:
        super().__init__(weight, schedule, interval)
        if sigma <= 0:
            raise ValueError(f"penalty.sigma is {sigma}: it must be above 0")
        self.sigma = sigma

    def term(self, critic: Critic, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([real, fake])
        noise = drawn(lambda n: torch.randn(n, *x.shape[1:], device=x.device, dtype=x.dtype), len(x))
        moved = scores(critic, x + self.sigma * noise)
        mean_square = (moved - scores(critic, x)).square().mean()
        return 2 * mean_square, mean_square.sqrt() / self.sigma
