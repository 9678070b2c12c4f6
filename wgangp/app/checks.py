"""Checks of a configuration's values, without torch: wrong ones end a command in half a second."""

import math
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from wgangp.app.plain import plain
from wgangp.machine.text import typed
from wgangp.run_dir.record import flatten

SWITCHES = (
    *("deterministic", "sync_batchnorm", "profile", "cuda_graphs", "conditional", "debug", "ema", "interpolate"),
    "numbers",
)
CHOICES: dict[str, tuple[str | bool, ...]] = {
    **dict.fromkeys(SWITCHES, (True, False)),
    "precision": ("auto", "float32", "tf32", "bfloat16"),
    "compile": ("auto", True, False),
    "lr_decay": ("none", "linear"),
    "content": ("none", "l1", "l2"),
    "on_divergence": ("stop", "rollback"),
    "format": ("grid", "files", "npy", "csv", "gif", "webp", "mp4"),
    "proportions": ("equal", "data"),
    "batchnorm": ("batch", "running", "standing"),
}
AT_LEAST = {
    **dict.fromkeys(("steps", "batch_size", "n_critic", "generator_batch_multiple", "evaluation_samples"), 1),
    **dict.fromkeys(("keep_checkpoints", "n", "frames"), 1),
    **dict.fromkeys(("seed", "log_every", "sample_every", "evaluate_every", "checkpoint_every", "rollbacks"), 0),
}


def is_list_of_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


Rule = tuple[Callable[[Any], bool], str]  # what is allowed, in code and in words
RULES: dict[str, Rule] = {
    "ema_decay": (lambda v: is_number(v) and 0 <= v < 1, "give a number from 0 to below 1"),
    "class_weight": (lambda v: is_number(v) and v >= 0, "give a number of at least 0"),
    "content_weight": (lambda v: is_number(v) and v >= 0, "give a number of at least 0"),
    "truncation": (lambda v: v is None or (is_number(v) and 0 < v <= 1), "give a number above 0, at most 1, or null"),
    "device": (lambda v: isinstance(v, str), "give auto, cpu, cuda, a GPU such as cuda:1, or mps"),
    "name": (lambda v: v is None or (isinstance(v, str | int | float) and str(v) != ""), "give a name, or null"),
    "monitor": (lambda v: isinstance(v, str), "give the name of a scalar, such as critic/wasserstein"),
    "allow": (is_list_of_names, "give a list of names, as in allow=[{value}]"),
    "augment": (is_list_of_names, "give a list of names, as in augment=[{value}]"),
    "seeds": (lambda v: v is None or isinstance(v, list), "give a list, as in seeds=[{value}]"),
    "threads": (lambda v: v == "auto" or (type(v) is int and v >= 1), "give a whole number of at least 1, or auto"),
    "profile_steps": (
        lambda v: isinstance(v, list) and [type(n) for n in v] == [int, int] and 2 <= v[0] <= v[1],
        "give the first (2 or later) and the last step, as in [21,25]",
    ),
}
LARGEST = 2**53  # whole numbers beyond it change when YAML, JSON or TensorBoard make floats of them


def check(cfg: DictConfig) -> None:
    """Raises ValueError if a value is out of range."""
    for key in ("generator_optimizer", "critic_optimizer"):
        if key in cfg and not OmegaConf.is_dict(cfg[key]):
            raise ValueError(f"{key}={typed(cfg[key])}: its options are chosen by optimizer@{key}={typed(cfg[key])}")
    for key in ("evaluate", "scores", "paper"):
        if key in cfg and not OmegaConf.is_dict(cfg[key]):
            raise ValueError(f"{key}={typed(cfg[key])}: set its keys one by one, {key}.KEY=VALUE; --help lists them")
    for key, choices in CHOICES.items():
        if key in cfg and not any(type(cfg[key]) is type(c) and cfg[key] == c for c in choices):  # 1 is not true
            raise ValueError(f"{key}={typed(cfg[key])}: choose {', '.join(map(typed, choices))}")
    for key, least in AT_LEAST.items():
        if key in cfg and not (type(cfg[key]) is int and least <= cfg[key] < LARGEST):
            near = is_number(cfg[key]) and least <= cfg[key] < LARGEST
            example = f", such as {key}={cfg[key]:.0f}" if near else ""
            raise ValueError(f"{key}={typed(cfg[key])}: give a whole number of at least {least}, below 2^53{example}")
    values = plain(cfg)
    for key, (allowed, advice) in RULES.items():
        if key in values and not allowed(values[key]):
            example = "NAME" if values[key] is None or isinstance(values[key], list) else typed(values[key])
            raise ValueError(f"{key}={typed(values[key])}: {advice.format(value=example)}")
    if cfg.get("conditional") and cfg.generator.get("norm") == "none" and cfg.generator.get("condition") == "norm":
        raise ValueError("generator.norm=none has no norm to give a condition to: set generator.condition=concat")
    for key, value in flatten(values).items():
        if isinstance(value, str) and (known := value.encode("utf-8", "backslashreplace").decode()) != value:
            raise ValueError(
                f"{key}={known}: this name is not UTF-8, and logs and checkpoints hold no other: rename it"
            )
    for key in ("generator_optimizer", "critic_optimizer"):
        if key in cfg:
            check_optimizer(key, cfg[key])
    for name, node in cfg.get("scores", {}).items():
        check_score(f"scores.{name}", node)


def check_score(key: str, node: Any) -> None:
    """Raises ValueError if a number of one of our metrics is out of range: all of them count something."""
    if OmegaConf.is_dict(node) and str(node.get("_target_")).startswith("wgangp.metrics."):
        for name, value in node.items():
            if is_number(value) and not (type(value) is int and value >= 1):
                raise ValueError(f"{key}.{name}={typed(value)}: give a whole number of at least 1")


def check_optimizer(key: str, node: DictConfig) -> None:
    """Raises ValueError if a learning rate or another number of an optimizer is out of range."""
    if not (is_number(node.lr) and node.lr >= 0):
        raise ValueError(f"{key}.lr={typed(node.lr)}: give a number above 0, or 0 to keep this network as it is")
    for name in ("eps", "alpha", "weight_decay", "momentum"):
        if name in node and not (is_number(node[name]) and node[name] >= 0):
            raise ValueError(f"{key}.{name}={typed(node[name])}: give a number of at least 0")
    for name in ("fused", "foreach", "capturable", "amsgrad", "maximize", "nesterov", "differentiable"):
        if name in node and type(node[name]) is not bool and node[name] is not None:
            raise ValueError(f"{key}.{name}={typed(node[name])}: choose true or false")
    if "betas" in node:
        betas = OmegaConf.to_container(node)["betas"]  # type: ignore[call-overload,index]
        if not (isinstance(betas, list) and len(betas) == 2 and all(is_number(b) and 0 <= b < 1 for b in betas)):
            raise ValueError(f"{key}.betas={typed(betas)}: give two numbers from 0 to below 1, as in [0.0,0.9]")


def is_number(value: Any) -> bool:
    """Whether it is a finite number. Booleans are not numbers."""
    return type(value) in (int, float) and math.isfinite(value)
