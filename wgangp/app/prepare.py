"""Builds the parts of a run and loads its checkpoint; refuses the start before anything is written."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig

from wgangp.app.build import make_dataset, make_trainer, set_up_device
from wgangp.app.plain import plain
from wgangp.app.recorded_data import use_as_recorded
from wgangp.app.run_scores import make_scores
from wgangp.app.trust import no_larger_than
from wgangp.data import Dataset
from wgangp.machine.distributed import is_main
from wgangp.machine.text import shown
from wgangp.metrics.objective import Trial
from wgangp.metrics.scores import Scores
from wgangp.preflight import check_batchnorm, check_disk, check_memory
from wgangp.run_dir.checkpoint import State, check_readable, said_unreadable
from wgangp.run_dir.header import Header, header_of
from wgangp.run_dir.record import Record, dump_yaml
from wgangp.run_dir.status import read_status
from wgangp.trainer import Trainer
from wgangp.training_loop import checkpoint_to_resume, resume_from_checkpoint


@dataclass(frozen=True)
class RunningJob:
    """A job of a sweep: its number if jobs run side by side, and its trial if it is one of a search."""

    number: int | None = None
    trial: Trial | None = None


@dataclass(frozen=True)
class Prepared:
    """The parts of a run that is accepted."""

    trainer: Trainer
    scores: Scores
    header: State  # of every checkpoint


def prepare(
    cfg: DictConfig, started_with: Record, run: Path, start: Path, job: RunningJob, rollbacks: int | None
) -> Prepared:
    """Builds all parts and loads the checkpoint that `start` is, or the newest one in it, if there is one.

    Writes nothing. Raises ValueError if the start is refused.
    """
    device = set_up_device(cfg, job.number)
    dataset = make_dataset(cfg, device)
    is_refused = start == run and not run.exists()  # the main rank refused the start, and removed the directory
    found = None if is_refused else checkpoint_to_resume(start)
    before = header_of(found[1]) if found else None
    if before:
        check_kind_of_data(run, before, started_with)
        use_as_recorded(dataset, before)
    header = header_to_save(cfg, started_with, dataset)
    scores = make_scores(cfg, dataset, device)  # before the trainer: missing files come before minutes of compiling
    decided = plain(cfg) | {"precision": precision_of(cfg, before, device)}
    with no_larger_than(found[1]) if found else nullcontext():
        trainer = make_trainer(DictConfig(decided), dataset, device)
    check_batchnorm(trainer)
    smaller = {"compile": False}  # which takes minutes, and about as much memory
    check_memory(trainer, lambda n: make_trainer(DictConfig(decided | smaller | {"batch_size": n}), dataset, device))
    if found:
        resume_from_checkpoint(trainer, *found, started_with.config)
    if rollbacks is None:
        rollbacks = before.rollbacks if before else 0
    trainer.rollbacks = rollbacks
    header |= {"precision": trainer.precision, "rollbacks": rollbacks}
    check_readable(header, trainer.state())
    if trainer.step > cfg.steps or (trainer.step == cfg.steps and not is_cut_off(run)):
        more = f"steps={2 * trainer.step}"
        raise ValueError(
            f"the run is at step {trainer.step} of {cfg.steps}: give a larger number of steps to go on, as {more}"
        )
    if is_main():
        check_disk(run, trainer, cfg.keep_checkpoints)
    return Prepared(trainer, scores, header)


def check_kind_of_data(run: Path, before: Header, started_with: Record) -> None:
    """Raises ValueError if a run is to go on with another dataset: its scores could not be compared."""
    records = before.record or Record(before.config), started_with
    was, now = (record.config.get("dataset", {}).get("_target_") for record in records)
    if was is not None and was != now:
        names = [shown(record.choices.get("dataset", record.config["dataset"]["_target_"])) for record in records]
        raise ValueError(f"{run} has a run on {names[0]}: start one on {names[1]} in another directory, hydra.run.dir=")


def precision_of(cfg: DictConfig, before: Header | None, device: torch.device) -> str:
    """Returns the configured precision. On a CPU, where timing decides what `auto` is, a resumed run keeps its own."""
    if cfg.precision == "auto" and device.type == "cpu" and before and before.precision in ("float32", "bfloat16"):
        return before.precision
    return str(cfg.precision)


def header_to_save(cfg: DictConfig, started_with: Record, dataset: Dataset) -> State:
    """Returns what every checkpoint says beside its weights. Raises ValueError if it could not be read again."""
    header = {
        "config": dump_yaml(started_with.config),
        "overrides": started_with.overrides,
        "choices": started_with.choices,
        "shape": list(dataset.shape),
        "num_classes": dataset.num_classes if cfg.conditional else 0,
        "vocabulary": dataset.vocabulary,
        "class_names": [*map(str, dataset.class_names)],
        "class_counts": class_counts(dataset) if cfg.conditional else [],
        "bounded": dataset.bounded,
        "data": str(dataset.describe()),
        "units": None if dataset.units is None else dataset.units.state(),
        "conditions": dataset.conditions.state() if cfg.conditional and dataset.conditions is not None else None,
    }
    with said_unreadable():
        header_of(header)  # before networks are made of it
    return header


def class_counts(dataset: Dataset) -> list[int]:
    counts = dataset.class_counts() if dataset.num_classes else None
    return [] if counts is None else counts.tolist()


def is_cut_off(run: Path) -> bool:
    """Whether the run's process was killed before it reported its end."""
    status = read_status(run)
    return status is not None and status.state != "done"
