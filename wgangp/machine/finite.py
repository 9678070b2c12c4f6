"""Finds what is no longer a number, and names it."""

from typing import Any

import torch
from torch import Tensor, nn


class Diverged(ValueError):
    """A loss, a gradient or a weight is no longer a number."""


@torch.no_grad()
def check_finite(step: int, logs: dict[str, Tensor], networks: dict[str, nn.Module], latest: dict[str, Any]) -> None:
    """Raises Diverged, which names what is not finite and the `latest` losses; reads one number from the device."""
    weights = {f"{part}.{name}": p for part, network in networks.items() for name, p in network.named_parameters()}
    gradients = {f"the gradient of {name}": p.grad for name, p in weights.items() if p.grad is not None}
    values = logs | gradients | weights
    if torch.stack([v.isfinite().all() for v in values.values()]).all():
        return
    wrong = [name for name, v in values.items() if not v.isfinite().all()]
    last = ", ".join(f"{name} {value:.4g}" for name, value in latest.items() if name.endswith("loss"))
    raise Diverged(
        f"step {step}: {len(wrong)} of {len(values)} tensors are not finite, first {wrong[0]}; the last log had "
        f"{last or 'not been written yet'}. Try a smaller learning rate, or a heavier penalty"
    )
