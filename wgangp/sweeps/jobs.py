"""The jobs of a sweep, finished or not, read from their directories alone."""

import math
import random
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wgangp.machine.text import shown
from wgangp.metrics import objective as monitors
from wgangp.run_dir.lock import is_locked
from wgangp.run_dir.record import Record, has_record
from wgangp.run_dir.rows import Row
from wgangp.run_dir.status import Status, read_status
from wgangp.sweeps.plan import read_plan
from wgangp.sweeps.reading import read_job_record, read_job_rows

ENOUGH = 6  # scores; of fewer, the range says as much as a bootstrap
ENDED = ("done", "pruned")  # the states of jobs whose last score counts


@dataclass(frozen=True)
class Job:
    """One job of a sweep: its overrides, its state and its scalars."""

    directory: Path
    id: str  # the directory's path below the sweep's
    name: str  # the run's `name`, empty if it has none
    overrides: dict[str, str]
    monitor: str
    higher_is_better: bool  # of the monitor
    status: str  # done, pruned, stopped, running or failed
    step: int  # that its last logged line, or its newest checkpoint, is of
    reason: str  # of the failure, one line
    seconds: float
    rows: list[Row]  # of each log step

    def curve(self, name: str) -> list[tuple[float, float]]:
        """(step, value) of the scalar `name` or eval/`name`."""
        found = [(row["step"], row.get(name, row.get(f"eval/{name}"))) for row in self.rows]
        return [(step, value) for step, value in found if value is not None]

    def last(self, name: str) -> float:
        """The scalar's last value; NaN if there is none, or if the job has not ended well."""
        curve = self.curve(name)
        return curve[-1][1] if curve and self.status in ENDED else math.nan


def read_job(directory: Path, sweep: Path | None = None) -> Job:
    """Reads a job's directory. A file that cannot be read makes a failed job, never an error."""
    record, rows = Record({}), read_job_rows(directory)
    try:
        record = read_job_record(directory)
        status = _status(directory, record.config, rows)
    except ValueError as error:
        status = Status("failed", reason=f"{error}")
    monitor = _text(record.config.get("monitor")) or shown(status.monitor)
    recorded = status.higher_is_better if status.monitor == monitor else None
    return Job(
        directory=directory,
        id=shown(directory.relative_to(sweep or directory.parent).as_posix()),
        name=_text(record.config.get("name")),
        overrides={key: value for key, _, value in map(_partition, record.overrides)},
        monitor=monitor,
        higher_is_better=monitors.higher_is_better(monitor, ()) if recorded is None else recorded,
        status=status.state,
        step=max([status.step, *(int(row["step"]) for row in rows[-1:])]),
        reason=shown(status.reason) if status.state == "failed" else "",
        seconds=_seconds(directory, status),
        rows=rows,
    )


def read_jobs(sweep: Path) -> list[Job]:
    """The jobs in the order in which they were planned. Raises FileNotFoundError if the directory holds none."""
    found = {path.parent.parent for path in sweep.rglob(".hydra/overrides.yaml")} - {sweep}
    if not found:
        where = shown(str(sweep))
        if has_record(sweep):
            raise FileNotFoundError(f"sweep={where} is one run: give the folder that has the jobs of a sweep")
        raise FileNotFoundError(f"sweep={where}: no jobs are there (looked for */.hydra/overrides.yaml)")
    plan = read_plan(sweep)
    order = {name: i for i, name in enumerate(plan.jobs)} if plan else {}

    def position(run: Path) -> tuple[int, int, str]:
        name = run.relative_to(sweep).as_posix()
        return order.get(name, len(order)), len(name), name

    return [read_job(run, sweep) for run in sorted(found, key=position)]


def missing(sweep: Path, jobs: Sequence[Job]) -> int:
    """How many jobs of the plan have not started."""
    plan, found = read_plan(sweep), {job.id for job in jobs}
    if plan is None:
        return 0
    return len(plan.jobs.keys() - found) if plan.jobs else max(0, plan.trials - len(found))


def swept_keys(jobs: Sequence[Job]) -> list[str]:
    """The overrides that are not the same in all jobs, the seed last."""
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    swept = [key for key in keys if len({job.overrides.get(key) for job in jobs if job.overrides}) > 1]
    return sorted(swept, key=lambda key: key == "seed")


