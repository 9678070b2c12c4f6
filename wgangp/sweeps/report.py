"""A sweep as one HTML page, whose pictures are inside it."""

import base64
import html
import io
import math
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wgangp.sweeps.jobs import Group, rank

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; display: block; overflow-x: auto }
th, td { padding: .2rem .8rem; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap }
td { font-variant-numeric: tabular-nums } tr:nth-child(2) { background: #eef7ee }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(30rem, 1fr)); gap: 1rem; margin: 2rem 0 }
img { max-width: 100% } img.samples { image-rendering: pixelated; min-width: 20rem }
"""
DECADES = 1  # values that span so many have a logarithmic axis


def page(
    name: str,
    heading: str,
    table: Sequence[Sequence[str]],
    notes: Sequence[str],
    groups: Sequence[Group],
    objective: str,
) -> str:
    """The table, the objective against each swept key, a map for each two numeric keys, curves, the best samples."""
    keys = list(groups[0].values)
    figures = [against(key, groups, objective) for key in keys]
    figures += [
        heat_map(a, b, groups, objective) for a, b in combinations([k for k in keys if is_numeric(k, groups)], 2)
    ]
    figures.append(curves(groups, objective))
    best = min(groups[0].jobs, key=lambda job: rank(job.last(objective), objective))
    pictures = [] if math.isnan(best.last(objective)) else sorted((best.directory / "samples").glob("*.png"))
    parts = [
        f"<h1>{html.escape(name)}</h1>",
        f"<p>{html.escape(heading)}.</p>",
        as_html(table),
        *(f"<p>{html.escape(note)}</p>" for note in notes),
        '<div class="figures">',
        *(f'<img src="{embedded(png(figure))}" alt="">' for figure in figures if figure),
        "</div>",
        *(f"<h2>Samples of the best, job {best.directory.name}</h2>" for _ in pictures[-1:]),
        *(f'<img class="samples" src="{embedded(picture.read_bytes())}" alt="">' for picture in pictures[-1:]),
    ]
    title = f"<!doctype html><meta charset=utf-8><title>{html.escape(name)}</title><style>{STYLE}</style>"
    return "\n".join([title, *parts, ""])


def as_html(table: Sequence[Sequence[str]]) -> str:
    """The first line is the head."""
    kinds = ["th", *["td"] * (len(table) - 1)]
    rows = ["".join(f"<{k}>{html.escape(cell)}</{k}>" for cell in cells) for k, cells in zip(kinds, table, strict=True)]
    return f"<table><tr>{'</tr><tr>'.join(rows)}</tr></table>"


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
    """Every job's objective as a point at the key's value; the means as a line, where nothing else was swept."""
    points = [(group.values[key], score) for group in groups for score in group.scores(objective)]
    if not points:
        return None
    figure, axes = panel(f"{objective} by {key}")
    if is_numeric(key, groups):
        x = [float(value) for value, _ in points]
        axes.plot(x, [score for _, score in points], "o", alpha=0.6)
        if groups[0].values.keys() == {key}:
            means = sorted((float(g.values[key]), g.mean(objective)) for g in groups if g.scores(objective))
            axes.plot(*zip(*means, strict=True))
        set_scale(axes, "x", x)
        set_scale(axes, "y", [score for _, score in points])
        axes.set_xlabel(key)
    else:
        names = list(dict.fromkeys(value for value, _ in points))[::-1]
        axes.plot([score for _, score in points], [names.index(value) for value, _ in points], "o", alpha=0.6)
        axes.set_yticks(range(len(names)), names)
        figure.set_figheight(max(2.5, 0.3 * len(names) + 1))
    return figure


def heat_map(a: str, b: str, groups: Sequence[Group], objective: str) -> Figure | None:
    """The mean objective at each pair of values: as a map of a grid's, and as points of a search's."""
    cells: dict[tuple[float, float], list[float]] = {}
    for group in groups:
        cells.setdefault((float(group.values[a]), float(group.values[b])), []).extend(group.scores(objective))
    means = {pair: fmean(scores) for pair, scores in cells.items() if scores}
    if not means:
        return None
    xs, ys = sorted({x for x, _ in means}), sorted({y for _, y in means})
    figure, axes = panel(f"{objective} by {a} and {b}")
    if len(means) == len(xs) * len(ys):
        drawn: Any = axes.imshow([[means[x, y] for x in xs] for y in ys], origin="lower", aspect="auto")
        axes.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
        axes.set_yticks(range(len(ys)), [f"{y:g}" for y in ys])
    else:
        drawn = axes.scatter([x for x, _ in means], [y for _, y in means], 60, list(means.values()))
        set_scale(axes, "x", xs)
        set_scale(axes, "y", ys)
    axes.set(xlabel=a, ylabel=b)
    figure.colorbar(drawn)
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
