"""A sweep as one HTML page, whose pictures are inside it."""

import base64
import html
import io
import math
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wgangp.jobs import Group, Job, rank

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } th, td { padding: .2rem .8rem; border-bottom: 1px solid #ddd; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums }
tr.best { background: #eef7ee }
.failed { color: #a00 }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(30rem, 1fr)); gap: 1rem; margin: 2rem 0 }
img { max-width: 100% } img.samples { image-rendering: pixelated; min-width: 20rem }
"""
DECADES = 1  # values that span so many have a logarithmic axis


def page(name: str, jobs: Sequence[Job], groups: Sequence[Group], objective: str) -> str:
    """The table, the objective against each swept key, a map for each two numeric keys, curves, the best samples."""
    keys = list(groups[0].values)
    figures = [against(key, groups, objective) for key in keys]
    figures += [
        heat_map(a, b, groups, objective) for a, b in combinations([k for k in keys if is_numeric(k, groups)], 2)
    ]
    figures.append(curves(groups, objective))
    best = min(groups[0].jobs, key=lambda job: rank(job.last(objective), objective))
    pictures = sorted((best.directory / "samples").glob("*.png"))
    parts = [
        f"<h1>{html.escape(name)}</h1>",
        f"<p>{len(jobs)} jobs; {html.escape(objective)}, best first.</p>",
        table(groups, objective),
        *(f'<p class="failed">job {j.directory.name} failed: {html.escape(j.reason)}</p>' for j in jobs if j.reason),
        '<div class="figures">',
        *(f'<img src="{embedded(png(figure))}" alt="">' for figure in figures if figure),
        "</div>",
        *(f"<h2>Samples of the best, job {best.directory.name}</h2>" for _ in pictures[-1:]),
        *(f'<img class="samples" src="{embedded(picture.read_bytes())}" alt="">' for picture in pictures[-1:]),
    ]
    title = f"<!doctype html><meta charset=utf-8><title>{html.escape(name)}</title><style>{STYLE}</style>"
    return "\n".join([title, *parts, ""])


def table(groups: Sequence[Group], objective: str) -> str:
    keys = list(groups[0].values)
    head = "".join(f"<th>{html.escape(text)}</th>" for text in [*keys, objective, "spread", "seeds", "jobs"])
    lines = []
    for i, group in enumerate(groups):
        numbers = [group.mean(objective), group.spread(objective), len(group.scores(objective))]
        cells = "".join(f"<td>{html.escape(value)}</td>" for value in group.values.values())
        cells += "".join(f'<td class="number">{"" if math.isnan(n) else f"{n:.4g}"}</td>' for n in numbers)
        names = ", ".join(f"{j.directory.name}{'' if j.status == 'done' else f' ({j.status})'}" for j in group.jobs)
        lines.append(f"<tr{' class=best' if i == 0 else ''}>{cells}<td>{names}</td></tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def is_numeric(key: str, groups: Sequence[Group]) -> bool:
    return all(number(group.values[key]) is not None for group in groups)


def set_scale(axis: Axes, which: str, values: Sequence[float]) -> None:
    """Logarithmic where the values are positive and span decades."""
    if min(values) > 0 and max(values) / min(values) >= 10**DECADES:
        getattr(axis, f"set_{which}scale")("log")


def panel(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, 4), dpi=100, layout="tight")
    axes = figure.add_subplot(title=title)
    return figure, axes


def against(key: str, groups: Sequence[Group], objective: str) -> Figure | None:
    """Every job's objective as a point at the key's value, and the best at each value as a line."""
    points = [(group.values[key], score) for group in groups for score in group.scores(objective)]
    if not points:
        return None
    figure, axes = panel(f"{objective} by {key}")
    if is_numeric(key, groups):
        x = [float(value) for value, _ in points]
        axes.plot(x, [score for _, score in points], "o", alpha=0.6)
        means = sorted((float(g.values[key]), g.mean(objective)) for g in groups if g.scores(objective))
        if len(groups) == len({g.values[key] for g in groups}):  # nothing else was swept: the means make a line
            axes.plot(*zip(*means, strict=True))
        set_scale(axes, "x", x)
        axes.set_xlabel(key)
    else:
        names = list(dict.fromkeys(value for value, _ in points))[::-1]
        axes.plot([score for _, score in points], [names.index(value) for value, _ in points], "o", alpha=0.6)
        axes.set_yticks(range(len(names)), names)
        figure.set_figheight(max(2.5, 0.3 * len(names) + 1))
    return figure


def heat_map(a: str, b: str, groups: Sequence[Group], objective: str) -> Figure | None:
    """The mean objective at each pair of values."""
    cells: dict[tuple[float, float], list[float]] = {}
    for group in groups:
        cells.setdefault((float(group.values[a]), float(group.values[b])), []).extend(group.scores(objective))
    means = {pair: fmean(scores) for pair, scores in cells.items() if scores}
    if not means:
        return None
    xs, ys = sorted({x for x, _ in means}), sorted({y for _, y in means})
    figure, axes = panel(f"{objective} by {a} and {b}")
    image = axes.imshow([[means.get((x, y), math.nan) for x in xs] for y in ys], origin="lower", aspect="auto")
    axes.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
    axes.set_yticks(range(len(ys)), [f"{y:g}" for y in ys])
    axes.set(xlabel=a, ylabel=b)
    figure.colorbar(image)
    return figure


def curves(groups: Sequence[Group], objective: str) -> Figure | None:
    """The objective against steps, from the best group's colour, dark, to the worst's."""
    figure, axes = panel(f"{objective} in training")
    colours = colormaps["viridis"].resampled(len(groups))
    drawn: list[float] = []
    for i, group in enumerate(groups):
        label = ", ".join(f"{key}={value}" for key, value in group.values.items()) or objective
        for job in group.jobs:
            if curve := job.curve(objective):
                axes.plot(*zip(*curve, strict=True), color=colours(i), alpha=0.8, label=label)
                drawn += [value for _, value in curve if math.isfinite(value)]
                label = ""
    if not drawn:
        return None
    axes.set_xlabel("generator updates")
    set_scale(axes, "y", drawn)
    if len(groups) <= 20:
        axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def embedded(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"
