"""A sweep in numbers: the groups of its jobs as a table, and every job with all its scores as CSV."""

import csv
import io
import math
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from wgangp.machine.text import shown
from wgangp.run_dir.environment import read_environments
from wgangp.run_dir.status import STATES
from wgangp.sweeps.escape import csv_cell, number
from wgangp.sweeps.jobs import (
    Group,
    Job,
    grouped,
    higher_is_better,
    is_score,
    missing,
    name_of_interval,
    shortened,
    swept_keys,
)
from wgangp.sweeps.plan import read_plan


@dataclass(frozen=True)
class Summary:
    """What the table and the page of a sweep show. All text is free of control characters."""

    title: str
    heading: str  # the counts of jobs, the objective and the order
    origin: dict[str, str]  # the command, the date and the commit, where they are known
    head: list[str]
    lines: list[list[str]]  # one for each group
    groups: list[Group]
    notes: list[str]
    objective: str
    higher_is_better: bool
    ranked: bool  # whether the objective is a score, so that there is a best job


def summarise_jobs(sweep: Path, jobs: list[Job], objective: str, notes: Sequence[str]) -> Summary:
    """`notes` follow the sentences about failed jobs."""
    groups, ranked = grouped(jobs, objective), is_score(objective)
    higher = higher_is_better(jobs, objective)
    counts = Counter(job.status for job in jobs) | Counter({"not started": missing(sweep, jobs)})
    stated = ", ".join(f"{counts[state]} {state}" for state in (*STATES, "not started") if counts[state])
    order = f"{'higher' if higher else 'lower'} is better, best first" if ranked else "in the jobs' order"
    failures = [f"job {job.id} failed: {job.reason}" for job in jobs if job.status == "failed"]
    waiting = [how_to_continue(sweep, counts["not started"])] if counts["not started"] else []
    named = name_column(jobs)
    interval = name_of_interval(max(len(group.scores(objective)) for group in groups))
    return Summary(
        title=shown(sweep.resolve().name),
        heading=f"{len(jobs) + counts['not started']} jobs, {stated}; {shown(objective) or 'no monitor'}, {order}",
        origin=origin(sweep, jobs),
        head=[*named, *groups[0].values, shown(objective), interval, "seeds", "minutes", "jobs"],
        lines=[cells(group, objective, named) for group in groups],
        groups=groups,
        notes=[*([] if ranked else [no_best(objective)]), *waiting, *failures, *map(shown, notes)],
        objective=objective,
        higher_is_better=higher,
        ranked=ranked,
    )


def how_to_continue(sweep: Path, count: int) -> str:
    which = "1 job has" if count == 1 else f"{count} jobs have"
    again = f"hydra.sweep.dir={shown(str(sweep))}"
    return f"{which} not started: if the sweep was ended, give its command again with {again}"


def no_best(objective: str) -> str:
    name = shown(objective) or "an empty monitor"
    return (
        f"{name} is no score of the samples: losses and the critic's own estimate scale with penalty.weight, so no job "
        "is the best. For a ranking give objective=eval/..., or monitor=eval/... to the sweep"
    )


def name_column(jobs: Sequence[Job]) -> list[str]:
    """["name"] if the runs have names that no swept key shows."""
    return ["name"] if any(job.name for job in jobs) and "name" not in swept_keys(jobs) else []


def cells(group: Group, objective: str, named: Sequence[str]) -> list[str]:
    """A group's names, values, median objective and interval, number of scores, minutes a job, and jobs."""
    timed = [job.seconds for job in group.jobs if job.seconds]
    minutes = in_minutes(sum(timed) / len(timed)) if timed else ""
    low, high = map(rounded, group.interval(objective))
    numbers = [rounded(group.median(objective)), f"{low} to {high}" if low else "", str(len(group.scores(objective)))]
    names = [", ".join(dict.fromkeys(job.name for job in group.jobs if job.name))] if named else []
    jobs = ", ".join(f"{job.id}{how_it_ended(job)}" for job in group.jobs)
    return [*names, *map(shortened, group.values.values()), *numbers, minutes, jobs]


def in_minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}" if seconds >= 60 else f"{seconds / 60:.1g}"


def how_it_ended(job: Job) -> str:
    """The state of a job that is not done, and its last step, if it has done one."""
    after = f" after step {job.step}" if job.step else ""
    return "" if job.status == "done" else f" {job.status}{after}"


def rounded(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4g}"


def is_number_column(column: Sequence[str]) -> bool:
    """Whether the column's cells are numbers, which are aligned to the right; some may be empty."""
    return any(column) and all(not cell or number(cell) is not None for cell in column)


def origin(sweep: Path, jobs: Sequence[Job]) -> dict[str, str]:
    """The command and the commits by the jobs' environment.json, and the date of the first start."""
    environments = [environment for job in jobs for environment in read_environments(job.directory)]
    commands = [shlex.join(map(str, c)) for e in environments if isinstance(c := e.get("command"), list)]
    commits = dict.fromkeys(str(e["commit"]) for e in environments if e.get("commit"))
    plan = read_plan(sweep)
    first = min((job.directory / ".hydra" / "overrides.yaml").stat().st_mtime for job in jobs)
    found = {
        "command": commands[0] if commands else "",
        "date": plan.started if plan else f"{datetime.fromtimestamp(first):%Y-%m-%d %H:%M}",
        "commit": ", ".join(commits),
    }
    return {key: shown(value) for key, value in found.items() if value}


def as_markdown(title: str, summary: Summary, escape: Callable[[str], str]) -> str:
    """The table and the notes; `escape` makes their text safe for a terminal, or for a Markdown file."""
    rule = ["---:" if is_number_column(column) else "---" for column in zip(*summary.lines, strict=True)]
    head, *rows = [f"| {' | '.join(map(escape, line))} |" for line in (summary.head, *summary.lines)]
    lines = [f"{escape(title)}: {escape(summary.heading)}", "", head, f"| {' | '.join(rule)} |", *rows, ""]
    lines += [f"* {escape(note)}" for note in summary.notes]
    return "\n".join(lines).rstrip() + "\n"


def as_csv(jobs: Sequence[Job], objective: str) -> str:
    """One line a job: its name, values, last objective and every other score, state, step, seconds and reason."""
    named, keys = name_column(jobs), swept_keys(jobs)
    scores = sorted(
        {name for job in jobs for row in job.rows for name in row if name.startswith(("eval/", "validation/"))}
    )
    columns = [objective, *(name for name in scores if name not in (objective, f"eval/{objective}"))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(csv_cell, ["job", *named, *keys, *columns, "status", "step", "seconds", "reason"]))
    for job in jobs:
        values = [job.overrides.get(key, "") for key in keys]
        last = ["" if math.isnan(value := job.last(name)) else repr(value) for name in columns]
        names = [job.name] if named else []
        writer.writerow(
            map(csv_cell, [job.id, *names, *values, *last, job.status, str(job.step), f"{job.seconds:.1f}", job.reason])
        )
    return out.getvalue()
