"""A training run from its configuration to its end: accepted or refused, rolled back, resumed, finished."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig
from tqdm.contrib.logging import logging_redirect_tqdm

from wgangp.app.build import make_dataset, make_trainer, set_up_device, thread_count
from wgangp.app.checks import plain, to_record
from wgangp.app.data import use_as_recorded
from wgangp.app.metrics import check_judged, make_scores
from wgangp.app.report import introduce, report
from wgangp.app.trust import no_larger_than
from wgangp.data import Dataset
from wgangp.machine.device import cpu_threads, release_memory
from wgangp.machine.distributed import from_main, is_main
from wgangp.machine.finite import Diverged
from wgangp.machine.profile import traced
from wgangp.machine.signals import StopSignals
from wgangp.machine.text import shown
from wgangp.metrics.objective import Trial, higher_is_better, monitored
from wgangp.metrics.scores import Scores
from wgangp.observer import Observer
from wgangp.preflight import check_batch, check_disk, check_memory
from wgangp.progress import shows_bar
from wgangp.run_dir.checkpoint import Checkpoints, Header, State, header_of, set_aside_later
from wgangp.run_dir.claim import Claim, remove_if_empty
from wgangp.run_dir.environment import record_environment
from wgangp.run_dir.files import refuse_links
from wgangp.run_dir.lock import locked
from wgangp.run_dir.log import Earlier, log_file
from wgangp.run_dir.logger import Logger, NullLogger, RunLogger
from wgangp.run_dir.record import Record, dump_yaml, has_record, write_record
from wgangp.run_dir.status import Status, read_status, write_status
from wgangp.trainer import Logs, Trainer
from wgangp.training_loop import Intervals, TrainingLoop, checkpoint_to_resume, resume_from_checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A job of a sweep: its number if jobs run side by side, and its trial if it is one of a search."""

    number: int | None = None
    trial: Trial | None = None


def train(
    cfg: DictConfig,
    wanted: Path,
    started_with: Record,
    *,
    may_rename: bool = False,
    job: Job | None = None,
    start: Path | None = None,
) -> tuple[Path, float]:
    """Trains in a run directory until the last step, a signal or pruning; returns it and the objective, `monitor`.

    With `may_rename` the directory gets another name if another run has this one. `start` is the checkpoint to continue
    from; by default the newest one of the directory, if it has any. Nothing is written before the configuration, the
    data and the checkpoint are accepted. In a sweep (`job`) a refused start is recorded, since its table shows it.
    Raises ValueError or OSError if the start is refused, and Diverged.
    """
    claim = Claim(wanted, may_rename)
    run = Path(from_main("run", lambda: str(claim.take())))
    if not is_main() and run != wanted.absolute():
        remove_if_empty(wanted)  # Hydra has created it, named by the second in which this process started
    with used_alone(run):
        try:
            return run, train_in(run, cfg, started_with, job or Job(), start)
        except Exception as error:
            if job is not None and is_main() and not has_record(run):
                write_record(run, started_with)
                reason = shown(error)
                write_status(run, Status("failed", reason=reason, error=type(error).__name__, steps=cfg.steps))
            raise
        finally:
            claim.release()
            release_memory()  # a sweep's next job is in this process


@contextmanager
def used_alone(run: Path) -> Iterator[None]:
    """Holds the run's lock. Raises ValueError if another process holds it, or a folder of the run is a link."""
    refuse_links(run)
    with locked(run) if is_main() else nullcontext():
        yield


def train_in(run: Path, cfg: DictConfig, started_with: Record, job: Job, start: Path | None) -> float:
    """Trains in a directory that this process alone uses; returns the objective.

    After a divergence it goes back to the last checkpoint, with other random numbers, if configured.
    """
    tries, before = 0, 0
    if cfg.on_divergence == "rollback":
        found = checkpoint_to_resume(start or run) if run.exists() else None
        tries, before = cfg.rollbacks, header_of(found[1]).rollbacks if found else 0
    for attempt in range(tries):
        try:
            return _train_once(run, cfg, started_with, job, start, before + attempt)
        except Diverged as error:
            log.warning("%s. Going back to the last checkpoint, with other random numbers", error)
            start = None
    return _train_once(run, cfg, started_with, job, start, before + tries if tries else None)


