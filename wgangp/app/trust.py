"""What a configuration may build, and what may be read from a stranger's run: data, and none of its code."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from hydra._internal.utils import _locate

from wgangp.data import sources, toy
from wgangp.machine.bounded import tensors_of

DATA = {"wgangp.data.text.text", *(f"{room.__name__}.{name}" for room in (sources, toy) for name in room.__all__)}
METRICS = ("arrays", "conditions", "images", "patches", "synthetic", "text", "toy", "videos")  # not what reads files
PARTS = ("models", "penalties", "schedules", "losses", "optimizers", *(f"metrics.{module}" for module in METRICS))
PACKAGES = tuple(f"wgangp.{part}" for part in PARTS)
OPTIMIZERS = "torch.optim"


def targets(node: Any) -> Iterator[Any]:
    """Yields every `_target_` within a node of plain containers."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list | tuple):
        for part in node:
            yield from targets(part)


def is_within(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def may_build(name: str, allow: Sequence[str]) -> bool:
    """Whether the object is defined in one of our packages, is an optimizer of torch, or is allowed.

    The object's own module is looked at, not only its name: wgangp.models.torch.hub.load is no part of wgangp.
    """
    packages = (*PACKAGES, *allow)
    if name in DATA:
        return True
    if not is_within(name, (*packages, OPTIMIZERS)):
        return False  # without importing it
    try:
        found = _locate(name)
    except ImportError as error:
        raise ValueError(
            f"_target_={name} cannot be imported: put its folder on PYTHONPATH, or install its package ({error})"
        ) from error
    if is_within(name, packages):
        return callable(found) and is_within(str(getattr(found, "__module__", "")), packages)
    return isinstance(found, type) and issubclass(found, torch.optim.Optimizer)


def check_targets(node: Any, allow: Sequence[str] = ()) -> None:
    """Raises ValueError if a `_target_` of a plain node is none that a configuration may build."""
    for name in targets(node):
        if not (isinstance(name, str) and may_build(name, allow)):
            package = str(name).partition(".")[0]
            raise ValueError(
                f"_target_={name} is no part of wgangp that a configuration may name, and no optimizer of torch.optim: "
                f"if you trust this code, add allow=[{package}]"
            )


@contextmanager
def no_larger_than(weights: Any) -> Iterator[None]:
    """Raises ValueError if networks that are built meanwhile have many more modules or numbers than these weights.

    A stranger's configuration may be 10^9 layers deep or wide. It is raised before the memory is written to.
    """
    tensors = list(tensors_of(weights))
    left = {"modules": 1000 + 10 * len(tensors), "numbers": 10**6 + 4 * sum(t.numel() for t in tensors)}

    def count(kind: str, n: int) -> None:
        left[kind] -= n
        if left[kind] < 0:
            raise ValueError(
                f"the configured networks have many more {kind} than those of the checkpoint: leave the "
                "architecture as it was"
            )

    def count_module(*_: Any) -> None:
        count("modules", 1)

    def count_numbers(_module: torch.nn.Module, _name: str, p: torch.Tensor | None) -> None:
        count("numbers", 0 if p is None else p.numel())

    registered = torch.nn.modules.module
    handles = [
        registered.register_module_module_registration_hook(count_module),
        registered.register_module_parameter_registration_hook(count_numbers),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
