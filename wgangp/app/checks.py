"""Checks of a configuration's values, without torch: wrong ones end a command in half a second."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from wgangp.run_dir.record import flatten

CHOICES = {
    "precision": ("auto", "float32", "tf32", "bfloat16"),
    "compile": ("auto", True, False),
    "cuda_graphs": (True, False),
    "deterministic": (True, False),
    "sync_batchnorm": (True, False),
    "profile": (True, False),
    "lr_decay": ("none", "linear"),
    "on_divergence": ("stop", "rollback"),
    "format": ("grid", "files"),
    "batchnorm": ("batch", "running", "standing"),
}
AT_LEAST = {
    **dict.fromkeys(("steps", "batch_size", "n_critic", "generator_batch_multiple", "evaluation_samples"), 1),
    **dict.fromkeys(("keep_checkpoints", "n"), 1),
    **dict.fromkeys(("seed", "log_every", "sample_every", "evaluate_every", "checkpoint_every", "rollbacks"), 0),
}
PATHS = ("path", "root", "cache")  # of a dataset
LARGEST = 2**53  # whole numbers beyond it change when YAML, JSON or TensorBoard make floats of them


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Returns the resolved configuration as plain containers."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def to_record(cfg: DictConfig) -> dict[str, Any]:
    """Returns what a run records: plain, with absolute paths, since runs are read from other folders, too."""
    config = plain(cfg)
    dataset = config.get("dataset", {})
    absolute = {key: str(Path(dataset[key]).absolute()) for key in PATHS if isinstance(dataset.get(key), str)}
    return config | {"dataset": dataset | absolute}


def check(cfg: DictConfig) -> None:
    """Raises ValueError if a value is out of range.

    Whole numbers among the betas become the floats that torch needs, and ~ in the dataset's paths the home folder.
    """
    for key, choices in CHOICES.items():
        if key in cfg and cfg[key] not in choices:
            raise ValueError(f"{key}={cfg[key]}: choose {', '.join(str(c).lower() for c in choices)}")
    for key, least in AT_LEAST.items():
        if key in cfg and not (type(cfg[key]) is int and least <= cfg[key] < LARGEST):
            raise ValueError(f"{key}={cfg[key]}: give a whole number of at least {least} (and below 2^53)")
    if "ema_decay" in cfg and not (isinstance(cfg.ema_decay, int | float) and 0 <= cfg.ema_decay < 1):
        raise ValueError(f"ema_decay={cfg.ema_decay}: give a number from 0 to below 1")
    if "threads" in cfg and not (cfg.threads == "auto" or (type(cfg.threads) is int and cfg.threads >= 1)):
        raise ValueError(f"threads={cfg.threads}: give a whole number of at least 1, or auto")
    if "profile_steps" in cfg:
        steps = plain(cfg)["profile_steps"]
        if not (isinstance(steps, list) and [type(n) for n in steps] == [int, int] and 2 <= steps[0] <= steps[1]):
            raise ValueError(f"profile_steps={steps}: give the first (2 or later) and the last step, as in [21,25]")
    for key, value in flatten(plain(cfg)).items():
        if isinstance(value, str) and (known := value.encode("utf-8", "backslashreplace").decode()) != value:
            raise ValueError(f"{key}={known}: rename it in UTF-8, for logs and checkpoints cannot hold other names")
    for key in PATHS:
        if "dataset" in cfg and isinstance(path := cfg.dataset.get(key), str | int):
            cfg.dataset[key] = str(Path(str(path)).expanduser())
    for key in ("generator_optimizer", "critic_optimizer"):
        if key in cfg and not (isinstance(cfg[key].lr, int | float) and cfg[key].lr >= 0):
            raise ValueError(f"{key}.lr={cfg[key].lr}: give a number above 0, or 0 to keep this network as it is")
        if key in cfg and "betas" in cfg[key]:
            cfg[key].betas = [float(beta) for beta in cfg[key].betas]
