"""Finds losses, gradients, weights, buffers and optimizer states that are not finite, and names them."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Diverged(ValueError):
    """A loss, gradient, weight, buffer or optimizer state is not finite."""

    rollbacks = 0  # that the run had made before
    stop = False  # whether it was asked to end meanwhile


@torch.no_grad()
def check_finite(
    step: int,
    logs: Mapping[str, Tensor],
    networks: Mapping[str, nn.Module],
    optimizers: Sequence[torch.optim.Optimizer],
    latest: Mapping[str, float],
) -> None:
    """Raises Diverged if a tensor of the training is not finite; reads one number from the device.

    `latest` are the scalars of the last log step, which the message quotes.
    """
    values = dict(logs) | all_tensors(networks, optimizers)
    buffers = {f"{part}.{name}": b for part, network in networks.items() for name, b in network.named_buffers()}
    sound = {name: v.isfinite().all() for name, v in values.items()}
    sound |= {name: is_sound_buffer(name, b) for name, b in buffers.items()}
    if torch.stack([*sound.values()]).all():
        return
    wrong = [name for name, is_sound in sound.items() if not is_sound]
    last = ", ".join(f"{name} {value:.4g}" for name, value in latest.items() if name.endswith("loss"))
    raise Diverged(
        f"step {step}: {len(wrong)} of {len(sound)} tensors are not finite, first {wrong[0]}; the last log had "
        f"{last or 'not been written yet'}. Try a smaller learning rate, or a heavier penalty"
    )


def is_sound_buffer(name: str, buffer: Tensor) -> Tensor:
    """Returns whether all is finite, or -inf as in a mask of attention; of averages of BatchNorm -inf is wrong."""
    finite = buffer.isfinite()
    return (finite if name.endswith(("running_mean", "running_var")) else finite | (buffer == -math.inf)).all()


def all_tensors(networks: Mapping[str, nn.Module], optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Returns every gradient, weight and optimizer state, by a name that a message can quote."""
    weights = {f"{part}.{name}": p for part, network in networks.items() for name, p in network.named_parameters()}
    gradients = {f"the gradient of {name}": p.grad for name, p in weights.items() if p.grad is not None}
    states = {p: state for optimizer in optimizers for p, state in optimizer.state.items()}
    moments = {
        f"{key} of {name}": value
        for name, p in weights.items()
        for key, value in states.get(p, {}).items()
        if isinstance(value, Tensor) and value.is_floating_point() and value.device == p.device  # not host's counters
    }
    return gradients | weights | moments
