"""The one place that hands a command line to Hydra, and gets configurations from it."""

import argparse
import functools
import importlib
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

import wgangp
from wgangp.app import checks
from wgangp.app.checks import check, plain
from wgangp.app.errors import explain, groups, near, one_line, wants_traceback
from wgangp.app.help import page
from wgangp.app.paths import CONF, PLUGINS, VERSION_BASE
from wgangp.machine.signals import interrupted
from wgangp.run_dir.claim import remove_if_empty

log = logging.getLogger(__name__)

PATHS = (  # keys whose value is a path, and is taken as it is typed
    *("run", "out", "sweep", "classifier", "weights", "evaluate.classifier", "evaluate.weights", "hydra.run.dir"),
    *(f"dataset.{key}" for key in checks.PATHS),
    *("hydra.sweep.dir", "scores.fvd.weights", "scores.prc_vgg16.weights"),
)
MAYBE_PATHS = ("dataset.held_out", "dataset.condition", "condition")  # or a number, or the name of a column
NUMBER = re.compile(r"[-+]?[\d._]+(e[-+]?\d+)?|true|false", re.IGNORECASE)
PLAIN = re.compile(r"(?!(true|false|null|nan|inf)$)[A-Za-z_./][\w./-]*", re.IGNORECASE)
SWEEP = re.compile(r"['\"\[$?]|(choice|range|interval|glob|shuffle|sort|tag)\(")  # written in Hydra's own syntax
MULTIRUN = {"-m", "--multirun"}

sys.path.append(str(PLUGINS))


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
    running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None  # inside a job, or of the caller
    try:
        with hydra.initialize_config_dir(str(CONF), version_base=VERSION_BASE):
            cfg = hydra.compose(config_name, overrides=list(overrides), return_hydra_config=True)
    except Exception as error:
        raise ValueError(explain(error, config_name, overrides)) from error
    finally:
        GlobalHydra.instance().hydra = running
    with open_dict(cfg):
        choices = cfg.pop("hydra").runtime.choices
    refuse_overrides(cfg, overrides, choices, config_name)
    check(cfg)
    return cfg, of_groups(choices)


def of_groups(choices: Mapping[str, str | None]) -> dict[str, str]:
    """Returns Hydra's choices of our own groups."""
    return {k: v for k, v in choices.items() if v is not None and not k.startswith("hydra")}


def as_typed(argument: str) -> str:
    """Returns an argument whose value is a path with quotes around it, if Hydra would read it as something else.

    2024_01_31 and 7 are numbers to Hydra, and ~ and spaces are errors. Each path of a sweep's list is quoted alone.
    """
    key, _, value = argument.partition("=")
    name = key.lstrip("+")
    is_path = name in PATHS or (name in MAYBE_PATHS and not NUMBER.fullmatch(value.partition(",")[0]))
    if not is_path or SWEEP.match(value):
        return argument
    several = bool(MULTIRUN & set(sys.argv))
    return f"{key}={','.join(quoted(path) for path in (value.split(',') if several else [value]))}"


