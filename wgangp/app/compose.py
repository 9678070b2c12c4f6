"""The door between Hydra and the program: where conf/ is, what is checked without torch, how errors are told."""

import difflib
import functools
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    ConfigCompositionException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from wgangp.app import trust

log = logging.getLogger(__name__)

VERSION_BASE = "1.3"
PACKAGE = Path(__file__).parents[1]
CONF = PACKAGE / "conf"  # in a wheel
if not CONF.is_dir():
    CONF = PACKAGE.parent / "conf"  # in a checkout

sys.path.append(str(PACKAGE / "sweeps" / "plugins"))  # where Hydra finds hydra_plugins/wgangp_sweeper.py

CHOICES = {
    "precision": ("float32", "tf32", "bfloat16"),
    "compile": ("auto", True, False),
    "deterministic": (True, False),
    "sync_batchnorm": (True, False),
    "profile": (True, False),
    "lr_decay": ("none", "linear"),
    "on_divergence": ("stop", "rollback"),
    "format": ("grid", "files"),
    "batchnorm": ("batch", "running"),
}
AT_LEAST = {
    **dict.fromkeys(("steps", "batch_size", "n_critic", "generator_batch_multiple", "evaluation_samples"), 1),
    **dict.fromkeys(("keep_checkpoints", "n"), 1),
    **dict.fromkeys(("seed", "log_every", "sample_every", "evaluate_every", "checkpoint_every", "rollbacks"), 0),
}


def build(node: DictConfig, *args: Any, **kwargs: Any) -> Any:
    """Instantiates a node's `_target_`; what it is given are plain lists and numbers, not OmegaConf's."""
    trust.check_targets(OmegaConf.to_container(node, resolve=True))
    return hydra.utils.instantiate(node, *args, **kwargs, _convert_="all")


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain containers."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """{"penalty.weight": 10.0, ...}"""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def check(cfg: DictConfig) -> None:
    """Raises ValueError on values out of range; whole numbers among the betas become the floats torch insists on."""
    for key, choices in CHOICES.items():
        if key in cfg and cfg[key] not in choices:
            raise ValueError(f"{key}={cfg[key]}: choose {', '.join(str(c).lower() for c in choices)}")
    for key, least in AT_LEAST.items():
        if key in cfg and (type(cfg[key]) is not int or cfg[key] < least):
            raise ValueError(f"{key}={cfg[key]}: give a whole number of at least {least}")
    if "ema_decay" in cfg and not (isinstance(cfg.ema_decay, int | float) and 0 <= cfg.ema_decay < 1):
        raise ValueError(f"ema_decay={cfg.ema_decay}: give a number from 0 to below 1")
    if "profile_steps" in cfg:
        steps = plain(cfg)["profile_steps"]
        if not (isinstance(steps, list) and [type(n) for n in steps] == [int, int] and 2 <= steps[0] <= steps[1]):
            raise ValueError(f"profile_steps={steps}: give the first (2 or later) and the last step, as in [21,25]")
    for key, value in flatten(plain(cfg)).items():
        if isinstance(value, str) and (known := value.encode("utf-8", "backslashreplace").decode()) != value:
            raise ValueError(f"{key}={known}: rename it in UTF-8, for logs and checkpoints cannot hold other names")
    for key in ("generator_optimizer", "critic_optimizer"):
        if key in cfg and not (isinstance(cfg[key].lr, int | float) and cfg[key].lr >= 0):
            raise ValueError(f"{key}.lr={cfg[key].lr}: give a number above 0, or 0 to hold this network")
        if key in cfg and "betas" in cfg[key]:
            cfg[key].betas = [float(beta) for beta in cfg[key].betas]


def command(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Runs `task` under Hydra. Errors become one line and exit code 1; with debug=true the traceback is shown."""
    debug = "debug=true" in [argument.lower() for argument in sys.argv]
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises, and we do the telling

    @functools.wraps(task)
    def guarded(cfg: DictConfig) -> Any:
        try:
            check(cfg)
            trust.allowed = tuple(cfg.get("allow", ()))
            return task(cfg)
        except Exception as error:
            told = one_line(error)
            log.error(told, exc_info=debug)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise ValueError(told)  # the sweep goes on; without the first error's frames, and all that they hold
        sys.exit(1)

    try:
        hydra.main(version_base=VERSION_BASE, config_path=str(CONF), config_name=config_name)(guarded)()
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except BrokenPipeError:  # --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if debug:
            raise
        sys.exit(explain(error, config_name))


def plain_command(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Runs `task` with conf/NAME.yaml and the command line's key=value, without Hydra: `sweep` is a group to it."""
    file = CONF / f"{config_name}.yaml"
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(file.read_text())
        return
    try:
        defaults, given = OmegaConf.load(file), OmegaConf.from_dotlist(sys.argv[1:])
        if unknown := sorted(str(key) for key in given.keys() - defaults.keys()):
            raise ValueError(f"{unknown[0]}: there is no such key.{_near(unknown[0], [str(key) for key in defaults])}")
        cfg = OmegaConf.merge(defaults, given)
        if missing := sorted(OmegaConf.missing_keys(cfg)):
            raise ValueError(f"say {missing[0]}=...: {file.read_text().splitlines()[0].lstrip('# ')}")
        task(cfg)  # type: ignore[arg-type]
    except Exception as error:
        if "debug=true" in sys.argv:
            raise
        sys.exit(one_line(error))


def one_line(error: BaseException) -> str:
    """What went wrong, without the layers that passed it on."""
    where = ""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        found = re.search(r"full_key: (\S+)", str(error))
        where, error = f"{found[1]}: " if found else where, error.__cause__
    text = " ".join(str(error).split())
    if isinstance(error, ValueError | OSError):
        return text
    return f"{where}{type(error).__name__}: {text} (debug=true shows the traceback)"


def explain(error: Exception, config_name: str) -> str:
    """An error of composition in one line, with the names near a misspelt one."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"{group}={option}: there is no such option.{_near(option, _options(group))}"
    key = re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", str(error))
    if isinstance(error, ConfigCompositionException) and key:
        name = key[1] or key[2]
        return f"{name}: there is no such key.{_near(name, _keys(config_name))}"
    if isinstance(error, OverrideParseException):
        name, _, value = error.override.partition("=")
        return (
            f"{error.override}: Hydra cannot read this value: put quotes around it, and others for the shell, "
            f"as in '{name}=\"{value}\"'"
        )
    return one_line(error) if not str(error) else str(error).splitlines()[0]


def _near(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.7) or [
        n for n in names if n.split(".")[-1] == name.split(".")[-1]
    ]
    return f" Did you mean {' or '.join(near)}?" if near else f" Choose from {', '.join(sorted(names))}."


def _options(group: str) -> list[str]:
    folder = CONF / group
    return [str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml")]


def _keys(config_name: str) -> list[str]:
    """Every key of the configuration with the command line's choices of options, and every group."""
    groups = [str(path.relative_to(CONF)) for path in CONF.rglob("*") if path.is_dir()]
    chosen = [a for a in sys.argv[1:] if a.partition("=")[0] in groups and "," not in a]
    running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None  # a sweep's, which goes on
    try:
        with hydra.initialize_config_dir(str(CONF), version_base=VERSION_BASE):
            try:
                cfg = hydra.compose(config_name, overrides=chosen)
            except Exception:  # they are wrong, too
                cfg = hydra.compose(config_name)
    finally:
        GlobalHydra.instance().hydra = running
    return [*flatten(OmegaConf.to_container(cfg)), *groups]