def _train_once(
    run: Path, cfg: DictConfig, started_with: Record, job: Job, start: Path | None, rollbacks: int | None
) -> float:
    """Trains until the end or a divergence; `rollbacks` of the run before, None: as many as its checkpoint says."""
    redirected = logging_redirect_tqdm() if shows_bar() else nullcontext()
    with StopSignals() as signals, redirected, ExitStack() as stack:
        with Earlier() as earlier:
            prepared = prepare(cfg, run, start or run, job, rollbacks)
        if is_main():
            accept(run, started_with, prepared.trainer)
            file_only = stack.enter_context(log_file(run, earlier.records))
        log.info("run directory %s", run)
        log.info("%s", prepared.trainer.dataset.describe())
        threads = thread_count(cfg, prepared.trainer)
        stack.enter_context(cpu_threads(threads))
        log.info(
            "training %s on %s", started_with.choices.get("dataset", "a dataset"), place(prepared.trainer, threads)
        )
        loop = make_loop(run, cfg, prepared, job, signals, stack)
        introduce(loop.logger, cfg, started_with, prepared.scores)
        try:
            loop.fit()
        except BaseException as error:
            loop.write_status("failed", error)
            if is_main():
                file_only.error("%s", shown(error))
            raise
        return finish(run, cfg, loop, prepared.scores, signals)


def place(trainer: Trainer, threads: int) -> str:
    """Returns where and how it computes, such as `cpu (2 threads, float32)`."""
    of_cpu = f"{threads} thread{'s' * (threads > 1)}, " if trainer.device.type == "cpu" else ""
    return f"{trainer.device} ({of_cpu}{trainer.precision})"


@dataclass(frozen=True)
class Prepared:
    trainer: Trainer
    scores: Scores
    header: State  # of the checkpoints


def prepare(cfg: DictConfig, run: Path, start: Path, job: Job, rollbacks: int | None) -> Prepared:
    """Builds all parts and loads the checkpoint that `start` is, or the newest one in it, if there is one.

    Writes nothing. Raises ValueError if the start is refused.
    """
    device = set_up_device(cfg, job.number)
    dataset = make_dataset(cfg, device)
    removed = start == run and not run.exists()  # by the main rank, which was refused before
    found = None if removed else checkpoint_to_resume(start)
    before = header_of(found[1]) if found else None
    if before:
        if before.data and before.data != dataset.describe():
            log.warning("the data differ from those that the run was trained with: %s", shown(before.data))
        use_as_recorded(dataset, before)
    header = header_to_save(cfg, dataset)
    scores = make_scores(cfg, dataset, device)  # before the trainer: missing files are told before minutes of compiling
    decided = plain(cfg) | {"precision": precision_of(cfg, before, device)}
    with no_larger_than(found[1]) if found else nullcontext():
        trainer = make_trainer(DictConfig(decided), dataset, device)
    check_batch(trainer)
    check_memory(trainer, lambda n: make_trainer(DictConfig(decided | {"batch_size": n}), dataset, device))
    if found:
        resume_from_checkpoint(trainer, *found, to_record(cfg))
    if rollbacks is None:
        rollbacks = before.rollbacks if before else 0
    trainer.rollbacks = rollbacks
    header |= {"precision": trainer.precision, "rollbacks": rollbacks}
    if trainer.step > cfg.steps or (trainer.step == cfg.steps and not is_cut_off(run)):
        raise ValueError(f"the run is at step {trainer.step} of {cfg.steps}: give a larger number of steps to go on")
    if is_main():
        check_disk(run, trainer, cfg.keep_checkpoints)
    return Prepared(trainer, scores, header)


