"""The Python interface: training without a command line, in a notebook, a program or a thread."""

import logging
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import nn

from wgangp.app import build
from wgangp.app.checks import check
from wgangp.app.compose import config_and_choices, load_config
from wgangp.app.paths import default_directory, with_run_name
from wgangp.app.plain import to_record
from wgangp.app.training import train as train_run
from wgangp.data import Dataset
from wgangp.machine.paths import local_path
from wgangp.machine.settings import kept_random_state, kept_settings, plain_torch
from wgangp.models import Generator
from wgangp.penalties import Penalty
from wgangp.run import Run
from wgangp.run_dir.record import Record
from wgangp.trainer import Trainer

log = logging.getLogger(__name__)

TRAINING = threading.Lock()  # held by the one training of this process


def train(*config: str | DictConfig, run_dir: str | Path | None = None) -> Run:
    """Trains as wgangp-train does, and returns the run.

    `config` is a configuration of `load_config`, or the overrides for one. `run_dir` is a new directory, or that of a
    run to continue; by default outputs/DATASET/DATE_TIME, with `run` as DATASET of a configuration. torch's random
    state is the caller's again afterwards; a thread that draws from it meanwhile changes the training.
    Raises ValueError or OSError if the start is refused, as while another training runs in this process. Ctrl-C saves
    the run after its step, then raises KeyboardInterrupt.
    """
    if run_dir is not None and not (isinstance(run_dir, str | Path) and str(run_dir)):
        raise ValueError(f"run_dir={run_dir!r}: give a path")
    cfg, record = composed(config)
    wanted = local_path(run_dir) if run_dir is not None else with_run_name(default_directory(record.choices), cfg.name)
    if not TRAINING.acquire(blocking=False):
        raise ValueError(
            "another training runs in this process, and torch's random numbers are shared: wait for it, or give each "
            "a process of its own"
        )
    try:
        with kept_random_state(), kept_settings(), plain_torch():
            run, objective = train_run(cfg, wanted, record, may_rename=run_dir is None)
    except SystemExit as stopped:  # by a signal; the run is saved
        if stopped.code == 128 + signal.SIGINT:
            raise KeyboardInterrupt from None
        raise
    finally:
        TRAINING.release()
    return Run(run, objective, cfg.allow)


def composed(config: Sequence[object]) -> tuple[DictConfig, Record]:
    """Returns the checked configuration that `train` is given, or that its overrides make, and the run's record."""
    if len(config) == 1 and isinstance(config[0], DictConfig):
        if "steps" not in config[0]:
            raise ValueError("this is no configuration of wgangp-train: give one of load_config(...)")
        check(config[0])
        return config[0], Record(to_record(config[0]))
    overrides = [override for override in config if isinstance(override, str)]
    if len(overrides) < len(config):
        raise ValueError(
            "give overrides as strings, train('dataset=mnist', 'steps=100'), or one configuration of load_config"
        )
    if hydras := [o for o in overrides if o.lstrip("+~").startswith(("hydra.", "hydra/", "-"))]:
        raise ValueError(
            f"{hydras[0]} is for the command line: here overrides are key=value, and run_dir=... the run's directory"
        )
    cfg, choices = config_and_choices(overrides)
    if sweep := choices.get("sweep"):
        log.warning("sweep=%s is for the command line: this is a single run", sweep)
    return cfg, Record(to_record(cfg), overrides, choices)


def make_trainer(
    *overrides: str,
    dataset: Dataset | None = None,
    generator: Generator | None = None,
    critic: nn.Module | None = None,
    penalty: Penalty | None = None,
) -> Trainer:
    """Returns a trainer with the defaults of conf/ and these overrides, for a training loop of your own.

    Datasets, networks and penalties may be given as objects. Call `train_step()` as often as you like, up to `steps`
    times. Raises ValueError for wrong options, and for parts that do not go together.
    """
    if not all(isinstance(override, str) for override in overrides):
        raise ValueError("give overrides as strings, make_trainer('dataset=mnist', 'steps=100')")
    parts = {"dataset": dataset, "generator": generator, "critic": critic, "penalty": penalty}
    kinds = {"dataset": Dataset, "penalty": Penalty}  # the others are any networks
    for name, part in parts.items():
        if part is not None and not isinstance(part, kind := kinds.get(name, nn.Module)):
            raise ValueError(f"{name} is a {type(part).__name__}: give a {kind.__module__}.{kind.__name__}")
    cfg = load_config(*overrides)
    with torch.inference_mode(False), torch.enable_grad():  # the loop, and its dtype, are the caller's
        device = build.set_up_device(cfg)
        dataset = build.make_dataset(cfg, device) if dataset is None else dataset
        return build.make_trainer(cfg, dataset, device, generator, critic, penalty)
