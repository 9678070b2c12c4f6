"""The one place that gets configurations from Hydra."""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence

import hydra
from omegaconf import DictConfig, OmegaConf, open_dict

from wgangp.app.checks import check
from wgangp.app.composing import composing
from wgangp.app.errors import explain
from wgangp.app.paths import CONF, PLUGINS
from wgangp.app.quoting import with_quoted_path

sys.path.append(str(PLUGINS))  # where Hydra finds our sweeper


def tolerate_lazy_help() -> None:
    """Lets argparse of Python 3.14 take Hydra's help, an object that is no string.

    Python 3.14 checks every help string when an argument is added, which ends Hydra 1.3 at its start. Hydra 1.4 has
    the guard itself (hydra issue 3121): remove this with it.
    """
    checked = getattr(argparse.ArgumentParser, "_check_help", None)
    if checked is None or getattr(checked, "tolerates_lazy_help", False):
        return

    def check_help(self: argparse.ArgumentParser, action: argparse.Action) -> None:
        if action.help is None or isinstance(action.help, str):
            checked(self, action)

    check_help.tolerates_lazy_help = True  # type: ignore[attr-defined]
    argparse.ArgumentParser._check_help = check_help  # type: ignore[attr-defined]


tolerate_lazy_help()


def load_config(*overrides: str, config_name: str = "train") -> DictConfig:
    """Returns the checked configuration of these overrides, as the command of this name would have it.

    Raises ValueError, in one line, if an override is wrong.
    """
    return config_and_choices(overrides, config_name)[0]


def config_and_choices(overrides: Sequence[str], config_name: str = "train") -> tuple[DictConfig, dict[str, str]]:
    """Returns the configuration of `load_config`, and the option of each group, such as {"dataset": "mnist"}."""
    overrides = [with_quoted_path(override) for override in overrides]
    try:
        with composing():
            cfg = hydra.compose(config_name, overrides=overrides, return_hydra_config=True)
    except Exception as error:
        raise ValueError(explain(error, config_name, overrides)) from error
    with open_dict(cfg):
        choices = cfg.pop("hydra").runtime.choices
    refuse_overrides(cfg, overrides, choices, config_name)
    check(cfg)
    return cfg, of_groups(choices)


def of_groups(choices: Mapping[str, str | None]) -> dict[str, str]:
    """Returns Hydra's choices of our own groups."""
    return {k: v for k, v in choices.items() if v is not None and not k.startswith("hydra")}


def refuse_overrides(
    cfg: DictConfig, overrides: Sequence[str], choices: Mapping[str, str | None], config_name: str
) -> None:
    """Raises ValueError if `~key` has left out what every run needs, or `+key` has added what nothing reads.

    A new key is of use where another override names it, as ${key}. Those inside a part belong to their _target_.
    """
    for override in overrides:
        key = override.lstrip("~+").partition("=")[0].rpartition("@")[2]
        if "." in key or key in choices:
            continue
        if override.startswith("~") and key not in (*cfg, "experiment", "sweep"):
            raise ValueError(f"{override}: this key cannot be left out")
        new = override.startswith("+") and f"\n{key}:" not in (CONF / f"{config_name}.yaml").read_text()
        reader = re.compile(rf"\$\{{[^}}]*\b{re.escape(key)}\b")  # as ${key}, ${key.part} or ${oc.select:key}
        if new and not any(map(reader.search, (*overrides, OmegaConf.to_yaml(cfg)))):
            raise ValueError(f"{override}: nothing reads this key. Leave it out, or name it elsewhere, as ${{{key}}}")
