"""Sobolev GAN's constraint by an augmented Lagrangian."""

import torch
from torch import Tensor

from wgangp.machine.distributed import mean_over_ranks
from wgangp.penalties.base import Penalty
from wgangp.penalties.gradients import ScoreFunction, gradient_norm


class Sobolev(Penalty):
    """The constraint E |grad f|^2 = 1 over reals and fakes (Mroueh et al. 2018, Algorithm 1).

    With the violation v = E |grad f|^2 - 1, m v + rho v^2 / 2 is added to the loss, and rho v to the multiplier m after
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

    def terms(self, critic: ScoreFunction, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        mean_square = gradient_norm(critic, torch.cat([real, fake])).square().mean()
        # The violation is the whole batch's on every rank, with the gradient of this rank's share.
        mean_square = mean_square + (mean_over_ranks(mean_square) - mean_square).detach()
        violation = mean_square - 1
        return self.multiplier * violation + self.rho / 2 * violation.square(), mean_square.sqrt()

    @torch.no_grad()
    def observe(self, norm: Tensor) -> None:
        self.multiplier += self.rho * (norm.square() - 1)
