"""The states of modules and optimizers, as a checkpoint holds them."""

import logging
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

Part = nn.Module | torch.optim.Optimizer
SET_BY_US = {"params", "lr", "initial_lr", "capturable"}  # of a group of weights


def state_of(parts: Mapping[str, Part]) -> dict[str, Any]:
    """Returns every part's state_dict by name; an optimizer's has its plain options as "defaults", too."""
    return {
        name: part.state_dict() | {"defaults": options_of(part)}
        if isinstance(part, torch.optim.Optimizer)
        else part.state_dict()  # itself: it has the versions of its modules, too
        for name, part in parts.items()
    }


class Unsaved:
    """The buffers of networks that no checkpoint has (persistent=False), with their first values."""

    def __init__(self, **networks: nn.Module) -> None:
        self.buffers = [
            (f"{part}.{where}.{name}".replace("..", "."), module, name, buffer.clone())
            for part, network in networks.items()
            for where, module in network.named_modules()
            for name in getattr(module, "_non_persistent_buffers_set", ())
            if (buffer := getattr(module, name)) is not None
        ]

    def warn_if_changed(self) -> None:
        """Once: training changes what a resumed run and load_generator will not have."""
        changed = [
            label for label, module, name, first in self.buffers if not torch.equal(getattr(module, name), first)
        ]
        if changed:
            log.warning(
                "%s changes, and no checkpoint has it: register it without persistent=False", ", ".join(changed)
            )
            self.buffers = []


def options_of(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Returns the options that an optimizer was made with and its groups of weights have, if they are plain."""
    plain, group = (bool, int, float, str, tuple, list, NoneType), optimizer.param_groups[0]
    return {k: v for k, v in optimizer.defaults.items() if k in group and isinstance(v, plain)}


def load_state(parts: Mapping[str, Part], state: Mapping[str, Any]) -> None:
    """Loads `state_of(parts)`; optimizers keep their configured options, such as the learning rate.

    Raises ValueError if a part has another architecture.
    """
    for name, part in parts.items():
        try:
            if isinstance(part, torch.optim.Optimizer):
                load_optimizer(part, state[name])
            else:
                part.load_state_dict(state[name])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f"the checkpoint's {name} does not fit the configured one: leave the architecture, the dataset's "
                f"shape and the optimizers as they were ({f'{error} '.splitlines()[-1].strip()})"
            ) from error


def load_optimizer(optimizer: torch.optim.Optimizer, before: Mapping[str, Any]) -> None:
    """Loads a state of `state_of`. Raises ValueError, KeyError or other errors if it is of another optimizer."""
    options = before.get("defaults", before["param_groups"][0])  # which older checkpoints lack
    groups = [*zip(optimizer.state_dict()["param_groups"], before["param_groups"], strict=True)]
    if any(len(new["params"]) != len(old["params"]) for new, old in groups):
        raise ValueError("it is of other numbers of trained weights")
    others = {key: value for key, value in before.items() if key != "defaults"}
    optimizer.load_state_dict(others | {"param_groups": [new | moved(old, options) for new, old in groups]})
    match_layouts(optimizer)
    check_moments(optimizer)


def moved(group: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what an optimizer has added to or changed in a group of weights, as schedule-free ones do."""
    kept = group.keys() - SET_BY_US
    return {key: group[key] for key in kept if key not in options or group[key] != options[key]}


def check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Raises ValueError if a loaded state lacks what this optimizer keeps of a weight: it is of another one."""
    for group in optimizer.param_groups:
        for p in group["params"][:1]:  # all weights of a group have the same
            has = optimizer.state.get(p, {})
            if has and (lacking := sorted(kept_of_a_weight(optimizer, group, p) - has.keys())):
                raise ValueError(
                    f"it lacks {', '.join(lacking)}, which {type(optimizer).__name__} keeps of each weight"
                )


def kept_of_a_weight(optimizer: torch.optim.Optimizer, group: dict[str, Any], p: Tensor) -> set[str]:
    """Returns the names of the state that it keeps of a weight of this group, as a step on another one like p shows.

    They are none if it cannot step on one weight alone.
    """
    probe, other = object.__new__(type(optimizer)), torch.zeros_like(p, requires_grad=True)
    other.grad = torch.zeros_like(other)
    vars(probe).update(vars(optimizer))
    probe.state, probe.param_groups = defaultdict(dict), [group | {"params": [other]}]
    with suppress(Exception):  # of an optimizer of one's own
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
