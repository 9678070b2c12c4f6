"""Samples of any kind as one picture, an array (h, w, 3) uint8."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from wgangp.data.text import PAD, decode
from wgangp.pictures.arrays import VECTOR, arrays
from wgangp.pictures.clips import strip
from wgangp.pictures.images import grid
from wgangp.pictures.points import scatter, signals, vectors
from wgangp.pictures.text import page
from wgangp.units import Units

logging.getLogger("matplotlib").setLevel(logging.WARNING)  # at its first use it logs that it builds its font cache


def draw(
    x: Tensor,
    *,
    vocabulary: str | None = None,
    real: Tensor | None = None,
    critic: Callable[[Tensor], Tensor] | None = None,
    labels: Tensor | None = None,
    class_names: Sequence[str] = (),
    columns: int | None = None,
    numbers: Sequence[int] | None = None,
    units: Units | None = None,
    is_video: bool = False,
    title: str = "",
) -> np.ndarray:
    """The picture of samples x, as (h, w, 3) uint8 of at most about 4096 pixels on a side.

    | x | picture | uses |
    |---|---|---|
    | images (n, c, h, w) in [-1, 1] | a grid | labels (n,), class_names: a row for each class; columns, numbers |
    | clips (n, c, t, h, w) in [-1, 1], with is_video | their frames in rows | labels, class_names, numbers |
    | text (n, v, t), with its vocabulary | a page | numbers |
    | points (n, 2) | a scatter plot | real (m, 2); critic: its level sets |
    | vectors (n, d), d <= 16 | histograms and scatter plots | real (m, d) |
    | signals (n, t) or (n, c, t) | line plots | real (m, t) or (m, c, t) |
    | arrays in their `units` | as the last two; colour maps with bars, volumes as slices | real, columns, class_names |

    `critic` takes points (m, 2) on x's device and returns (m, 1 + num_classes), with f(x) in its first column.
    Raises ValueError if x is none of these, or empty.
    """
    if not isinstance(x, Tensor) or not 2 <= x.ndim <= (4 if units is None and not is_video else 5) or x.numel() == 0:
        shape = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"this data has no picture ({shape}): give the dataset a picture() method")
    x = x.detach()
    if units is not None:
        classes = [class_names[i] for i in labels.tolist()] if labels is not None and class_names else []
        return arrays(x, units.names, real, columns, title, classes)
    if is_video:
        return strip(x, labels, class_names, numbers, title)
    if x.ndim == 4:
        return grid(x, columns, labels, class_names, numbers, title)
    if x.ndim == 3 and vocabulary is not None:
        return page([line.rstrip(PAD) for line in decode(x, vocabulary)], vocabulary, numbers, title)
    if x.shape[1:] == (2,):
        return scatter(x, real, critic, title)
    return vectors(x, real, title) if x.ndim == 2 and x.shape[1] <= VECTOR else signals(x, real, title)
