"""A training run from its configuration to its end: accepted or refused, rolled back, resumed, finished."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from omegaconf import DictConfig
from tqdm.contrib.logging import logging_redirect_tqdm

from wgangp.app.build import thread_count
from wgangp.app.prepare import Prepared, RunningJob, prepare
from wgangp.app.report import introduce, report
from wgangp.app.run_scores import check_judged
from wgangp.machine.cpu import cpu_threads
from wgangp.machine.device import release_memory
from wgangp.machine.distributed import any_rank, from_main, is_main
from wgangp.machine.finite import Diverged
from wgangp.machine.profile import traced
from wgangp.machine.signals import StopSignals
from wgangp.machine.text import shown
from wgangp.metrics.objective import higher_is_better, monitored
from wgangp.metrics.scores import Scores
from wgangp.observer import Observer
from wgangp.progress import shows_bar
from wgangp.run_dir import evaluation
from wgangp.run_dir.checkpoint import Checkpoints, all_checkpoints, set_aside_later, step_of
from wgangp.run_dir.claim import Claim, remove_if_empty
from wgangp.run_dir.environment import record_environment
from wgangp.run_dir.files import refuse_links
from wgangp.run_dir.lock import locked
from wgangp.run_dir.log import Earlier, log_file
from wgangp.run_dir.logger import Logger, RunLogger, set_aside_later_lines, set_aside_later_samples
from wgangp.run_dir.record import Record, has_record, write_record
from wgangp.run_dir.status import Status, write_status
from wgangp.trainer import Logs, Trainer
from wgangp.training_loop import Intervals, TrainingLoop

log = logging.getLogger(__name__)


def train(
    cfg: DictConfig, wanted: Path, started_with: Record, *, may_rename: bool = False, job: RunningJob | None = None
) -> tuple[Path, float]:
    """Trains in a run directory until the last step, a signal or pruning; returns it and the objective, `monitor`.

    With `may_rename` the directory gets another name if another run has this one. Nothing is
    written before the configuration, the data and the checkpoint are accepted. In a sweep (`job`) a refused start is
    recorded, since its table shows it.
    Raises ValueError or OSError if the start is refused, and Diverged.
    """
    claim = Claim(wanted, may_rename)
    run = Path(from_main("run", lambda: str(claim.take())))
    if not is_main() and run != wanted.absolute():
        remove_if_empty(wanted)  # Hydra has created it, named by the second in which this process started
    with used_alone(run):
        try:
            return run, train_in(run, cfg, started_with, job or RunningJob())
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


def train_in(run: Path, cfg: DictConfig, started_with: Record, job: RunningJob, start: Path | None = None) -> float:
    """Trains in a directory that this process alone uses; returns the objective.

    `start` is the checkpoint to continue from; by default the newest one of the directory, if it has any.
    After a divergence it goes back to the last checkpoint, with other random numbers, if configured, and not asked to
    end.
    """
    tries = cfg.rollbacks if cfg.on_divergence == "rollback" else 0
    rollbacks = None  # of the run before, as its checkpoint says
    while True:
        try:
            return _train_once(run, cfg, started_with, job, start, rollbacks)
        except Diverged as error:
            if error.stop or not tries:
                raise
            where = "to the last checkpoint" if all_checkpoints(run) else "to the start, as there is no checkpoint"
            log.warning("%s. Going back %s, with other random numbers", error, where)
            tries, start, rollbacks = tries - 1, None, error.rollbacks + 1
        release_memory()  # here, where no traceback holds the run before: two may not fit


def _train_once(
    run: Path, cfg: DictConfig, started_with: Record, job: RunningJob, start: Path | None, rollbacks: int | None
) -> float:
    """Trains until the end or a divergence; `rollbacks` of the run before, None: as many as its checkpoint says."""
    redirected = lines_above_bar() if shows_bar() else nullcontext()
    with StopSignals() as signals, redirected, ExitStack() as stack:
        with Earlier() as earlier:
            prepared = prepare(cfg, started_with, run, start or run, job, rollbacks)
            if is_main():
                accept(run, started_with, prepared.trainer, first=rollbacks is None)
        if is_main():
            file_only = stack.enter_context(log_file(run, earlier.records))
        log.info("run directory %s", run)
        log.info("%s", prepared.trainer.dataset.describe())
        threads = thread_count(cfg, prepared.trainer)
        stack.enter_context(cpu_threads(threads))
        what = started_with.choices.get("dataset", "a dataset")
        log.info("training %s on %s", what, device_line(prepared.trainer, threads))
        loop = make_loop(run, cfg, prepared, job, signals, stack)
        introduce(loop.logger, cfg, started_with, prepared.scores)
        try:
            loop.fit()
        except BaseException as error:
            if isinstance(error, Diverged):
                error.rollbacks, (error.stop,) = prepared.trainer.rollbacks, any_rank(signals.stop())
            loop.write_status("failed", error)
            if is_main():
                file_only.error("%s", shown(error))
            raise
        return finish(run, cfg, loop, prepared.scores, signals)


@contextmanager
def lines_above_bar() -> Iterator[None]:
    """Prints the log above the progress bar, without what is for train.log alone: tqdm's handler has no level."""
    root = logging.getLogger()
    before = root.handlers[:]
    with logging_redirect_tqdm():
        for handler in [handler for handler in root.handlers if handler not in before]:
            handler.setLevel(logging.INFO)
        yield


def device_line(trainer: Trainer, threads: int) -> str:
    """Returns where and how it computes, such as `cpu (2 threads, float32)`."""
    of_cpu = f"{threads} thread{'s' * (threads > 1)}, " if trainer.device.type == "cpu" else ""
    return f"{trainer.device} ({of_cpu}{trainer.precision})"


def accept(run: Path, started_with: Record, trainer: Trainer, first: bool) -> None:
    """Writes what the run is started with. What it has of later steps goes to names that end in .later.

    The environment is written at the process's `first` start in the run.
    """
    step = trainer.step
    if any(step_of(path) > step for path in all_checkpoints(run)):
        set_aside_later_lines(run, step)  # before the checkpoints, which say that there are some
        log.info("steps after %d are given up: their checkpoints, scores, samples and lines end in .later now", step)
    set_aside_later(run, step)
    evaluation.set_aside_later(run, step)
    set_aside_later_samples(run, step)
    write_record(run, started_with)
    if first:
        record_environment(run, step, trainer.device, trainer.dataset.describe())


def make_loop(
    run: Path, cfg: DictConfig, prepared: Prepared, job: RunningJob, signals: StopSignals, stack: ExitStack
) -> TrainingLoop:
    trainer = prepared.trainer
    logger = Logger()
    if is_main():
        logger = RunLogger(run, trainer.step, trainer.images_seen)
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
    elif loop.pruned:
        loop.write_status("pruned")
        log.info("pruned after step %d: other trials had better scores at this step", trainer.step)
    else:
        loop.write_status("stopped")
        log.info("stopped after step %d, saved; go on with: wgangp-resume run=%s", trainer.step, run)
    signals.leave()
    return objective
