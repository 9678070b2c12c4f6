"""The figures of a sweep's page: the objective against each swept key, over pairs of keys, and in training."""

import io
import math
import textwrap
from collections.abc import Sequence
from itertools import combinations
from statistics import median
from typing import Literal

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from wgangp import style
from wgangp.sweeps.escape import number
from wgangp.sweeps.jobs import Group, shortened
from wgangp.sweeps.tables import Summary

POINT, MEDIAN, ORDERED = *style.SERIES[:2], "viridis_r"  # best groups dark
LEGEND, BEST = 12, 8  # the most groups that a legend names; of more, so many
WIDTH, LINES = 80, 4  # characters and lines of a group there, at most


def figures(summary: Summary) -> list[tuple[str, bytes]]:
    """(what it shows, PNG) of each figure that has something to show."""
    keys = list(summary.groups[0].values)
    numeric = [key for key in keys if is_numeric(key, summary.groups)]
    label = style.direction(summary.objective, summary.higher_is_better) if summary.ranked else summary.objective
    with style.apply():
        drawn = [(f"{summary.objective} by {key}", against(key, summary, label)) for key in keys]
        drawn += [
            (f"{summary.objective} by {a} and {b}", heat_map(a, b, summary, label)) for a, b in combinations(numeric, 2)
        ]
        drawn.append((f"{summary.objective} in training", curves(summary, label)))
        return [(title, png(figure)) for title, figure in drawn if figure]


def is_numeric(key: str, groups: Sequence[Group]) -> bool:
    return all(_value(key, group) is not None for group in groups)


def _value(key: str, group: Group) -> float | None:
    found = number(group.values[key])
    return found if found is not None and math.isfinite(found) else None


def set_ticks(axes: Axes, which: Literal["x", "y"], values: Sequence[float]) -> None:
    """Ticks at the swept values if they are few, at whole numbers if the values are whole, on a suitable scale."""
    axis, distinct = getattr(axes, f"{which}axis"), sorted(set(values))
    style.set_scale(axes, which, values)
    if len(distinct) <= 8:
        axis.set_major_locator(FixedLocator(distinct))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    elif all(value == int(value) for value in distinct) and axis.get_scale() == "linear":
        axis.set_major_locator(MaxNLocator(integer=True))


def panel(title: str) -> tuple[Figure, Axes]:
    figure = style.figure(7, 4)
    return figure, figure.add_subplot(title=title)


def against(key: str, summary: Summary, label: str) -> Figure | None:
    """Every job's objective as a point at the key's value; the medians as a line, if nothing else was swept."""
    points = [(group, score) for group in summary.groups for score in group.scores(summary.objective)]
    if not points:
        return None
    figure, axes = panel(f"{summary.objective} by {key}")
    scores = [score for _, score in points]
    if not is_numeric(key, summary.groups):
        names = list(dict.fromkeys(group.values[key] for group, _ in points))[::-1]
        axes.plot(scores, [names.index(group.values[key]) for group, _ in points], "o", color=POINT, alpha=0.6)
        axes.set_yticks(range(len(names)), [name if len(name) <= 40 else f"{name[:39]}…" for name in names])
        axes.set_xlabel(label)
        figure.set_figheight(max(2.5, 0.3 * len(names) + 1.2))
        return figure
    x = [float(group.values[key]) for group, _ in points]
    axes.plot(x, scores, "o", color=POINT, alpha=0.6, label="a job")
    if summary.groups[0].values.keys() == {key} and summary.ranked:
        scored = [group for group in summary.groups if group.scores(summary.objective)]
        medians = sorted((float(group.values[key]), group.median(summary.objective)) for group in scored)
        axes.plot(*zip(*medians, strict=True), color=MEDIAN, label="median over the seeds")
        axes.legend()
    set_ticks(axes, "x", x)
    style.set_scale(axes, "y", scores)
    axes.set(xlabel=key, ylabel=label)
    return figure


def heat_map(a: str, b: str, summary: Summary, label: str) -> Figure | None:
    """The median objective at each pair of values: as a map of a grid's, and as points of a search's."""
    cells: dict[tuple[float, float], list[float]] = {}
    for group in summary.groups:
        pair = float(group.values[a]), float(group.values[b])
        cells.setdefault(pair, []).extend(group.scores(summary.objective))
    medians = {pair: median(scores) for pair, scores in cells.items() if scores}
    if not medians:
        return None
    xs, ys = sorted({x for x, _ in medians}), sorted({y for _, y in medians})
    figure, axes = panel(f"{summary.objective} by {a} and {b}")
    if len(medians) == len(xs) * len(ys):
        colours = axes.imshow(
            [[medians[x, y] for x in xs] for y in ys], origin="lower", aspect="auto", cmap=style.SEQUENTIAL
        )
        axes.grid(False)
        axes.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
        axes.set_yticks(range(len(ys)), [f"{y:g}" for y in ys])
        figure.colorbar(colours, label=label)
    else:
        points = axes.scatter(
            [x for x, _ in medians], [y for _, y in medians], 60, list(medians.values()), cmap=style.SEQUENTIAL
        )
        set_ticks(axes, "x", [x for x, _ in medians])
        set_ticks(axes, "y", [y for _, y in medians])
        figure.colorbar(points, label=label)
    axes.set(xlabel=a, ylabel=b)
    return figure


def curves(summary: Summary, label: str) -> Figure | None:
    """The objective against steps, from the best group, dark, to the worst. Of many groups the best are named."""
    named = summary.groups if len(summary.groups) <= LEGEND else summary.groups[:BEST] if summary.ranked else []
    figure, axes = panel(f"{summary.objective} in training")
    colours = colormaps[ORDERED].resampled(len(named or summary.groups) + 1)
    drawn: list[float] = []
    for i, group in reversed(list(enumerate(summary.groups))):  # the best on top
        strong = not named or i < len(named)
        text = legend_text(group, summary) if named and strong else ""
        for job in group.jobs:
            if curve := [(step, value) for step, value in job.curve(summary.objective) if math.isfinite(value)]:
                colour = colours(len(named or summary.groups) - i) if strong else style.LINES
                marker = "o" if len(curve) == 1 else None
                axes.plot(*zip(*curve, strict=True), "-", color=colour, marker=marker, label=text)
                drawn += [value for _, value in curve]
                text = ""
    if not drawn:
        return None
    axes.set(xlabel="generator updates", ylabel=label)
    style.set_scale(axes, "y", drawn)
    if named:
        figure.set_figheight(4 + 0.2 * sum(1 + legend_text(group, summary).count("\n") for group in named))
        figure.legend(loc="outside lower left", reverse=True)
    return figure


def legend_text(group: Group, summary: Summary) -> str:
    """The group's names if the table has them, else its values."""
    names = ", ".join(dict.fromkeys(job.name for job in group.jobs if job.name)) if summary.head[0] == "name" else ""
    text = names or ", ".join(f"{key}={shortened(value)}" for key, value in group.values.items()) or summary.objective
    return "\n".join(textwrap.wrap(text, WIDTH, max_lines=LINES, placeholder="…"))


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
