"""Clips (n, c, t, h, w) in [-1, 1]: their frames side by side, and side by side as a film."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wgangp.pictures.images import grid

FRAMES = 16  # of a clip in a filmstrip, at most


def strip(
    x: Tensor,
    labels: Tensor | None = None,
    class_names: Sequence[str] = (),
    numbers: Sequence[int] | None = None,
    title: str = "",
) -> np.ndarray:
    """Returns a filmstrip (h, w, 3) uint8: a clip in each row. Of a long clip it shows 16 frames, at even distances.

    `labels` (n,) put the clips of a class below its name; `numbers` (n) are written on each frame.
    """
    k = min(x.shape[2], FRAMES)
    times = torch.linspace(0, x.shape[2] - 1, k).round().long()
    frames = x[:, :, times].transpose(1, 2).flatten(0, 1)
    of_frames = None if labels is None else labels.repeat_interleave(k)
    numbers = None if numbers is None else [number for number in numbers for _ in range(k)]
    return grid(frames, k, of_frames, class_names, numbers, title)


def moving(
    x: Tensor,
    columns: int | None = None,
    labels: Tensor | None = None,
    class_names: Sequence[str] = (),
    numbers: Sequence[int] | None = None,
) -> list[np.ndarray]:
    """Returns the frames (h, w, 3) uint8 of a film of all clips in a grid, as `grid` lays out images."""
    return [grid(frame, columns, labels, class_names, numbers) for frame in x.unbind(2)]
