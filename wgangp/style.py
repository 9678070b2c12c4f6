"""One palette and one matplotlib style for every picture of the project: toy frames, sweep pages, figures of docs/.

    with style.apply():
        figure = style.figure(7, 4)
        axes = figure.add_subplot(xlabel="generator updates", ylabel=style.direction("fid", higher_is_better=False))
        axes.plot(steps, values)
        picture = style.pixels(figure)

The colours are those of Okabe and Ito (2008), which people with any common colour blindness can tell apart. Real and
generated samples differ in lightness, too, so that a black-and-white print shows which is which.
"""

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

INK, MUTED, LINES = "#1b1f24", "#5f6b7a", "#d8dde3"  # text; secondary text and axes; grid lines
REAL, FAKE = "#d55e00", "#0a1f38"  # vermilion, and a blue that is nearly black
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
SEQUENTIAL = "cividis"  # of ordered values, from low to high
LEVELS = ("#a6bfd4", "#ffffff")  # of a critic's level sets, from low (generated) to high (real): samples stand out

DPI = 100  # pixels of an inch
RC: dict[str, Any] = {
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "figure.constrained_layout.h_pad": 0.08,  # inches
    "figure.constrained_layout.w_pad": 0.08,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "font.family": "DejaVu Sans",  # part of matplotlib: the same on every computer
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a $ in the name of a run or of an option is a $
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LINES,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "image.cmap": SEQUENTIAL,
}


def apply() -> AbstractContextManager[None]:
    """The style, for the figures that are made, drawn and saved inside of the `with` statement."""
    import matplotlib
    from cycler import cycler

    lines = cycler(linestyle=["-", "--", ":", "-."]) * cycler(color=SERIES)  # 28 lines that differ
    rc: Any = RC | {"axes.prop_cycle": lines}  # matplotlib's type is a Literal of all names
    return matplotlib.rc_context(rc)


def figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> "Figure":
    """An empty figure of width x height inches, 100 pixels each, apart from pyplot and its windows."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def pixels(figure: "Figure") -> np.ndarray:
    """The drawn figure as (h, w, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)  # has no types
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # characters that the font lacks: squares
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def level_colours() -> "Colormap":
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("levels", LEVELS)


def direction(name: str, higher_is_better: bool) -> str:
    """The label of an axis that shows a score: "fid (lower is better)"."""
    return f"{name} ({'higher' if higher_is_better else 'lower'} is better)"


def set_scale(axes: "Axes", which: Literal["x", "y"], values: Sequence[float]) -> None:
    """Makes an axis logarithmic, with plain numbers, if the values are positive and span a factor of 10 or more."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if not values or min(values) <= 0 or max(values) < 10 * min(values):
        return
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(values) < 1000 * min(values) else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
