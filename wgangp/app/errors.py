"""Errors as one line that says what is wrong, then what to do."""

import difflib
import errno
import re
import site
import sysconfig
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import hydra
from hydra.errors import (
    ConfigCompositionException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, MissingMandatoryValue

from wgangp.app.composing import composing
from wgangp.app.help import default_options
from wgangp.app.paths import CONF, PACKAGE, config_folders
from wgangp.machine.text import printable, shown
from wgangp.run_dir.record import flatten

MULTIRUN = {"-m", "--multirun"}
MANY = 40  # more names than one reads in a message
NAMES_ELSEWHERE = {  # our keys, and what other programs call them
    "penalty.weight": "lambda lambda_gp lambda_ gp gp_weight gp_lambda gradient_penalty",
    "steps": "epochs n_epochs num_epochs epoch iterations iters n_iter niter num_iterations max_iter",
    "batch_size": "batch bs minibatch_size",
    "n_critic": "critic_iters critic_iterations d_steps n_dis disc_iters",
    "generator.nz": "latent_dim latent_size z_dim nz noise_dim",
    "critic": "discriminator netD disc",
    "generator_optimizer.lr": "lr_g g_lr lr_gen generator.lr generator_lr",
    "critic_optimizer.lr": "lr_d d_lr lr_c critic.lr critic_lr discriminator_lr",
    "generator_optimizer.lr and critic_optimizer.lr": "lr learning_rate",
    "generator_optimizer.betas and critic_optimizer.betas": "beta1 beta2 b1 b2 betas",
    "device": "gpu gpus cuda gpu_id",
    "precision": "amp fp16 bf16 mixed_precision",
    "generator and critic": "model arch architecture network",
    "dataset.size": "image_size img_size resolution",
    "dataset.root or dataset.path": "data_root data_dir data_path dataroot root path",
    "hydra.run.dir": "output_dir outdir out_dir log_dir logdir save_dir out run_dir",
    "checkpoint_every": "save_every save_interval checkpoint_interval",
    "wgangp-resume run=DIR": "resume resume_from ckpt checkpoint ckpt_path",
}
THEIR_NAMES = {name: ours for ours, names in NAMES_ELSEWHERE.items() for name in names.split()}


def wants_traceback(arguments: Sequence[str]) -> bool:
    return "debug=true" in [argument.lower() for argument in arguments]


def in_quotes(value: str) -> str:
    text = value.strip().strip("\"'")
    return f'"{text}"'


def one_line(error: BaseException) -> str:
    """Returns the cause's message, without the layers that passed it on."""
    where = ""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        found = re.search(r"full_key: (\S+)", str(error))
        where, error = f"{found[1]}: " if found else where, error.__cause__
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is missing: give {error.full_key}=..."
    if isinstance(error, ConfigAttributeError) and "." not in str(error.full_key):
        return f"the configuration has no key {error.full_key}: begin your own with `defaults: [train, _self_]`"
    text = shown(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        advice = ": make room on the disk" * (error.errno == errno.ENOSPC)
        return f"{shown(error.filename)}: {error.strerror}{advice}"
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return "there is not enough memory for this: lower the numbers of samples, of a batch, or of a network"
    if isinstance(error, ValueError | OSError):
        return text
    if type(error).__name__ == "OutOfMemoryError":  # of torch, which messages of the command line do without
        return "the device has not enough memory: lower batch_size or evaluation_samples, or make the networks narrower"
    return f"{where}{type(error).__name__}: {text} ({place_of(error)}debug=true shows the traceback)"


def place_of(error: BaseException) -> str:
    """Returns the last line of somebody's own code in the traceback, such as `mine/data.py, line 7; `; else ""."""
    installed = [PACKAGE, *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib", "scripts"))]
    installed.append(Path(site.getusersitepackages()))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_file()]
    own = [f for f in frames if not any(Path(f.filename).is_relative_to(folder) for folder in installed)]
    return f"{shown(own[-1].filename)}, line {own[-1].lineno}; " if own else ""


def explain(error: Exception, config_name: str, arguments: Sequence[str] = ()) -> str:
    """Returns an error of composition in one line, with the names near a misspelt one.

    `arguments` are the command line's, whose options have keys of their own.
    """
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        place = printable(str(error.filename))
        option = "hydra.sweep.dir" if MULTIRUN & set(arguments) else "hydra.run.dir"
        return f"{place}: {error.strerror}; give a folder that can be written by {option}="
    if primary := re.match(r"Cannot find primary config '(.+?)'", text):
        name = printable(primary[1])
        return f"there is no configuration {name}: give the folder that yours is in by --config-dir=DIR"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return no_such_option(error.missing_cfg_file, arguments)
    key = re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct|delete from config. '([^']+)'", text)
    if isinstance(error, ConfigCompositionException) and key:
        return no_such_key(error, key[1] or key[2] or key[3], config_name, arguments)
    if twice := re.search(r"Could not append to config. An item is already at '(.+?)'", text):
        return f"+{twice[1]}: this key is there already: write it without +"
    if "Config group override must be a string" in text:
        null = [group for group in groups() if f"{group}=null" in arguments]
        return "; ".join(f"{g}=null: choose {', '.join(sorted(options(g)))}" for g in null) or one_line(error)
    if ambiguous := re.match(r"Ambiguous value for argument '(.+)'", text):
        name, _, values = ambiguous[1].partition("=")
        advice = "" if name.partition("@")[0] in groups() else f", or give a list, as in '{name}=[{values}]'"
        return f"{ambiguous[1]}: these are several values: add -m for a sweep{advice}"
    if merged := re.match(r"Error merging override (.+)", text):
        return f"{printable(merged[1])}: give a value of the default's kind; wgangp-{config_name} --help shows it"
    if isinstance(error, OverrideParseException):
        return no_override(error.override, config_name)
    if added := [a for a in arguments if a.startswith("+") and a.lstrip("+").partition("=")[0] in groups()]:
        return f"{added[0]}: write it without +, for this group has a choice already"
    return printable(text.splitlines()[0]) if text else one_line(error)


