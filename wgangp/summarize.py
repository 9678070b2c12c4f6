"""wgangp-summarize sweep=DIR: a sweep as a table, sorted by the objective, and as a page with plots."""

from collections import Counter
from pathlib import Path

from omegaconf import DictConfig

from wgangp.app.command_line import plain_command
from wgangp.machine.paths import local_path
from wgangp.machine.text import shown
from wgangp.run_dir.files import replace_text
from wgangp.sweeps.escape import markdown_cell
from wgangp.sweeps.jobs import read_jobs
from wgangp.sweeps.search import importances
from wgangp.sweeps.tables import as_csv, as_markdown, summarise_jobs


def main() -> None:
    plain_command(summarize, "summarize")


def summarize(cfg: DictConfig) -> None:
    """Prints a table, with a line for each group of seeds, and writes summary.csv (a line a job), .md and .html."""
    from wgangp.sweeps.report import page

    sweep = local_path(cfg.sweep)
    if (sweep / "search").is_dir() and (sweep / "seeds").is_dir():
        print(f"a comparison: the table of its unseen seeds; for its trials give sweep={shown(str(sweep / 'search'))}")
        sweep = sweep / "seeds"
    jobs = read_jobs(sweep)
    monitors = Counter(job.monitor for job in jobs if job.monitor)
    objective = cfg.objective or next(iter(dict(monitors.most_common(1))), "")
    if cfg.objective and not any(job.curve(objective) for job in jobs):
        known = sorted({shown(name) for job in jobs for row in job.rows for name in row})
        raise ValueError(f"objective={objective}: no job has this scalar; there are {', '.join(known)}")
    summary = summarise_jobs(sweep, jobs, objective, importances(sweep))
    contents = {
        "summary.csv": as_csv(jobs, objective),
        "summary.md": as_markdown(sweep.name, summary, markdown_cell),
        "summary.html": page(sweep, summary),
    }
    refused = write(sweep, contents)
    print(as_markdown(str(sweep), summary, shown))
    if refused is not None:
        advice = "copy the sweep into a folder of yours"
        raise ValueError(f"{sweep} cannot be written into ({refused.strerror}): {advice}") from refused
    print(shown(str(sweep / "summary.html")))


def write(sweep: Path, contents: dict[str, str]) -> OSError | None:
    """Returns the error if the sweep cannot be written into: its table is shown all the same."""
    try:
        for name, content in contents.items():
            replace_text(sweep / name, content)
    except OSError as error:
        return error
    return None


if __name__ == "__main__":
    main()
