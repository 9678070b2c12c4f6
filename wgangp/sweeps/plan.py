"""The plan of a sweep, sweep.json: shows which jobs of a killed sweep are missing."""

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from hydra.core.override_parser.types import Quote, QuotedString

from wgangp.run_dir.claim import numbered
from wgangp.run_dir.files import read_json, replace_json
from wgangp.run_dir.record import has_record
from wgangp.sweeps.reading import read_job_record

log = logging.getLogger(__name__)
LONGEST_NAME = 255  # bytes of a folder's name


class PlannedJob(NamedTuple):
    number: int
    name: str  # its directory in the sweep's
    overrides: list[str]


@dataclass(frozen=True)
class Plan:
    """Of a grid every job's overrides, by its directory; of a search the number of trials."""

    started: str  # date and time of the first start
    jobs: dict[str, list[str]] = field(default_factory=dict)
    trials: int = 0


def write_plan(sweep: Path, plan: Plan) -> None:
    replace_json(sweep / "sweep.json", asdict(plan))


def read_plan(sweep: Path) -> Plan | None:
    """The plan; None if the sweep has no readable one, as those of older versions."""
    try:
        found = read_json(sweep / "sweep.json")
        jobs = {str(name): [str(override) for override in job] for name, job in found["jobs"].items()}
        return Plan(str(found["started"]), jobs, int(found["trials"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def started_at(plan: Plan | None) -> str:
    """Returns the date and time of the sweep's first start: now, if it has no plan."""
    return plan.started if plan else f"{datetime.now():%Y-%m-%d %H:%M}"


def check_names(jobs: Sequence[PlannedJob]) -> None:
    """Raises ValueError if two are the same, or would share a directory, or one lies elsewhere."""
    taken: dict[Path, int] = {}
    first: dict[tuple[str, ...], int] = {}
    for job in jobs:
        if (same := first.setdefault(tuple(job.overrides), job.number)) != job.number:
            raise ValueError(
                f"jobs {same} and {job.number} are the same, {' '.join(job.overrides)}: give each value once"
            )
        path = Path(job.name)
        if (longest := max((len(os.fsencode(part)) for part in path.parts), default=0)) > LONGEST_NAME:
            raise ValueError(
                f"hydra.sweep.subdir makes a name of {longest} bytes for job {job.number}, and disks take "
                f"{LONGEST_NAME}: set it to a shorter one, such as ${{hydra.job.num}}"
            )
        if path.is_absolute() or ".." in path.parts or not path.parts or "${" in job.name or path.parts[0][0] == ".":
            raise ValueError(f"hydra.sweep.subdir={job.name}: give a name below the sweep's directory")
        if path in taken:
            raise ValueError(
                f"hydra.sweep.subdir={job.name}: jobs {taken[path]} and {job.number} would share this directory; "
                "let its name contain a swept key, or ${hydra.job.num}"
            )
        taken[path] = job.number


def check_free(folder: Path, name: str, number: int) -> None:
    """Raises ValueError if the next trial would not have another directory."""
    if name != str(number):
        raise ValueError(f"{folder / name} has a run: let hydra.sweep.subdir contain ${{hydra.job.num}}")


def check_same(folder: Path, job: PlannedJob, plan: Plan | None) -> None:
    """Raises ValueError if the job's directory is of another job. A resumed run may have more overrides, and steps."""
    if not has_record(folder / job.name):
        return
    planned = plan.jobs.get(job.name) if plan else None
    try:
        before = read_job_record(folder / job.name).overrides if planned is None else planned
    except ValueError:
        return  # it failed; the run itself decides whether it can be done again
    if planned not in (None, job.overrides) or any(o not in before for o in job.overrides if not is_steps(o)):
        raise other_sweep(folder / job.name)


def other_sweep(folder: Path) -> ValueError:
    return ValueError(f"{folder} is of another sweep: give another hydra.sweep.dir, or the same command as there")


def check_count(key: str, value: object) -> None:
    """Raises ValueError if the value is no whole number of at least 1."""
    if type(value) is not int or value < 1:
        raise ValueError(f"{key}={value}: give a whole number of at least 1")


def set_aside(judged: Path, earlier: Path, jobs: Sequence[Sequence[str]]) -> None:
    """Moves seeds that were judged at other values than these jobs' into `earlier`, under a free name."""

    def values(jobs: Sequence[Sequence[str]]) -> set[tuple[str, ...]]:
        return {tuple(o for o in job if not o.startswith("seed=")) for job in jobs}

    if (plan := read_plan(judged)) and values(list(plan.jobs.values())) != values(jobs):
        earlier.mkdir(exist_ok=True)
        place = next(path for path in numbered(earlier / judged.name) if not path.exists())
        judged.rename(place)
        log.info("%s: the search has found better values; the seeds of the former ones are in %s", judged.name, place)


def is_steps(override: str) -> bool:
    return override.partition("=")[0] == "steps"


def directory_overrides(folder: Path, name: str) -> list[str]:
    """What makes Hydra run a job in the directory `name` of the sweep's folder, whatever its name is."""
    found = {"hydra.sweep.dir": str(folder), "hydra.sweep.subdir": name}
    return [f"{key}={QuotedString(text=text, quote=Quote.single).with_quotes()}" for key, text in found.items()]
