"""wgangp-summarize sweep=DIR: a sweep as a table, sorted by the objective, and as a page with plots."""

import csv
import math
from collections import Counter
from pathlib import Path

from omegaconf import DictConfig

from wgangp.app.compose import plain_command
from wgangp.sweeps.jobs import Group, Job, grouped, read_jobs, swept_keys
from wgangp.sweeps.search import importances


def main() -> None:
    plain_command(summarize, "summarize")


def summarize(cfg: DictConfig) -> None:
    """Prints a table, with a line for each group of seeds, and writes summary.csv (a line a job), .md and .html."""
    from wgangp.sweeps.report import page

    sweep = Path(cfg.sweep)
    jobs = read_jobs(sweep)
    objective = cfg.objective or next((job.monitor for job in jobs if job.monitor), "")
    if cfg.objective and not any(job.curve(objective) for job in jobs):
        known = sorted({name for job in jobs for row in job.rows for name in row})
        raise ValueError(f"objective={objective}: no job has this scalar; there are {', '.join(known)}")
    groups = grouped(jobs, objective)
    counts = Counter(job.status for job in jobs)
    told = ", ".join(f"{counts[s]} {s}" for s in ("done", "pruned", "running", "failed") if counts[s])
    heading = f"{len(jobs)} jobs, {told}; {objective}, best first"
    table = [[*groups[0].values, objective, "spread", "seeds", "minutes", "jobs"]]
    table += [cells(group, objective) for group in groups]
    notes = [f"job {job.directory.name} failed: {job.reason}" for job in jobs if job.status == "failed"]
    if found := importances(sweep):
        notes.append(
            "of the objective's variation is explained by " + ", ".join(f"{k} {v:.0%}" for k, v in found.items())
        )
    text = markdown(f"{sweep}: {heading}", table, notes)
    write_csv(sweep / "summary.csv", jobs, objective)
    (sweep / "summary.md").write_text(text)
    (sweep / "summary.html").write_text(page(sweep.resolve().name, heading, table, notes, groups, objective))
    print(text, sweep / "summary.html", sep="\n")


def write_csv(file: Path, jobs: list[Job], objective: str) -> None:
    keys = swept_keys(jobs)
    with open(file, "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["job", *keys, objective, "status", "seconds", "reason"])
        for job in jobs:
            values = [job.overrides.get(key, "") for key in keys]
            score = job.last(objective)
            told = "" if math.isnan(score) else score
            writer.writerow([job.directory.name, *values, told, job.status, round(job.seconds), job.reason])


def markdown(heading: str, table: list[list[str]], notes: list[str]) -> str:
    head, *rows = [f"| {' | '.join(cells)} |" for cells in table]
    lines = [heading, "", head, "|" + " --- |" * len(table[0]), *rows, "", *(f"* {note}" for note in notes)]
    return "\n".join(lines).rstrip() + "\n"


def cells(group: Group, objective: str) -> list[str]:
    """A group's line: its values, the objective's mean and deviation, how many have one, minutes a job, and which."""
    timed = [job.seconds for job in group.jobs if job.seconds]
    minutes = sum(timed) / len(timed) / 60 if timed else math.nan
    names = ", ".join(job.directory.name + ("" if job.status == "done" else f" {job.status}") for job in group.jobs)
    numbers = [group.mean(objective), group.spread(objective)]
    told = ["" if math.isnan(n) else f"{n:.4g}" for n in numbers]
    scored = str(len(group.scores(objective)))
    return [*group.values.values(), *told, scored, "" if math.isnan(minutes) else f"{minutes:.1f}", names]


if __name__ == "__main__":
    main()