def precision_of(cfg: DictConfig, before: Header | None, device: torch.device) -> str:
    """Returns the configured precision. On a CPU, where timing decides what `auto` is, a resumed run keeps its own."""
    if cfg.precision == "auto" and device.type == "cpu" and before and before.precision in ("float32", "bfloat16"):
        return before.precision
    return str(cfg.precision)


def header_to_save(cfg: DictConfig, dataset: Dataset) -> State:
    """Returns what every checkpoint says beside its weights. Raises ValueError if it could not be read again."""
    header = {
        "config": dump_yaml(to_record(cfg)),
        "shape": list(dataset.shape),
        "num_classes": dataset.num_classes if cfg.conditional else 0,
        "vocabulary": dataset.vocabulary,
        "class_names": list(dataset.class_names),
        "class_counts": class_counts(dataset) if cfg.conditional else [],
        "bounded": dataset.bounded,
        "data": dataset.describe(),
        "units": None if dataset.units is None else dataset.units.state(),
        "conditions": dataset.conditions.state() if cfg.conditional and dataset.conditions is not None else None,
    }
    try:
        header_of(header)
    except ValueError as error:
        raise ValueError(f"no checkpoint of this run could be read again: {error}") from error
    return header


def class_counts(dataset: Dataset) -> list[int]:
    counts = dataset.class_counts() if dataset.num_classes else None
    return [] if counts is None else counts.tolist()


def is_cut_off(run: Path) -> bool:
    """Whether the run's process was killed before it reported its end."""
    status = read_status(run)
    return status is not None and status.state != "done"


def accept(run: Path, started_with: Record, trainer: Trainer) -> None:
    """Writes what the run is started with. Checkpoints after the one that it starts from are renamed to .later."""
    set_aside_later(run, trainer.step)
    write_record(run, started_with)
    record_environment(run, trainer.device, trainer.dataset.describe())


def make_loop(
    run: Path, cfg: DictConfig, prepared: Prepared, job: Job, signals: StopSignals, stack: ExitStack
) -> TrainingLoop:
    trainer = prepared.trainer
    logger: Logger = NullLogger()
    if is_main():
        logger = RunLogger(run, trainer.step, cfg.batch_size * cfg.n_critic, trainer.images_seen)
    step: Callable[[], Logs] = trainer.train_step
    if cfg.profile:
        first, last = cfg.profile_steps
        step = stack.enter_context(traced(step, first, last, run / "profile"))
    checkpoints = Checkpoints(
        run,
        cfg.keep_checkpoints,
        prepared.header,
        cfg.monitor,
        higher_is_better(cfg.monitor, prepared.scores.metrics.values()),
        saved_step=trainer.step,
    )
    return TrainingLoop(
        trainer,
        Observer(trainer, prepared.scores),
        logger,
        checkpoints,
        Intervals(cfg.log_every, cfg.sample_every, cfg.evaluate_every, cfg.checkpoint_every),
        stop=signals.stop,
        save=signals.save,
        trial=job.trial,
        step=step,
    )


def finish(run: Path, cfg: DictConfig, loop: TrainingLoop, scores: Scores, signals: StopSignals) -> float:
    """Writes and logs how the run ended; a signal ends the process with its exit code.

    Raises OSError if the last checkpoint cannot be written, at a second try either, and ValueError if the monitored
    score could not be computed.
    """
    trainer, objective = loop.trainer, monitored(loop.latest, cfg.monitor)
    if trainer.step == trainer.steps:
        report(run, cfg, loop, scores)
    try:
        loop.save_last()
        if trainer.step == trainer.steps and is_main():  # the others do not score
            check_judged(cfg.monitor, objective, run)
    except (OSError, ValueError) as error:
        loop.write_status("failed", error)
        raise
    if trainer.step == trainer.steps:
        loop.write_status("done")
    elif signals.received is None:
        loop.write_status("pruned")
        log.info("pruned after step %d: other trials had better scores at this step", trainer.step)
    else:
        loop.write_status("stopped")
        log.info("stopped after step %d, saved; go on with: wgangp-resume run=%s", trainer.step, run)
    signals.leave()
    return objective
