"""What every constraint of the critic offers to the trainer."""

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any

from torch import Tensor, nn

from wgangp.models import ConditionedCritic
from wgangp.models.layers import couples_samples
from wgangp.penalties.gradients import ScoreFunction
from wgangp.schedules import Schedule

COUPLED = "BatchNorm makes a sample's score depend on its batch, so per-sample gradients do not exist"


def module_of(critic: Any) -> object:
    """Returns the network that a function of samples is: the object of a forward, the function of a partial, itself."""
    while True:
        if isinstance(critic, functools.partial):
            critic = critic.func
        elif isinstance(critic, MethodType) and critic.__name__ in ("forward", "__call__", "_wrapped_call_impl"):
            critic = critic.__self__
        else:
            return critic.critic if isinstance(critic, ConditionedCritic) else critic


class Penalty(nn.Module):
    """A constraint of the critic. This base class constrains nothing; each part overrides what it needs.

    The trainer calls `wrap` and `check` once, `begin` before each step, `due` and `terms` at each critic update, and
    `project` and `observe` after it. The critic's loss is that of conf/loss plus `interval` times the first of `terms`.
    """

    per_sample = False  # whether it needs each sample's own gradient; BatchNorm in the critic is refused then
    interval = 1  # critic updates between two penalised ones
    weight: float | Tensor  # logged; a penalty without it logs 0

    def wrap(self, critic: nn.Module) -> nn.Module:
        """Returns the critic to train: this one, perhaps changed in place, or a module around it."""
        return critic

    def check(self, critic: nn.Module) -> None:
        """Raises ValueError if it needs gradients that this critic does not have."""
        if self.per_sample and couples_samples(critic):
            raise ValueError(f"{COUPLED}: use critic.norm=layer instead of batch, or penalty=weight_clipping or none")

    def begin(self, progress: float) -> None:
        """Called before each step with the finished share of the run, from 0 to 1.

        Numbers that it changes belong into buffers: a plain one stops CUDA graphs and the compiler, with a warning.
        """

    def due(self, update: int) -> bool:
        """Returns whether this critic update, counted from 0 at the start of the run, is penalised."""
        return update % self.interval == 0

    def terms(self, critic: ScoreFunction, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (penalty times its weight, mean gradient norm), both scalars. real, fake: (n, *shape)."""
        return real.new_zeros(()), real.new_zeros(())

    def forward(self, critic: ScoreFunction, real: Tensor, fake: Tensor) -> Tensor:
        """Returns what to add to the critic's loss, in other training loops: the penalty, `interval` times.

        A penalty with state also wants `terms` and `observe`. Raises ValueError as `check` does, if the critic is a
        module, or its method: what a lambda calls is not seen.
        """
        if isinstance(module := module_of(critic), nn.Module):
            self.check(module)
        return self.interval * self.terms(critic, real, fake)[0]

    def project(self, critic: nn.Module) -> None:
        """Called after each critic update; weight clipping moves the weights here."""

    def observe(self, norm: Tensor) -> None:
        """Called after each penalised update with the norm of `terms`, detached, of this rank's samples.

        State that it changes must be the same on all ranks: average the norm first (`mean_over_ranks`).
        """


class NoPenalty(Penalty):
    """An unconstrained critic."""


class IntervalPenalty(Penalty):
    """A weighted penalty at every `interval`-th critic update, where it counts `interval` times.

    The penalty shares its update with the loss, so the optimizer steps as often as ever. The optimizer correction of
    StyleGAN2 (Karras et al. 2020, appendix B), whose penalty has updates of its own, is therefore not needed.
    `schedule` turns the first weight into its course over the run (wgangp.schedules).
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

    def terms(self, critic: ScoreFunction, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        penalty, norm = self.unweighted(critic, real, fake)
        return self.weight * penalty, norm

    def unweighted(self, critic: ScoreFunction, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (penalty of weight 1, mean gradient norm), both scalars."""
        raise NotImplementedError(f"{type(self).__name__}.unweighted(critic, real, fake) is missing: write it")

    def observe(self, norm: Tensor) -> None:
        self.schedule.observe(norm)
