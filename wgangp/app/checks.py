"""Checks of a configuration's values, without torch: wrong ones end a command in half a second."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

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
    "format": ("grid", "files", "npy", "gif", "webp", "mp4"),
    "batchnorm": ("batch", "running", "standing"),
}
AT_LEAST = {
    **dict.fromkeys(("steps", "batch_size", "n_critic", "generator_batch_multiple", "evaluation_samples"), 1),
    **dict.fromkeys(("keep_checkpoints", "n", "frames"), 1),
    **dict.fromkeys(("seed", "log_every", "sample_every", "evaluate_every", "checkpoint_every", "rollbacks"), 0),
}
PATHS = ("path", "root", "cache", "held_out")  # of a dataset; held_out may be a number, path a list
LARGEST = 2**53  # whole numbers beyond it change when YAML, JSON or TensorBoard make floats of them


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Returns the resolved configuration as plain containers."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def to_record(cfg: DictConfig) -> dict[str, Any]:
    """Returns what a run records: plain, with absolute paths, since runs are read from other folders, too."""
    config = plain(cfg)
    dataset = config.get("dataset", {})
    absolute = {key: _absolute(dataset[key]) for key in PATHS if isinstance(dataset.get(key), str | list)}
    if isinstance(given := dataset.get("condition"), str) and given.lower().endswith(".npy"):
        absolute["condition"] = _absolute(given)
    if is_of_hub(dataset) and Path(str(dataset["name"])).expanduser().is_dir():
        absolute["name"] = _absolute(str(dataset["name"]))
    return config | {"dataset": dataset | absolute}


def is_of_hub(dataset: Mapping[Any, Any]) -> bool:
    """Whether a dataset's name is one of the Hugging Face Hub, or a folder."""
    return dataset.get("_target_") == "wgangp.data.sources.huggingface"


def _absolute(path: str | list[Any]) -> str | list[str]:
    if isinstance(path, list):
        return [str(_absolute(str(part))) for part in path]
    return str(Path(path).expanduser().absolute())


def check(cfg: DictConfig) -> None:
    """Raises ValueError if a value is out of range.

    Whole numbers among the betas become the floats that torch needs, and ~ in the dataset's paths the home folder.
    """
    for key in ("generator_optimizer", "critic_optimizer"):
        if key in cfg and not OmegaConf.is_dict(cfg[key]):
            raise ValueError(f"{key}={shown(cfg[key])}: its options are chosen by optimizer@{key}={shown(cfg[key])}")
    for key, choices in CHOICES.items():
        if key in cfg and not any(type(cfg[key]) is type(c) and cfg[key] == c for c in choices):  # 1 is not true
            raise ValueError(f"{key}={shown(cfg[key])}: choose {', '.join(map(shown, choices))}")
    for key, least in AT_LEAST.items():
        if key in cfg and not (type(cfg[key]) is int and least <= cfg[key] < LARGEST):
            example = f", such as {key}={cfg[key]:.0f}" if is_number(cfg[key]) and cfg[key] >= least else ""
            raise ValueError(f"{key}={shown(cfg[key])}: give a whole number of at least {least}, below 2^53{example}")
    if "ema_decay" in cfg and not (is_number(cfg.ema_decay) and 0 <= cfg.ema_decay < 1):
        raise ValueError(f"ema_decay={shown(cfg.ema_decay)}: give a number from 0 to below 1")
    for key in ("class_weight", "content_weight"):
        if key in cfg and not (is_number(cfg[key]) and cfg[key] >= 0):
            raise ValueError(f"{key}={shown(cfg[key])}: give a number of at least 0")
    if cfg.get("conditional") and cfg.generator.get("norm") == "none" and cfg.generator.get("condition") == "norm":
        raise ValueError("generator.norm=none has no norm to give a condition to: set generator.condition=concat")
    if "truncation" in cfg and not (cfg.truncation is None or (is_number(cfg.truncation) and 0 < cfg.truncation <= 1)):
        raise ValueError(f"truncation={shown(cfg.truncation)}: give a number above 0, at most 1, or null")
    if "device" in cfg and not isinstance(cfg.device, str):
        raise ValueError(f"device={shown(cfg.device)}: give auto, cpu, cuda, a GPU such as cuda:1, or mps")
    if "monitor" in cfg and not isinstance(cfg.monitor, str):
        raise ValueError(f"monitor={shown(cfg.monitor)}: give the name of a scalar, such as critic/wasserstein")
    for key in ("allow", "seeds"):
        if key in cfg and not (cfg[key] is None or OmegaConf.is_list(cfg[key])):
            raise ValueError(f"{key}={shown(cfg[key])}: give a list, as in {key}=[{shown(cfg[key])}]")
    if "threads" in cfg and not (cfg.threads == "auto" or (type(cfg.threads) is int and cfg.threads >= 1)):
        raise ValueError(f"threads={shown(cfg.threads)}: give a whole number of at least 1, or auto")
    if "profile_steps" in cfg:
        steps = plain(cfg)["profile_steps"]
        if not (isinstance(steps, list) and [type(n) for n in steps] == [int, int] and 2 <= steps[0] <= steps[1]):
            raise ValueError(f"profile_steps={steps}: give the first (2 or later) and the last step, as in [21,25]")
    for key, value in flatten(plain(cfg)).items():
        if isinstance(value, str) and (known := value.encode("utf-8", "backslashreplace").decode()) != value:
            raise ValueError(f"{key}={known}: rename it in UTF-8, for logs and checkpoints cannot hold other names")
    for key in PATHS:
        if "dataset" in cfg and isinstance(path := cfg.dataset.get(key), str | int) and key != "held_out":
            cfg.dataset[key] = str(Path(str(path)).expanduser())
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
                raise ValueError(f"{key}.{name}={shown(value)}: give a whole number of at least 1")


def check_optimizer(key: str, node: DictConfig) -> None:
    """Raises ValueError if a learning rate or another number of an optimizer is out of range."""
    if not (is_number(node.lr) and node.lr >= 0):
        raise ValueError(f"{key}.lr={shown(node.lr)}: give a number above 0, or 0 to keep this network as it is")
    for name in ("eps", "alpha", "weight_decay", "momentum"):
        if name in node and not (is_number(node[name]) and node[name] >= 0):
            raise ValueError(f"{key}.{name}={shown(node[name])}: give a number of at least 0")
    if "betas" in node:
        betas = OmegaConf.to_container(node)["betas"]  # type: ignore[call-overload,index]
        if not (isinstance(betas, list) and len(betas) == 2 and all(is_number(b) and 0 <= b < 1 for b in betas)):
            raise ValueError(f"{key}.betas={shown(betas)}: give two numbers from 0 to below 1, as in [0.0,0.9]")
        node.betas = [float(beta) for beta in betas]


def is_number(value: Any) -> bool:
    """Whether it is a finite number; true and false are none."""
    return type(value) in (int, float) and math.isfinite(value)


def shown(value: Any) -> str:
    """Returns a value as one types it on a command line."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