def is_score(objective: str) -> bool:
    """Whether the scalar compares runs. The losses, and the critic's own estimate, scale with the penalty's weight."""
    room = objective.rpartition("/")[0]
    return room in ("", "eval", "validation", "throughput") and objective not in ("", "validation/critic_loss")


def higher_is_better(jobs: Sequence[Job], objective: str) -> bool:
    """As the jobs recorded it for their monitor, else as the score's name says."""
    name = objective.removeprefix("eval/")
    judged = [job.higher_is_better for job in jobs if job.monitor.removeprefix("eval/") == name]
    return any(judged) if judged else monitors.higher_is_better(objective, ())


@dataclass(frozen=True)
class Group:
    """Jobs that differ in nothing but their seed."""

    values: dict[str, str]  # of the swept keys
    jobs: list[Job]

    def scores(self, objective: str) -> list[float]:
        """The last values of the jobs that have one."""
        return [score for job in self.jobs if math.isfinite(score := job.last(objective))]

    def median(self, objective: str) -> float:
        scores = self.scores(objective)
        return statistics.median(scores) if scores else math.nan

    def interval(self, objective: str) -> tuple[float, float]:
        return median_interval(self.scores(objective))


def name_of_interval(n: int) -> str:
    """Returns what `median_interval` of n scores is."""
    return "95 % interval" if n >= ENOUGH else "lowest to highest"


def median_interval(scores: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median: percentiles of the medians of 2,000 bootstrap samples; NaN for a single score.

    Of fewer than ENOUGH scores it is the lowest and the highest, between which the median is with a probability of
    1 - 2^(1 - n): 94 % for five, 75 % for three.
    """
    if len(scores) < 2:
        return math.nan, math.nan
    if len(scores) < ENOUGH:
        return min(scores), max(scores)
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(scores, k=len(scores))) for _ in range(2000))
    return medians[50], medians[-51]


def grouped(jobs: Sequence[Job], objective: str) -> list[Group]:
    """The groups, best median first, those without a score last; in the jobs' order if the objective is no score."""
    keys = [key for key in swept_keys(jobs) if key != "seed"]
    groups: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        groups.setdefault(tuple(job.overrides.get(key, "") for key in keys), []).append(job)
    made = [Group(dict(zip(keys, values, strict=True)), members) for values, members in groups.items()]
    if not is_score(objective):
        return made
    higher = higher_is_better(jobs, objective)
    return sorted(made, key=lambda group: rank(group.median(objective), higher))


def rank(score: float, higher: bool) -> tuple[bool, float]:
    """Sorts the best first, and NaN last."""
    return math.isnan(score), -score if higher else score


def _status(run: Path, config: dict[str, Any], rows: list[Row]) -> Status:
    """The recorded state; of a run of an older version, which wrote none, what its metrics show."""
    if status := read_status(run):
        return status
    steps, step = config.get("steps"), int(rows[-1]["step"]) if rows else 0
    if isinstance(steps, int) and rows and step >= steps:
        return Status("done", step)
    if is_locked(run):
        return Status("running", step)
    return Status("failed", step, reason=f"no status.json: the last logged step is {step} of {steps}")


def _seconds(run: Path, status: Status) -> float:
    """The recorded time, or the time from the first file's to the last's."""
    metrics, overrides = run / "metrics.jsonl", run / ".hydra" / "overrides.yaml"
    if 0 < status.seconds < math.inf:
        return float(status.seconds)
    try:
        return max(0.0, metrics.stat().st_mtime - overrides.stat().st_mtime)
    except OSError:  # absent, or of another user
        return 0.0


def _partition(override: str) -> tuple[str, str, str]:
    return shown(override).partition("=")


def _text(value: object) -> str:
    return shown(value) if isinstance(value, str) else "" if value is None else shown(f"{value!s:.100}")


def shortened(value: str) -> str:
    """Numbers that a search drew have more digits than anybody reads."""
    return f"{float(value):.4g}" if re.fullmatch(r"\d*\.\d{6,}(e-?\d+)?", value) else value
