"""Command lines: help, errors in one line, paths, and the call of Hydra."""

import functools
import importlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

import wgangp
from wgangp.app.checks import check
from wgangp.app.compose import refuse_overrides
from wgangp.app.errors import MULTIRUN, explain, groups, near, one_line, wants_traceback
from wgangp.app.help import page
from wgangp.app.paths import CONF, VERSION_BASE, config_folders
from wgangp.app.quoting import PATHS, with_quoted_path
from wgangp.machine.signals import interrupted
from wgangp.run_dir.claim import remove_if_empty

log = logging.getLogger(__name__)


def lazily(module: str, name: str) -> Callable[..., Any]:
    """Returns a function that imports its body at the call: torch takes seconds, and --help needs none of it."""

    def task(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args, **kwargs)

    return task


def show(text: str) -> None:
    """Prints a page, of which `| head` may read a part only."""
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            sys.exit(f"standard output: {error.strerror}")


def answered(arguments: Sequence[str], help_page: Callable[[], str]) -> bool:
    """Prints the version or the help if they are asked for; returns whether they are."""
    if "--version" in arguments:
        show(f"wgangp {wgangp.__version__}")
        return True
    if {"--help", "-h"} & set(arguments):
        show(help_page())
        return True
    return False


@contextmanager
def one_line_errors(arguments: Sequence[str], message_of: Callable[[Exception], str] = one_line) -> Iterator[None]:
    """Ends the program in one line at an error or Ctrl-C; with debug=true the error is raised."""
    try:
        yield
    except KeyboardInterrupt:
        interrupted()
    except Exception as error:
        if wants_traceback(arguments):
            raise
        sys.exit(message_of(error))


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
        if key in PATHS and equals and not value.strip("\"'"):
            raise ValueError(f"{argument}: give a path")


def options_last(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments with Hydra's own options, such as -m, at the end: argparse takes none between others."""
    parser = get_args_parser()
    parser.error = lambda message: sys.exit(f"{message}: --help lists the options")  # type: ignore[method-assign]
    overrides = parser.parse_intermixed_args(arguments).overrides
    options = list(arguments)
    for override in overrides:
        options.remove(override)
    return [*overrides, *options]


def chosen_options(arguments: Sequence[str]) -> dict[str, str]:
    """Returns the options of groups that the arguments choose, such as {"dataset": "mnist"}."""
    pairs = (argument.partition("=") for argument in arguments)
    return {key: value for key, _, value in pairs if key.partition("@")[0] in groups()}


def command(task: Callable[..., Any], config_name: str) -> None:
    """Runs `task` under Hydra with the command line.

    An error becomes one line and exit code 1; debug=true shows its traceback.
    """
    several = bool(MULTIRUN & set(sys.argv))
    arguments = [with_quoted_path(a, several) for a in sys.argv[1:]]
    if answered(arguments, lambda: page(config_folders(arguments), config_name, chosen_options(arguments))):
        return
    refuse_unknown_options(arguments)
    for folder in config_folders(arguments):
        if not folder.is_dir():
            sys.exit(f"--config-dir={folder}: there is no such folder")
    arguments = options_last(arguments)
    arguments = [a for a in arguments if a != "hydra.output_subdir=.hydra"]  # Hydra's default; the run writes it itself
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
        with one_line_errors(arguments, lambda error: explain(error, config_name, arguments)):
            refuse_empty_paths(arguments)
            hydra.main(version_base=VERSION_BASE, config_path=str(CONF), config_name=config_name)(guarded)()
    finally:
        sys.argv = before


def plain_command(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Runs `task` with conf/NAME.yaml and the command line's key=value, without Hydra's groups and directories."""
    arguments = sys.argv[1:]
    file = CONF / f"{config_name}.yaml"
    if answered(arguments, lambda: page([CONF], config_name, {})):
        return
    with one_line_errors(arguments):
        task(merge_arguments(OmegaConf.load(file), arguments, file))  # type: ignore[arg-type]


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
        given[key] = value if key in PATHS else OmegaConf.from_dotlist([f"x={value}"]).x
    cfg = OmegaConf.merge(defaults, given)
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise ValueError(f"give {missing[0]}=...: {file.read_text().splitlines()[0].lstrip('# ')}")
    return cfg  # type: ignore[return-value]
