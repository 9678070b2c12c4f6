"""The jobs of a sweep, read from their directories alone, finished or not."""

import fcntl
import json
import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from wgangp.metrics.objective import sign
from wgangp.run_dir.record import read_yaml


@dataclass(frozen=True)
class Job:
    """A job: what it was started with, how it stands, and its scalars (n_rows of {"step": ..., NAME: ...})."""

    directory: Path
    overrides: dict[str, str]
    monitor: str
    status: str  # done, pruned, running or failed
    reason: str  # of the failure
    seconds: float
    rows: list[dict[str, float]]

    def curve(self, name: str) -> list[tuple[float, float]]:
        """(step, value) of a scalar, or of eval/ that name."""
        found = [(row["step"], row.get(name, row.get(f"eval/{name}"))) for row in self.rows]
        return [(step, value) for step, value in found if value is not None]

    def last(self, name: str) -> float:
        """The scalar's last value; NaN where there is none, and of a job that failed or has not come to its end."""
        curve = self.curve(name)
        return curve[-1][1] if curve and self.status in ("done", "pruned") else math.nan


def read_job(directory: Path) -> Job:
    """Raises OSError where the directory is of no job."""
    hydra = directory / ".hydra"
    overrides = [text.partition("=") for text in read_yaml(hydra / "overrides.yaml")]
    config: Any = OmegaConf.load(hydra / "config.yaml") if (hydra / "config.yaml").exists() else {}
    metrics = directory / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    rows = [row for line in lines if (row := _parsed(line))]
    steps, step = config.get("steps", 0), int(rows[-1]["step"]) if rows else 0
    status = _status(directory) if step < steps or not rows else "done"
    return Job(
        directory=directory,
        overrides={key: _shortened(value) for key, _, value in overrides},
        monitor=config.get("monitor", ""),
        status=status,
        reason=_reason(directory, step) if status == "failed" else "",
        seconds=metrics.stat().st_mtime - (hydra / "overrides.yaml").stat().st_mtime if rows else 0.0,
        rows=rows,
    )


def read_jobs(sweep: Path) -> list[Job]:
    """The jobs in their order. Raises FileNotFoundError where the directory holds none."""
    found = [path.parent.parent for path in sweep.glob("*/.hydra/overrides.yaml")]
    if not found:
        raise FileNotFoundError(f"sweep={sweep}: no jobs are there (looked for */.hydra/overrides.yaml)")
    return [read_job(path) for path in sorted(found, key=lambda path: (len(path.name), path.name))]


def swept_keys(jobs: Sequence[Job]) -> list[str]:
    """The overrides that are not the same in all jobs, the seed last."""
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    swept = [key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1]
    return sorted(swept, key=lambda key: key == "seed")


@dataclass(frozen=True)
class Group:
    """Jobs that differ in nothing but their seed."""

    values: dict[str, str]  # of the swept keys
    jobs: list[Job]

    def scores(self, objective: str) -> list[float]:
        """Of the jobs that have one."""
        return [score for job in self.jobs if math.isfinite(score := job.last(objective))]

    def mean(self, objective: str) -> float:
        scores = self.scores(objective)
        return statistics.mean(scores) if scores else math.nan

    def spread(self, objective: str) -> float:
        """The standard deviation over the seeds; NaN for a single one."""
        scores = self.scores(objective)
        return statistics.stdev(scores) if len(scores) > 1 else math.nan


def grouped(jobs: Sequence[Job], objective: str) -> list[Group]:
    """The groups, best mean first, those without a score last."""
    keys = [key for key in swept_keys(jobs) if key != "seed"]
    groups: dict[tuple, list[Job]] = {}
    for job in jobs:
        groups.setdefault(tuple(job.overrides.get(key, "") for key in keys), []).append(job)
    made = [Group(dict(zip(keys, values, strict=True)), members) for values, members in groups.items()]
    return sorted(made, key=lambda group: rank(group.mean(objective), objective))


def rank(score: float, objective: str) -> tuple[bool, float]:
    """Sorts the best first, and NaN last."""
    return math.isnan(score), sign(objective) * score


def _shortened(value: str) -> str:
    """Numbers that a search drew have more digits than anybody reads."""
    return f"{float(value):.4g}" if re.fullmatch(r"\d*\.\d{6,}(e-?\d+)?", value) else value


def _parsed(line: str) -> dict[str, float] | None:
    """A line of metrics.jsonl; None for one that a crash cut off."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def _status(run: Path) -> str:
    """Of a job that has not come to its end."""
    log = run / "train.log"
    if log.exists() and "[INFO] - pruned after step" in log.read_text():
        return "pruned"
    return "running" if _is_locked(run) else "failed"


def _is_locked(run: Path) -> bool:
    """Whether a living process trains there."""
    try:
        with open(run / ".lock") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _reason(run: Path, step: int) -> str:
    """The last line of the job's log, or how far it came."""
    log = run / "train.log"
    lines = log.read_text().splitlines() if log.exists() else []
    errors = [line for line in lines if "[ERROR]" in line]
    return errors[-1].partition("[ERROR] - ")[2] if errors else f"ended without a word after step {step}"
