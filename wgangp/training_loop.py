"""The loop around Algorithm 1: logs, scores, pictures and checkpoints at their intervals, and the end of a run."""

import logging
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from wgangp.machine.distributed import any_rank, is_main
from wgangp.machine.finite import check_finite
from wgangp.metrics.objective import Trial, monitored
from wgangp.observer import Observer
from wgangp.run_dir.checkpoint import Checkpoints, State, all_checkpoints, header_of, load_newest
from wgangp.run_dir.logger import Logger, Values
from wgangp.run_dir.record import flatten
from wgangp.run_dir.status import Status, write_status
from wgangp.trainer import Logs, Trainer

log = logging.getLogger(__name__)
MOST_CPU_HOURS = 3  # of a run; longer ones get a warning at their start
CPU_RUNS = "dataset=gaussians25; dataset=mnist generator.width=16 critic.width=16 steps=3000"


@dataclass(frozen=True)
class Intervals:
    """Steps between two of each kind; 0: only after the last step, and no picture at all."""

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
        self.started, self.first_step = time.monotonic(), trainer.step
        self.warm = self.started  # when the first step was done, which compiles
        self.estimated = trainer.device.type != "cpu"

    def fit(self) -> None:
        """Raises Diverged if a loss, gradient or weight is not finite at a step that is logged, scored or saved."""
        t, stopped = self.trainer, False
        self.write_status("running")
        if t.step == t.steps:
            self.look_again()
        with self._bar() as bar:
            while t.step < t.steps and not stopped:
                logs = self.step()
                last = t.step == t.steps
                stopped = any_rank(self.stop() or self.pruned)
                every = partial(due, t.step, last)
                saving = every(self.intervals.checkpoint) or stopped or any_rank(self.save())
                if every(self.intervals.log) or every(self.intervals.evaluate) or saving:
                    self.check_finite(logs)
                if every(self.intervals.log):
                    self.record(logs, with_scores=every(self.intervals.evaluate))
                elif every(self.intervals.evaluate):
                    self.record({}, with_scores=True)
                if saving:
                    self.checkpoints.save(t.step, t.state())
                    self.write_status("running")
                if self.intervals.sample and every(self.intervals.sample):
                    self.draw()
                self.show(bar, logs)

    def look_again(self) -> None:
        """Scores and draws what a process that was killed after its last checkpoint had no time to report."""
        self.record({}, with_scores=True)
        if self.intervals.sample:
            self.draw()

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

    def record(self, logs: Logs, with_scores: bool) -> None:
        """Writes the scalars of this step, and the scores of the averaged generator."""
        t = self.trainer
        values: Values = self.observer.measure(logs) if logs else {}
        if with_scores:
            scores = self.observer.evaluate()
            self.latest = {name: value for name, value in self.latest.items() if not name.startswith("eval/")}
            values |= scores
            self.checkpoints.save_if_best(t.step, scores, t.state)
        self.latest |= {name: value for name, value in values.items() if isinstance(value, int | float)}
        self.logger.write(t.step, values)
        log.log(logging.DEBUG if shows_bar() else logging.INFO, "%s", self.line())
        value = monitored({k: v for k, v in values.items() if isinstance(v, int | float)}, self.checkpoints.monitor)
        if self.trial is not None and value == value:
            self.pruned = self.trial.report(t.step, value)

    def draw(self) -> None:
        """Writes the picture of samples. Why it cannot be drawn is logged once: training continues."""
        try:
            self.logger.picture(self.trainer.step, self.observer.picture())
        except Exception as error:
            reason = " ".join(str(error).split())
            if reason != self.not_drawn:
                log.error("the picture of step %d cannot be drawn: %s", self.trainer.step, reason)
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
            reason=" ".join(str(error).split()) if error else "",
            error=type(error).__name__ if error else "",
            monitor=self.checkpoints.monitor,
            higher_is_better=self.checkpoints.sign < 0,
            value=value if value == value else None,
            seconds=round(time.monotonic() - self.started, 1),
        )
        try:
            write_status(self.checkpoints.run, status)
        except OSError as failure:
            log.error("status.json is not written: %s", failure)

    # ---- what is shown while it trains

    def line(self) -> str:
        """One line for logs and terminals without a progress bar."""
        t, elapsed = self.trainer, time.monotonic() - self.started
        done = t.step - self.first_step
        left = duration(elapsed / max(done, 1) * (t.steps - t.step))
        keys = ("critic/wasserstein", "critic/loss", "generator/loss", "critic/gradient_norm")
        scores = [name for name in self.latest if name.startswith("eval/")]
        shown = ", ".join(f"{key} {self.latest[key]:.4g}" for key in (*keys, *scores) if key in self.latest)
        return f"step {t.step} of {t.steps}: {shown}; {done / max(elapsed, 1e-9):.2f} steps/s, {left} left"

    def show(self, bar: "tqdm[Any]", logs: Logs) -> None:
        if bar.update():
            bar.set_postfix_str(self.observer.status(logs, bar.format_dict["rate"]))
        if not self.estimated:
            self.estimate()

    def estimate(self) -> None:
        """Once, after eleven steps or half a minute: warns of a run that takes many hours on a CPU."""
        t, now = self.trainer, time.monotonic()
        done = t.step - self.first_step - 1
        if done == 0:
            self.warm = now
        elif done == 10 or now - self.warm > 30:
            self.estimated = True
            seconds = (now - self.warm) / done
            if seconds * (t.steps - t.step) > 3600 * MOST_CPU_HOURS:
                log.warning(
                    "this run takes about %s on this CPU, at %.2g s a step. Runs that fit: steps=%d of this one; its "
                    "networks made narrower by generator.width=16 critic.width=16; %s. Or use a GPU",
                    duration(seconds * (t.steps - t.step)),
                    seconds,
                    round_down(3600 * MOST_CPU_HOURS / seconds),
                    CPU_RUNS,
                )

    def _bar(self) -> "tqdm[Any]":
        return tqdm(
            total=self.trainer.steps,
            initial=self.trainer.step,
            unit="step",
            mininterval=1,
            dynamic_ncols=True,
            disable=not shows_bar(),
        )


def shows_bar() -> bool:
    """Whether a progress bar is shown: on terminals. Elsewhere each log step is a line."""
    return is_main() and sys.stderr is not None and sys.stderr.isatty()


def round_down(number: float) -> int:
    """Returns a whole number of two digits and zeros, at least 1: 1,234 becomes 1,200."""
    unit = 10 ** max(0, math.floor(math.log10(max(number, 1))) - 1)
    return max(1, int(number // unit * unit))


def duration(seconds: float) -> str:
    """Returns 2 d 3 h, 5 h 20 min, 12 min, or 40 s."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


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
            log.info("resuming with %s=%s (it was %s)", key, now.get(key), " ".join(str(before[key]).split()))
    trainer.load_state(state)
    log.info("resuming after step %d from %s", trainer.step, path)
