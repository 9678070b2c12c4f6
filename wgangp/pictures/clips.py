"""Clips (n, c, t, h, w) in [-1, 1]: their frames side by side, and side by side as a film."""

import numpy as np
import torch
from torch import Tensor

from wgangp.pictures.images import grid

FRAMES = 16  # of a clip in a filmstrip, at most


def strip(x: Tensor) -> np.ndarray:
    """Returns a filmstrip (h, w, 3) uint8: a clip in each row. Of a long clip it shows 16 frames, at even distances."""
    times = torch.linspace(0, x.shape[2] - 1, min(x.shape[2], FRAMES)).round().long()
    return grid(x[:, :, times].transpose(1, 2).flatten(0, 1), columns=len(times))


def moving(x: Tensor, columns: int | None = None) -> list[np.ndarray]:
    """Returns the frames (h, w, 3) uint8 of a film of all clips in a grid, a square if `columns` is None."""
    return [grid(frame, columns) for frame in x.unbind(2)]
