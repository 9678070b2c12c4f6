"""Constraints of the critic that add no term to its loss."""

import logging

import torch
from torch import Tensor, nn

from wgangp.models.layers import spectral_norm
from wgangp.penalties.base import Penalty
from wgangp.penalties.gradients import at_least_float32, gradient_of, norms_of

log = logging.getLogger(__name__)


def computed_weights(critic: nn.Module) -> dict[str, str]:
    """Returns the names of weights that are computed from others, and how: SpectralNorm, WeightNorm and others."""
    found = {}
    for where, module in critic.named_modules():
        hooks = [h for h in module._forward_pre_hooks.values() if type(h).__module__.startswith("torch.nn.utils")]
        by = {hook.name: hook for hook in hooks if hasattr(hook, "name")} | dict(
            getattr(module, "parametrizations", {})
        )
        for name, how in by.items():
            last = how[-1] if isinstance(how, nn.ModuleList) else how
            found[f"{where}.{name}".removeprefix(".")] = type(last).__name__.removeprefix("_")
    return found


class WeightClipping(Penalty):
    """Clamps every critic weight to [-clip, clip] after each update (Arjovsky et al. 2017, Algorithm 1, line 7)."""

    def __init__(self, *, clip: float) -> None:
        super().__init__()
        if clip <= 0:
            raise ValueError(f"penalty.clip is {clip}: it must be above 0")
        self.clip = clip

    def check(self, critic: nn.Module) -> None:
        for name, how in computed_weights(critic).items():
            raise ValueError(f"penalty=weight_clipping: {name} is computed from other weights by {how}: leave that out")

    @torch.no_grad()
    def project(self, critic: nn.Module) -> None:
        for p in critic.parameters():
            if p.requires_grad:
                p.clamp_(-self.clip, self.clip)


class SpectralNorm(Penalty):
    """Divides every weight of the critic by its largest singular value (Miyato et al. 2018, equation 8)."""

    def wrap(self, critic: nn.Module) -> nn.Module:
        """Raises ValueError if it finds no weight, or one that is computed from others already."""
        for name, how in computed_weights(critic).items():
            if how != "SpectralNorm":
                raise ValueError(
                    f"penalty=spectral_norm: {name} is computed from other weights by {how}: leave that out"
                )
        spectral_norm(critic)
        if not (divided := computed_weights(critic)):
            raise ValueError("penalty=spectral_norm finds no weight: call the critic's matrices weight, as torch does")
        inside = tuple(f"{name.rpartition('.')[0]}.parametrizations.".removeprefix(".") for name in divided)
        left_out = (*inside, "positions")  # the position codes of char_attention are no weights
        others = [name for name, p in critic.named_parameters() if p.ndim > 1 and not name.startswith(left_out)]
        if others:
            log.warning("penalty=spectral_norm divides what is called weight, and not %s", ", ".join(others))
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
