"""Constraints of the critic that add no term to its loss."""

import torch
from torch import Tensor, nn

from wgangp.models.layers import spectral_norm
from wgangp.penalties.base import Penalty
from wgangp.penalties.gradients import at_least_float32, gradient_of, norms_of


class WeightClipping(Penalty):
    """Clamps every critic weight to [-clip, clip] after each update (Arjovsky et al. 2017, Algorithm 1, line 7)."""

    def __init__(self, *, clip: float) -> None:
        super().__init__()
        if clip <= 0:
            raise ValueError(f"penalty.clip is {clip}: it must be above 0")
        self.clip = clip

    @torch.no_grad()
    def project(self, critic: nn.Module) -> None:
        for p in critic.parameters():
            if p.requires_grad:
                p.clamp_(-self.clip, self.clip)


class SpectralNorm(Penalty):
    """Divides every weight of the critic by its largest singular value (Miyato et al. 2018, equation 8)."""

    def wrap(self, critic: nn.Module) -> nn.Module:
        spectral_norm(critic)
        return critic


class NormalisedCritic(nn.Module):
    """f(x) / (|grad f(x)| + |f(x)|), which is below 1 in absolute value; class logits stay as they are."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        def total(x: Tensor) -> tuple[Tensor, Tensor]:
            out = self.critic(x, *condition)  # (n, 1 + num_classes)
            return at_least_float32(out[:, 0]).sum(), out

        grad, out = gradient_of(total, x)
        out = at_least_float32(out)
        f = out[:, :1]
        scale = norms_of(grad)[:, None] + f.abs()
        scale = torch.where(scale > 0, scale, 1.0)  # f is 0 where all units of a narrow critic are dead
        return torch.cat([f / scale, out[:, 1:]], dim=1)


class GradientNormalisation(Penalty):
    """Divides the critic by its gradient's norm plus its own absolute value, in both losses (Wu et al. 2021)."""

    per_sample = True

    def wrap(self, critic: nn.Module) -> nn.Module:
        return NormalisedCritic(critic)