def quoted(path: str) -> str:
    if not path or path == "null" or PLAIN.fullmatch(path) or path[0] in "'\"[$?":
        return path
    expanded = os.path.expanduser(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{expanded}'"


def lazily(module: str, name: str) -> Callable[..., Any]:
    """Returns a function that imports its body at the call: torch takes seconds, and --help needs none of it."""

    def task(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args, **kwargs)

    return task


def show(text: str) -> None:
    """Prints a page, of which `| head` may read a part only."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def refuse_unknown_options(arguments: Sequence[str]) -> None:
    """Ends the program in one line if an --option is neither one of Hydra's nor the beginning of one."""
    known = [name for action in get_args_parser()._actions for name in action.option_strings]
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name.startswith("-") and equals and re.fullmatch(r"\w{3,}", name.lstrip("-")) and name not in known:
            sys.exit(f"{argument}: there is no such option. Keys are written without -: {name.lstrip('-')}={value}")
        if name.startswith("--") and not any(option.startswith(name) for option in known):
            sys.exit(f"{name}: there is no such option.{near(name, [n for n in known if n.startswith('--')])}")


def refuse_empty_paths(arguments: Sequence[str]) -> None:
    """Raises ValueError if a path is empty: it would be the working directory."""
    for argument in arguments:
        key, equals, value = argument.lstrip("+").partition("=")
        if key in PATHS and equals and not value:
            raise ValueError(f"{argument}: give a path")


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


def command(task: Callable[..., Any], config_name: str) -> None:
    """Runs `task` under Hydra with the command line.

    An error becomes one line and exit code 1; debug=true shows its traceback.
    """
    arguments = [as_typed(a) for a in sys.argv[1:]]
    arguments.sort(key=lambda argument: argument not in MULTIRUN)  # argparse takes no -m between other arguments
    if "--version" in arguments:
        print(f"wgangp {wgangp.__version__}")
        return
    if {"--help", "-h"} & set(arguments):
        pairs = (argument.partition("=") for argument in arguments)
        show(page(CONF, config_name, {key: value for key, _, value in pairs if key.partition("@")[0] in groups()}))
        return
    refuse_unknown_options(arguments)
    debug = wants_traceback(arguments)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors, and we report them
    logging.raiseExceptions = False  # of a closed terminal, `| head -1`: the run goes on, and train.log has the lines

    @functools.wraps(task)
    def guarded(cfg: DictConfig, **options: Any) -> Any:
        try:
            refuse_overrides(cfg, arguments, HydraConfig.get().runtime.choices, config_name)
            check(cfg)
            return task(cfg, **options)
        except Exception as error:
            message = one_line(error)
            log.error(message, exc_info=debug)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise ValueError(message)  # the sweep goes on; without the first error's frames, and all that they hold
        remove_if_empty(Path(HydraConfig.get().runtime.output_dir))
        sys.exit(1)

    before, sys.argv = sys.argv, [sys.argv[0], *arguments]  # Hydra reads its arguments there
    try:
        refuse_empty_paths(arguments)
        hydra.main(version_base=VERSION_BASE, config_path=str(CONF), config_name=config_name)(guarded)()
    except KeyboardInterrupt:
        interrupted()
    except Exception as error:
        if debug:
            raise
        sys.exit(explain(error, config_name, arguments))
    finally:
        sys.argv = before


def plain_command(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Runs `task` with conf/NAME.yaml and the command line's key=value, without Hydra's groups and directories."""
    arguments = sys.argv[1:]
    file = CONF / f"{config_name}.yaml"
    if "--version" in arguments:
        print(f"wgangp {wgangp.__version__}")
        return
    if {"--help", "-h"} & set(arguments):
        show(page(CONF, config_name, {}))
        return
    try:
        task(merge_arguments(OmegaConf.load(file), arguments, file))  # type: ignore[arg-type]
    except KeyboardInterrupt:
        interrupted()
    except Exception as error:
        if wants_traceback(arguments):
            raise
        sys.exit(one_line(error))


def merge_arguments(defaults: DictConfig, arguments: Sequence[str], file: Any) -> DictConfig:
    """Returns the defaults with the arguments' values. Paths are the text as typed: 2024_01_31 is no number."""
    refuse_empty_paths(arguments)
    given = OmegaConf.create()
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise ValueError(f"{argument}: give key=value")
        if key not in defaults.keys():  # noqa: SIM118  (`in` calls a key without a value absent)
            raise ValueError(f"{key}: there is no such key.{near(key, [str(k) for k in defaults])}")
        typed = OmegaConf.from_dotlist([f"x={value}"]).x if key != "sweep" else value
        given[key] = typed
    cfg = OmegaConf.merge(defaults, given)
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise ValueError(f"give {missing[0]}=...: {file.read_text().splitlines()[0].lstrip('# ')}")
    return cfg  # type: ignore[return-value]


__all__ = ["CONF", "check", "command", "lazily", "load_config", "merge_arguments", "plain", "plain_command"]
