"""The states of modules and optimizers, as a checkpoint holds them."""

import copy
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

Part = nn.Module | torch.optim.Optimizer


def state_of(parts: Mapping[str, Part]) -> dict[str, Any]:
    """Returns every part's state_dict by name."""
    return {name: part.state_dict() for name, part in parts.items()}


def load_state(parts: Mapping[str, Part], state: Mapping[str, Any]) -> None:
    """Loads `state_of(parts)`; optimizers keep their configured options, such as the learning rate.

    Raises ValueError if a part has another architecture.
    """
    for name, part in parts.items():
        try:
            if isinstance(part, torch.optim.Optimizer):
                part.load_state_dict(state[name] | {"param_groups": part.state_dict()["param_groups"]})
                match_layouts(part)
                check_moments(part)
            else:
                part.load_state_dict(state[name])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f"the checkpoint's {name} does not fit the configured one: leave the architecture, the dataset's "
                f"shape and the optimizers as they were ({f'{error} '.splitlines()[-1].strip()})"
            ) from error


def check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Raises ValueError if a loaded state lacks what this optimizer keeps of a weight: it is of another one."""
    for p, moments in optimizer.state.items():
        if lacking := sorted(kept_of_a_weight(optimizer, p) - moments.keys()):
            raise ValueError(f"it has no {', '.join(lacking)}, which {type(optimizer).__name__} keeps of each weight")
        return  # all weights have the same


def kept_of_a_weight(optimizer: torch.optim.Optimizer, p: Tensor) -> set[str]:
    """Returns the names of the state that it keeps of a weight, as a step on another one like p shows."""
    probe, other = copy.copy(optimizer), torch.zeros_like(p, requires_grad=True)
    other.grad = torch.zeros_like(other)
    probe.state, probe.param_groups = defaultdict(dict), [optimizer.param_groups[0] | {"params": [other]}]
    probe.step()
    return set(probe.state[other])


def match_layouts(optimizer: torch.optim.Optimizer) -> None:
    """Gives each moment the memory layout of its weight, since fused steps pair numbers by their place in memory.

    A run may be resumed in another layout: channels_last on CUDA in bfloat16, contiguous on a CPU.
    """
    for p, moments in optimizer.state.items():
        for name, moment in moments.items():
            if isinstance(moment, Tensor) and moment.shape == p.shape and moment.stride() != p.stride():
                moments[name] = torch.empty_like(p, dtype=moment.dtype).copy_(moment)
