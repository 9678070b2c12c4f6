"""Arrays in the data's own units: vectors, signals, fields with their colour bars, and slices of volumes."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from wgangp import style
from wgangp.pictures.points import MOST_ROWS, finite_parts, histogram, interval, signals, vectors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VECTOR = 16  # numbers of a vector without names, at most; more are a signal
CORNER, MARGINALS = 5, 20  # columns of which all pairs are shown, and columns that are shown
CHANNELS, SLICES = 4, 4  # channels of a field, slices of a volume
LETTERS = 16  # of the name of a class
PANEL, LARGEST = 3.6, 10  # inches of a channel's longer side, at least and at most


def arrays(
    x: Tensor,
    names: Sequence[str] = (),
    real: Tensor | None = None,
    columns: int | None = None,
    title: str = "",
    classes: Sequence[str] = (),
) -> np.ndarray:
    """Samples x (n, d) or (n, c, *spatial), and real ones beside them if given, as (h, w, 3) uint8.

    `names` are the columns' of vectors, `classes` the samples', which are written beside signals, fields and volumes.
    """
    if x.ndim == 2 and (names or x.shape[1] <= VECTOR):
        draw = vectors if x.shape[1] <= CORNER else marginals
        return draw(x, real, title, [*names])
    if x.ndim <= 3:
        return signals(x, real, title, columns, classes)
    if x.ndim == 5:
        classes = [name for name in classes for _ in range(SLICES)]
        return fields(slices(x), None if real is None else slices(real[:1]), SLICES, title, classes, each=SLICES)
    return fields(x, real, columns, title, classes)


def marginals(fake: Tensor, real: Tensor | None = None, title: str = "", names: Sequence[str] = ()) -> np.ndarray:
    """Vectors (n, d) as the histograms of their first 20 columns, (h, w, 3) uint8."""
    d, k = fake.shape[1], min(MARGINALS, fake.shape[1])
    parts = finite_parts(fake, real)
    rows = math.ceil(k / CORNER)
    with style.apply():
        figure = style.figure(11, 1.7 * rows + 0.7, layout=None)
        top = 1 - 0.6 / (1.7 * rows + 0.7)
        figure.subplots_adjust(
            left=0.03, right=0.985, top=top, bottom=0.3 / (1.7 * rows + 0.7), hspace=0.65, wspace=0.12
        )
        for i in range(k):
            axes = figure.add_subplot(rows, CORNER, i + 1)
            axes.set_title(names[i] if names else f"x[{i}]", fontsize=9)
            axes.set_yticks([])
            for x, name, colour, *_ in parts:
                histogram(axes, x[:, i], interval(parts[0][0][:, i]), name, colour)
        _head(figure, f"{title}   the first {k} of {d} columns" if k < d else title)
        return style.pixels(figure)


def _head(figure: "Figure", title: str) -> None:
    figure.suptitle(title.strip() or " ", x=0.02, ha="left")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="upper right", ncols=2)


def slices(x: Tensor) -> Tensor:
    """Returns 4 slices of each volume x (n, c, d, h, w), at even distances of its depth, as fields (4 n, c, h, w)."""
    depths = torch.linspace(0, x.shape[2] - 1, SLICES + 2)[1:-1].round().long()
    return x[:, :, depths].transpose(1, 2).flatten(0, 1)


def fields(
    fake: Tensor,
    real: Tensor | None = None,
    columns: int | None = None,
    title: str = "",
    classes: Sequence[str] = (),
    each: int = 1,
) -> np.ndarray:
    """Fields (n, c, h, w): for each of the first 4 channels a colour map with its bar, as (h, w, 3) uint8.

    The first row holds real fields if given, whose numbers the colours are chosen by. Each other row has the class of
    its first field. A sample has `each` of them.
    """
    n, c = fake.shape[:2]
    square, k = min(8 if c == 1 else 4, math.ceil(math.sqrt(n))), min(c, CHANNELS)
    most, columns = (MOST_ROWS, columns) if columns else (max(square, 2), square)
    first = [] if real is None else [real[:columns]]
    rows = [*first, *fake.split(columns)][:most]
    begins = [*classes[:n:columns]][: len(rows) - len(first)]
    beside = ["real"] * len(first) + [name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…" for name in begins]
    margin = 0.6 if max(map(len, beside), default=0) < 6 else 1.6  # inches
    sheets = [tiles([row[:, i] for row in rows], columns) for i in range(k)]
    longest = max(sheets[0].shape)
    scale = min(max(PANEL, longest / style.DPI), LARGEST) / longest  # inches of a place: a pixel or more, if they fit
    tall, wide = (scale * places for places in sheets[0].shape)
    with style.apply():
        figure = style.figure(k * (wide + 1.1) + margin - 0.1, tall + 1, layout=None)
        for i, sheet in enumerate(sheets):
            limits = interval((fake if real is None else real)[:, i].flatten(), margin=0)
            axes = _panel(figure, sheet, limits, (margin + i * (wide + 1.1), 0.3, wide, tall))
            axes.set_title(f"channel {i}" if c > 1 else "")
            if i == 0:
                middles = [(row + 0.5) * sheet.shape[0] / len(rows) for row in range(len(beside))]
                axes.set_yticks(middles, beside, parse_math=False)
        notes = [title, f"the first {k} of {c} channels" if k < c else ""]
        shown = sum(map(len, rows[len(first) :]))
        notes += [f"{shown // each} of {n // each} samples" if shown < n else ""]
        figure.suptitle("   ".join(filter(None, notes)) or " ", x=0.02, ha="left")
        return style.pixels(figure)


def _panel(
    figure: "Figure", sheet: Tensor, limits: tuple[float, float], place: tuple[float, float, float, float]
) -> "Axes":
    """Draws a sheet of fields and its colour bar; `place` is left, bottom, width and height in inches."""
    (left, bottom, wide, tall), (width, height) = place, figure.get_size_inches()
    axes = figure.add_axes((left / width, bottom / height, wide / width, tall / height))
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])
    picture = np.ma.masked_invalid(sheet.numpy())
    drawn = axes.imshow(picture, vmin=limits[0], vmax=limits[1], aspect="auto", interpolation="nearest")
    bar = figure.add_axes(((left + wide + 0.1) / width, bottom / height, 0.12 / width, tall / height))
    figure.colorbar(drawn, cax=bar).outline.set_visible(False)
    return axes


def tiles(rows: Sequence[Tensor], columns: int) -> Tensor:
    """Returns rows of up to `columns` fields (n, h, w) as one picture, with NaN between and beside them."""
    h, w = rows[0].shape[1:]
    gap = max(1, w // 40)
    sheet = torch.full((len(rows), h + gap, columns, w + gap), torch.nan, dtype=torch.float64)
    for i, row in enumerate(rows):
        sheet[i, :h, : len(row), :w] = row.cpu().double().transpose(0, 1)
    return sheet.flatten(2).flatten(0, 1)[: -gap or None, : -gap or None]
