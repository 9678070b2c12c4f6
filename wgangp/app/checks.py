"""Checks of a configuration's values, without torch: wrong ones end a command in half a second."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from wgangp.app.plain import plain
from wgangp.machine.text import typed
from wgangp.run_dir.record import flatten

LARGEST = 2**53  # whole numbers beyond it change when YAML, JSON or TensorBoard make floats of them
MANY = 10**8  # samples at once: more are a slip of the finger
BATCHNORM = ("batch", "running", "standing")


class Rule(NamedTuple):
    """A test of a value, and the advice for a value that fails it."""

    allows: Callable[[Any], bool]
    advice: Callable[[Any], str]


def make_rule(allows: Callable[[Any], bool], advice: str) -> Rule:
    """Returns a rule whose `advice` may repeat the value as {value}."""

    def told(value: Any) -> str:
        return advice.format(value="NAME" if value is None or isinstance(value, list) else typed(value))

    return Rule(allows, told)


def one_of(*choices: str | bool) -> Rule:
    return make_rule(
        lambda value: any(type(value) is type(choice) and value == choice for choice in choices),  # 1 is not true
        f"choose {', '.join(map(typed, choices))}",
    )


def whole(least: int, most: int = LARGEST - 1) -> Rule:
    def told(value: Any) -> str:
        limit = "below 2^53" if most == LARGEST - 1 else f"at most {most:,}"
        example = f", such as {value:.0f}" if is_number(value) and least <= value <= most else ""
        if isinstance(value, str) and value.strip().isdecimal():
            example = ". This is text: of the environment take ${oc.decode:${oc.env:NAME}}"
        return f"give a whole number of at least {least}, {limit}{example}"

    return Rule(lambda value: type(value) is int and least <= value <= most, told)


def is_list_of_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


NOT_NEGATIVE = make_rule(lambda v: is_number(v) and v >= 0, "give a number of at least 0")
RULES: dict[str, Rule] = {
    **dict.fromkeys(("deterministic", "sync_batchnorm", "profile", "cuda_graphs", "conditional"), one_of(True, False)),
    **dict.fromkeys(("debug", "ema", "interpolate", "numbers"), one_of(True, False)),
    **dict.fromkeys(("steps", "n_critic", "keep_checkpoints"), whole(1)),
    **dict.fromkeys(("batch_size", "generator_batch_multiple", "evaluation_samples", "n", "frames"), whole(1, MANY)),
    **dict.fromkeys(("seed", "log_every", "sample_every", "evaluate_every", "checkpoint_every", "rollbacks"), whole(0)),
    "precision": one_of("auto", "float32", "tf32", "bfloat16"),
    "compile": one_of("auto", True, False),
    "lr_decay": one_of("none", "linear"),
    "content": one_of("none", "l1", "l2"),
    "on_divergence": one_of("stop", "rollback"),
    "format": one_of("grid", "files", "npy", "csv", "gif", "webp", "mp4"),
    "proportions": one_of("equal", "data"),
    "batchnorm": one_of(*BATCHNORM),
    "ema_decay": make_rule(lambda v: is_number(v) and 0 <= v < 1, "give a number from 0 to below 1"),
    "class_weight": NOT_NEGATIVE,
    "content_weight": NOT_NEGATIVE,
    "truncation": make_rule(
        lambda v: v is None or (is_number(v) and 0 < v <= 1), "give a number above 0, at most 1, or null"
    ),
    "device": make_rule(lambda v: isinstance(v, str), "give auto, cpu, cuda, a GPU such as cuda:1, or mps"),
    "name": make_rule(
        lambda v: v is None or (isinstance(v, str | int | float) and str(v) != ""), "give a name, or null"
    ),
    "monitor": make_rule(lambda v: isinstance(v, str), "give the name of a scalar, such as critic/wasserstein"),
    "allow": make_rule(is_list_of_names, "give a list of names, as in allow=[{value}]"),
    "augment": make_rule(is_list_of_names, "give a list of names, as in augment=[{value}]"),
    "seeds": make_rule(
        lambda v: v is None or (isinstance(v, list) and v != [] and all(type(i) is int and 0 <= i < MANY for i in v)),
        f"give the numbers of samples, below {MANY:,}, as in seeds=[3,17]; numbers=true shows them",
    ),
    "threads": make_rule(
        lambda v: v == "auto" or (type(v) is int and 1 <= v <= 1024), "give a whole number from 1 to 1,024, or auto"
    ),
    "profile_steps": make_rule(
        lambda v: isinstance(v, list) and [type(n) for n in v] == [int, int] and 2 <= v[0] <= v[1],
        "give the first (2 or later) and the last step, as in [21,25]",
    ),
}


def check(cfg: DictConfig) -> None:
    """Raises ValueError if a value is out of range."""
    for key in ("generator_optimizer", "critic_optimizer"):
        if key in cfg:
            check_optimizer(key, cfg[key])
    for key in ("evaluate", "scores", "paper"):
        if key in cfg and not OmegaConf.is_dict(cfg[key]):
            raise ValueError(f"{key}={typed(cfg[key])}: set its keys one by one, {key}.KEY=VALUE; --help lists them")
    values = plain(cfg)
    for key, rule in RULES.items():
        if key in values and not rule.allows(values[key]):
            raise ValueError(f"{key}={typed(values[key])}: {rule.advice(values[key])}")
    if cfg.get("conditional") and cfg.generator.get("norm") == "none" and cfg.generator.get("condition") == "norm":
        raise ValueError("generator.norm=none has no norm to give a condition to: set generator.condition=concat")
    for key, value in flatten(values).items():
        if isinstance(value, str) and (known := value.encode("utf-8", "backslashreplace").decode()) != value:
            raise ValueError(
                f"{key}={known}: this name is not UTF-8, and logs and checkpoints hold no other: rename it"
            )
    for name, node in cfg.get("scores", {}).items():
        check_score(f"scores.{name}", node)


def check_score(key: str, node: Any) -> None:
    """Raises ValueError if a number of one of our metrics is out of range: all of them count something."""
    if OmegaConf.is_dict(node) and str(node.get("_target_")).startswith("wgangp.metrics."):
        for name, value in node.items():
            if is_number(value) and not (type(value) is int and value >= 1):
                raise ValueError(f"{key}.{name}={typed(value)}: give a whole number of at least 1")


def check_optimizer(key: str, node: Any) -> None:
    """Raises ValueError if an optimizer has no options, or its learning rate or another number is out of range."""
    if not OmegaConf.is_dict(node):
        raise ValueError(f"{key}={typed(node)}: its options are chosen by optimizer@{key}={typed(node)}")
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