def no_such_key(error: Exception, name: str, config_name: str, arguments: Sequence[str]) -> str:
    """Returns the line for an unknown key, with what may be meant."""
    if (inner := re.search(r"full_key: (\S+)", str(error.__cause__))) and inner[1].startswith(f"{name}."):
        name = inner[1]  # of a mapping that was given as the value
    theirs = THEIR_NAMES if config_name == "train" else {}
    if name in theirs:
        return f"{name}: there is no such key. Did you mean {theirs[name]}?"
    swept = {group for group, _, values in (a.partition("=") for a in arguments) if "," in values}
    over = sorted({name.partition(".")[0], "experiment"} & swept) if "." in name else []
    if over and MULTIRUN & set(arguments):
        return f"{name}: the default {over[0]} has no such key. In a sweep over {over[0]}, write +{name}=..."
    others = {other: ours for other, ours in theirs.items() if name not in ours.split(" or ")}
    known = [key for key in keys(config_name, arguments) if key != name]
    return f"{name}: there is no such key.{near(name, known, config_name, others)}"


def no_override(override: str, config_name: str) -> str:
    """Returns the line for an argument that Hydra cannot parse."""
    name, equals, value = override.partition("=")
    if not equals and not override.startswith("~"):
        wanted = "run=DIR" if config_name in ("sample", "evaluate") else "key=value, or group=option"
        return f"{printable(override)}: give {wanted}"
    parts = value[1:-1].split(",") if value[:1] + value[-1:] == "[]" else []
    quoted = f"[{','.join(map(in_quotes, parts))}]" if parts else in_quotes(value)
    return (
        f"{override}: Hydra cannot read this value: put quotes around it, and others for the shell, "
        f"as in '{name}={quoted}'"
    )


def no_such_option(file: str, arguments: Sequence[str]) -> str:
    """`file` is GROUP/OPTION, in which both may have slashes: the command line says where the option begins."""
    group, _, option = file.rpartition("/")
    key = group
    for argument in arguments:
        left, _, right = argument.lstrip("+").partition("=")
        if f"{left.partition('@')[0]}/{right}" == file:
            key, group, option = left, left.partition("@")[0], right
    return f"{key}={option}: there is no such option.{near(option, options(group, config_folders(arguments)))}"


def near(
    name: str, names: list[str], config_name: str = "train", others: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Returns which of the names may be meant, else all: of the same part, as critic.width, if it has keys.

    `others` are further spellings, and the names that they stand for. The help of wgangp-CONFIG_NAME lists the names
    that are too many for a line.
    """
    part = name[: name.rfind(".") + 1]
    inside = [n.removeprefix(part) for n in names if part and n.startswith(part)]
    if not inside:
        part, inside = "", names
    last = name.removeprefix(part)
    close = [n for n in inside if n.startswith(f"{last}@")]  # a group that fills several places
    close = close or difflib.get_close_matches(last, inside, n=2, cutoff=0.7)
    if part and not close and last in names:  # dataset.batch_size
        return f" Did you mean {last}?"
    close = close or sorted(n for n in inside if re.split("[./]", n)[-1] == re.split("[./]", last)[-1])
    if not close and (other := difflib.get_close_matches(last.rpartition(".")[2], others, n=1, cutoff=0.7)):
        return f" Did you mean {others[other[0]]}?"
    if close:
        return f" Did you mean {' or '.join(part + n for n in close)}?"
    choices = sorted(n for n in inside if not n.rpartition(".")[2].startswith("_"))  # not _target_
    if not choices:
        return f" This {part[:-1]} has no keys." if part else ""
    if len(choices) > MANY:
        return f" wgangp-{config_name} --help lists all."
    return f" Choose from {', '.join(part + n for n in choices)}."


def options(group: str, folders: Sequence[Path] = (CONF,)) -> list[str]:
    """Returns the options that one may choose: those below common/ and schedule/ are parts of others."""
    files = [(folder / group, path) for folder in folders for path in (folder / group).rglob("*.yaml")]
    names = [path.relative_to(folder).with_suffix("").as_posix() for folder, path in files]
    return [name for name in names if not name.startswith(("common/", "schedule/"))]


def groups() -> list[str]:
    return [str(path.relative_to(CONF)) for path in CONF.rglob("*") if path.is_dir()]


def keys(config_name: str, arguments: Sequence[str]) -> list[str]:
    """Returns every key of the configuration with the command line's choices; of wgangp-train the groups, too."""
    chosen = [a for a in arguments if a.partition("=")[0] in groups() and "," not in a]
    with composing():
        try:
            cfg: Any = hydra.compose(config_name, overrides=chosen)
        except Exception:  # they are wrong, too
            cfg = hydra.compose(config_name)
    if config_name != "train":
        return list(flatten(OmegaConf.to_container(cfg)))  # type: ignore[arg-type]
    placed = [group for group in default_options(CONF / "train.yaml") if "@" in group]  # optimizer@...
    alone = set(groups()) - {key.partition("@")[0] for key in placed}
    return [*flatten(OmegaConf.to_container(cfg)), *placed, *sorted(alone)]  # type: ignore[arg-type]
