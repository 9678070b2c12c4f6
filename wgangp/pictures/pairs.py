"""Condition pictures, each with the sample that is generated from it and the real one."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wgangp.pictures.images import grid

ACROSS = 4  # in a row


def pairs(condition: Tensor, fake: Tensor, real: Tensor, *, bounded: tuple[bool, bool], title: str) -> np.ndarray:
    """Conditions (n, c', h', w'), enlarged, | generated | real samples (n, c, h, w), 4 times in a row, (h, w, 3) uint8.

    `bounded` says whether the conditions, and the samples, lie in [-1, 1]; others are shown from their least to their
    greatest number, the generated ones by the numbers of the real ones. Of 2, 4 or more channels the first is shown.
    """
    condition = F.interpolate(condition.float(), size=real.shape[2:])
    parts = [
        three_channels(condition, condition, bounded[0]),
        *(three_channels(x, real, bounded[1]) for x in (fake, real)),
    ]
    return grid(torch.stack(parts, 1).flatten(0, 1), 3 * ACROSS, title=f"{title}   condition | generated | real")


def three_channels(x: Tensor, by: Tensor, bounded: bool) -> Tensor:
    """Returns pictures of 3 channels in [-1, 1]."""
    x, by = (t.float() if t.shape[1] == 3 else t[:, :1].float().expand(-1, 3, -1, -1) for t in (x, by))
    if bounded:
        return x
    low, high = by.min(), by.max()
    return ((x - low) / (high - low).clamp(min=1e-12) * 2 - 1).clamp(-1, 1)
