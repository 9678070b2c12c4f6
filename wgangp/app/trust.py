"""What a configuration may make, and what may be read from a stranger's run: data, and none of its code."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

# A target's own module is looked at, not only its name: wgangp.train.os.system is no part of wgangp.
DATA = ("wgangp.data.sources", "wgangp.data.text", "wgangp.data.toy")
METRICS = ("wgangp.metrics.images", "wgangp.metrics.text", "wgangp.metrics.toy")  # and not what reads files
PACKAGES = (*DATA, *METRICS, "wgangp.models", "wgangp.penalties", "wgangp.schedules", "wgangp.losses", "torch.optim")
allowed: tuple[str, ...] = ()  # by the command line, besides


def targets(node: Any) -> Iterator[str]:
    """Every `_target_` within a node of plain containers."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from targets(part)


def is_within(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def module_of(name: str) -> str:
    """Where the object is defined that goes by this name."""
    return getattr(hydra.utils.get_object(name), "__module__", "")


def check_targets(node: Any) -> None:
    """Raises ValueError where a `_target_` of a plain node is of none of these packages, without importing it."""
    packages = (*PACKAGES, *allowed)
    for name in targets(node):
        if not (is_within(name, packages) and is_within(module_of(name), packages)):
            package = name.partition(".")[0]
            raise ValueError(
                f"_target_={name} is not of {', '.join(PACKAGES)}: if you trust this code, say allow=[{package}]"
            )


def recorded(text: str) -> DictConfig:
    """A checkpoint's configuration. Raises ValueError where it refers to more than itself, such as the environment."""
    if "${" in text:
        raise ValueError("the checkpoint's configuration has interpolations, ${...}: wgangp writes none")
    return OmegaConf.create(text)  # type: ignore[return-value]


def overrides_in(file: Path) -> list[str]:
    """The overrides that a run was started with, unresolved. Raises ValueError where the file is no list of them."""
    with open(file, "rb") as opened:
        try:
            found = OmegaConf.to_container(OmegaConf.load(opened))
        except Exception as error:  # of YAML, of OmegaConf, of an encoding
            raise ValueError(f"{file} is no list of overrides") from error
    if not (isinstance(found, list) and all(isinstance(override, str) for override in found)):
        raise ValueError(f"{file} is no list of overrides")
    return found


def recorded_overrides(overrides: Sequence[str]) -> list[str]:
    """A run's overrides, to be used again. Raises ValueError where they would configure Hydra, or refer to more.

    What was allowed then has to be allowed again.
    """
    for override in overrides:
        elsewhere = re.match(r"[^.]*=.*\.\.", override)  # an option, of a group, from another folder than conf/
        if re.match(r"[-+~]*hydra\b|-", override) or "${" in override or elsewhere:
            raise ValueError(f"the run's overrides have {override!r}: not used from a file, so give it again here")
    return [override for override in overrides if not re.match(r"[+~]*allow\b", override)]
