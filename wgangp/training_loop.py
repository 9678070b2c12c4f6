"""The loop around Algorithm 1: logs, scores, pictures and checkpoints at their intervals, and the end of a run."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from wgangp.machine.distributed import any_rank, is_main
from wgangp.machine.finite import check_finite
from wgangp.machine.text import shown, typed
from wgangp.metrics.objective import Trial, monitored
from wgangp.observer import Observer
from wgangp.progress import Progress, shows_bar
from wgangp.run_dir.checkpoint import Checkpoints, State, all_checkpoints, load_newest
from wgangp.run_dir.header import header_of
from wgangp.run_dir.logger import Logger, Values
from wgangp.run_dir.record import flatten
from wgangp.run_dir.status import Status, read_status, write_status
from wgangp.speed import check_graphs
from wgangp.trainer import Logs, Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Intervals:
    """The interval of each action, in steps. 0: only after the last step; of pictures: never."""

    log: int
    sample: int
    evaluate: int
    checkpoint: int


def due(step: int, last: bool, interval: int) -> bool:
    return last or (interval > 0 and step % interval == 0)


class TrainingLoop:
    """Trains from the current step to the last one, or until it is asked to stop. Owns what watches and records.

    `stop()` ends the run after its step, `save()` asks for a checkpoint now; `trial` may prune the run.
    """

    def __init__(
        self,
        trainer: Trainer,
        observer: Observer,
        logger: Logger,
        checkpoints: Checkpoints,
        intervals: Intervals,
        *,
        stop: Callable[[], bool],
        save: Callable[[], bool],
        trial: Trial | None,
        step: Callable[[], Logs],
    ) -> None:
        """`step` is trainer.train_step, or the same under a profiler."""
        self.trainer, self.observer, self.logger, self.checkpoints = trainer, observer, logger, checkpoints
        self.intervals, self.stop, self.save, self.trial, self.step = intervals, stop, save, trial, step
        self.latest: dict[str, float] = {}  # scalars of the last log step, and of the last evaluation
        self.pruned, self.not_drawn = False, ""  # the reason of the last picture that failed
        found = read_status(checkpoints.run) if trainer.step else None
        self.before = found or Status("running")  # of earlier processes
        if self.before.value is not None and self.before.step <= trainer.step:  # no score of a future that is given up
            name = self.before.monitor
            self.latest[name if "/" in name else f"eval/{name}"] = self.before.value
        self.progress = Progress(trainer.step, trainer.steps, on_cpu=trainer.device.type == "cpu")

    def fit(self) -> None:
        """Raises Diverged if a loss, gradient or weight is not finite at a step that is logged, scored or saved."""
        t, stopped = self.trainer, False
        self.write_status("running")
        if t.step == t.steps:
            self.look_again()
        with self.progress.bar() as bar:
            while t.step < t.steps and not stopped:
                logs = self.step()
                last = t.step == t.steps
                stopped, wanted = any_rank(self.stop(), self.save())
                every = partial(due, t.step, last)
                saving = every(self.intervals.checkpoint) or stopped or wanted
                logging_now, scoring = every(self.intervals.log), every(self.intervals.evaluate)
                if logging_now or scoring or saving:
                    self.check_finite(logs)
                if last:  # before the scores, which may take minutes: a process that is killed meanwhile loses no step
                    self.checkpoints.save(t.step, t.state())
                if logging_now or scoring:
                    check_graphs(t)
                    self.record(self.observer.measure(logs) if logging_now else {}, self.scores() if scoring else {})
                stopped |= self.pruned  # by the record above
                if saving or stopped:
                    if not last:
                        self.checkpoints.save(t.step, t.state())
                    self.write_status("running")
                if self.intervals.sample and every(self.intervals.sample):
                    with self.logger.untimed():
                        self.write_picture()
                if bar.update():
                    bar.set_postfix_str(self.status(logs, bar.format_dict["rate"]))
                self.progress.warn_if_hopeless(t.step)

    def status(self, logs: Logs, rate: float | None) -> str:
        """Returns the progress bar's figures. Reading the loss waits for the device, so ask at most once a second."""
        t, norm = self.trainer, self.latest.get("critic/gradient_norm", math.nan)
        distance = logs["critic/wasserstein"].item()
        return f"W {distance:.3f}, |grad| {norm:.3f}, {(rate or 0) * t.n_critic * t.batch_size:,.0f} img/s"

    def scores(self) -> dict[str, float]:
        """Returns the averaged generator's scores, and keeps its checkpoint if it is the best; forgets earlier ones."""
        t = self.trainer
        with self.logger.untimed():
            scores = self.observer.evaluate()
        self.latest = {name: value for name, value in self.latest.items() if not name.startswith("eval/")}
        self.checkpoints.save_if_best(t.step, scores, t.state)
        return scores

    def look_again(self) -> None:
        """Scores and draws again: a process that was killed after its last checkpoint did not report its end."""
        t, scores = self.trainer, self.scores()
        logged = self.logger.scalars(t.step)
        if scores.keys() - logged.keys():
            self.logger.write(t.step, t.images_seen, dict(scores))
        self.latest |= logged | scores
        if self.intervals.sample:
            self.write_picture()

    def save_last(self) -> None:
        """Saves what the loop could not. Raises OSError if the disk has still no room."""
        t, checkpoints = self.trainer, self.checkpoints
        if is_main() and checkpoints.saved_step < t.step:
            checkpoints.save(t.step, t.state())
            if checkpoints.saved_step < t.step:
                raise OSError(
                    f"the last checkpoint, of step {t.step}, cannot be written, and the run is not saved beyond step "
                    f"{checkpoints.saved_step}: make room on the disk, then wgangp-resume run={checkpoints.run}"
                )

    def check_finite(self, logs: Logs) -> None:
        t = self.trainer
        check_finite(t.step, logs, {"critic": t.critic, "generator": t.generator}, t.optimizers, self.latest)

    def record(self, measured: Values, scores: dict[str, float]) -> None:
        """Writes what was measured at this step, and the scores if it was scored."""
        t, values = self.trainer, measured | scores
        scalars = {name: value for name, value in values.items() if isinstance(value, int | float)}
        self.latest |= scalars
        self.logger.write(t.step, t.images_seen, values)
        log.log(logging.DEBUG if shows_bar() else logging.INFO, "%s", self.progress.line(t.step, scalars))
        self.progress.warn_if_flat(t.step, scalars)
        value = monitored(scalars, self.checkpoints.monitor)
        if self.trial is not None and not math.isnan(value):
            self.pruned = self.trial.report(t.step, value)

    def write_picture(self) -> None:
        """Writes the picture of samples. Why it cannot be drawn is logged once: training continues."""
        try:
            self.logger.picture(self.trainer.step, self.observer.picture())
            if frames := self.observer.film():
                self.logger.film(self.trainer.step, frames)
        except Exception as error:
            reason = shown(error)
            if reason != self.not_drawn:
                log.error("the picture of step %d cannot be drawn: %s", self.trainer.step, reason)
                log.debug("the picture", exc_info=error)
            self.not_drawn = reason

    def write_status(self, state: str, error: BaseException | None = None) -> None:
        """Replaces status.json."""
        if not is_main():
            return
        value = monitored(self.latest, self.checkpoints.monitor)
        status = Status(
            state=state,
            step=self.trainer.step if state in ("done", "pruned", "stopped") else self.checkpoints.saved_step,
            steps=self.trainer.steps,
            reason=shown(error) if error else "",
            error=type(error).__name__ if error else "",
            monitor=self.checkpoints.monitor,
            higher_is_better=self.checkpoints.higher_is_better,
            value=None if math.isnan(value) else value,
            seconds=round(self.before.seconds + self.progress.seconds(), 1),
        )
        try:
            write_status(self.checkpoints.run, status)
        except OSError as failure:
            log.error("status.json is not written: %s", failure)


def checkpoint_to_resume(start: Path) -> tuple[Path, State] | None:
    """Returns the newest sound checkpoint of a run directory, or the one that `start` is; None if it has none."""
    if start.is_dir() and not all_checkpoints(start):
        return None
    return load_newest(start, set_aside=is_main())


def resume_from_checkpoint(trainer: Trainer, path: Path, state: State, config: dict[str, Any]) -> None:
    """Loads the checkpoint, and logs what is configured differently now."""
    before, now = flatten(header_of(state).config), flatten(config)
    for key in sorted(before):  # keys that are new in today's conf/ have their defaults
        if before[key] != now.get(key):
            log.info("resuming with %s=%s (it was %s)", key, typed(now.get(key)), shown(typed(before[key])))
    if "images_seen" not in state:  # of an older checkpoint
        state["images_seen"] = state["step"] * before["n_critic"] * before["batch_size"]
    if before.get("penalty.weight") != now.get("penalty.weight"):
        state.get("penalty", {}).pop("schedule.value", None)  # an adaptive weight begins at the new one
    trainer.load_state(state)
    log.info("resuming after step %d from %s", trainer.step, path)
