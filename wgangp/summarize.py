"""wgangp-summarize sweep=DIR: a sweep as a table, sorted by the objective, and as a page with plots."""

from pathlib import Path

from omegaconf import DictConfig

from wgangp.app.compose import plain_command
from wgangp.run_dir.files import replace_text
from wgangp.sweeps.escape import markdown_cell, terminal
from wgangp.sweeps.jobs import read_jobs
from wgangp.sweeps.search import importances
from wgangp.sweeps.tables import as_csv, as_markdown, summary


def main() -> None:
    plain_command(summarize, "summarize")


def summarize(cfg: DictConfig) -> None:
    """Prints a table, with a line for each group of seeds, and writes summary.csv (a line a job), .md and .html."""
    from wgangp.sweeps.report import page

    sweep = Path(str(cfg.sweep)).expanduser()
    jobs = read_jobs(sweep)
    objective = cfg.objective or next((job.monitor for job in jobs if job.monitor), "")
    if cfg.objective and not any(job.curve(objective) for job in jobs):
        known = sorted({terminal(name) for job in jobs for row in job.rows for name in row})
        raise ValueError(f"objective={objective}: no job has this scalar; there are {', '.join(known)}")
    made = summary(sweep, jobs, objective, importances(sweep))
    replace_text(sweep / "summary.csv", as_csv(jobs, objective))
    replace_text(sweep / "summary.md", as_markdown(sweep.name, made, markdown_cell))
    replace_text(sweep / "summary.html", page(sweep, made))
    print(as_markdown(str(sweep), made, terminal), terminal(str(sweep / "summary.html")), sep="\n")


if __name__ == "__main__":
    main()
