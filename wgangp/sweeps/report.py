"""A sweep as one HTML page with its figures and samples inside it."""

import base64
import math
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined

from wgangp.sweeps.figures import figures
from wgangp.sweeps.jobs import Job, rank, shortened
from wgangp.sweeps.tables import Summary, is_number_column, rounded

TEMPLATE = Path(__file__).with_name("page.html.jinja")
BEST_SHOWN = 3  # jobs whose samples are shown
PNG, PNG_BYTES = b"\x89PNG\r\n\x1a\n", 20_000_000


@dataclass(frozen=True)
class Samples:
    caption: str
    link: str
    picture: str  # a data URL


def page(sweep: Path, summary: Summary) -> str:
    """The page; Jinja2 escapes every text that comes from a job."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    numeric = [is_number_column(column) for column in zip(*summary.lines, strict=True)]
    return template.render(
        summary=summary,
        numeric=numeric,
        rows=[
            (line[:-1], [(job, link(sweep, job)) for job in g.jobs])
            for line, g in zip(summary.lines, summary.groups, strict=True)
        ],
        figures=[(title, embedded(content)) for title, content in figures(summary)],
        samples=samples(sweep, summary),
    )


def link(sweep: Path, job: Job) -> str:
    """Relative to the page; never another scheme, as of a directory called `javascript:...`."""
    return f"./{quote(job.directory.relative_to(sweep).as_posix(), errors='surrogateescape')}/"


def samples(sweep: Path, summary: Summary) -> list[Samples]:
    """The last samples of the best jobs; of the first ones, if no job is the best."""
    jobs = [job for group in summary.groups for job in group.jobs]
    if summary.ranked:
        scored = [job for job in jobs if math.isfinite(job.last(summary.objective))]
        jobs = sorted(scored, key=lambda job: rank(job.last(summary.objective), summary.higher_is_better))
    found = [(job, picture) for job in jobs if (picture := last_picture(sweep, job.directory)) is not None]
    return [Samples(caption(job, summary), link(sweep, job), embedded(picture)) for job, picture in found[:BEST_SHOWN]]


def caption(job: Job, summary: Summary) -> str:
    shown = {*summary.groups[0].values, "seed"}
    values = ", ".join(f"{key}={shortened(value)}" for key, value in job.overrides.items() if key in shown)
    return f"job {job.id}: {summary.objective} {rounded(job.last(summary.objective)) or job.status}" + (
        f" ({values})" if values else ""
    )


def last_picture(sweep: Path, run: Path) -> bytes | None:
    """The newest picture of samples; no link out of the sweep is followed, and nothing but a PNG is embedded."""
    for file in sorted((run / "samples").glob("step_*.png"), reverse=True)[:BEST_SHOWN]:
        try:
            inside = file.resolve().is_relative_to(sweep.resolve()) and file.is_file() and not file.is_symlink()
            content = file.read_bytes() if inside and file.stat().st_size <= PNG_BYTES else b""
        except OSError:
            continue
        if content.startswith(PNG):
            return content
    return None


def embedded(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"
