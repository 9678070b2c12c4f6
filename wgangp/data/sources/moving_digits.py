"""Moving MNIST: digits that bounce within a square (Srivastava et al. 2015), made as the official code makes them.

The constants are those of data_handler.py in mansimov/unsupervised-videos. A digit has 28 pixels in a square of 64. It
starts at a uniform place and moves in a uniform direction, by 0.1 of the room that it has in each frame. At a wall it
stops, and that component of its velocity changes its sign. Places are cut to whole pixels. Where digits overlap, the
brighter pixel is seen. The first frame is one step after the start.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from wgangp.data.sources.published import read_parts
from wgangp.data.sources.source import Part, Parts, Source, array_part, source_function
from wgangp.machine.paths import local_path
from wgangp.models import check_counts

SIDE, STEP = 64, 0.1  # pixels of the official square; of the room, the way from frame to frame
GRID = 16  # the size is a multiple, so that digits have a whole number of pixels


@dataclass(frozen=True, kw_only=True)
class MovingDigits(Source):
    """`clips` clips of `frames` frames with `digits` digits each; the labels of single digits are kept.

    At another size than 64, digits are resized by averages over areas: at 32, each of their 14x14 pixels is the mean of
    2x2. A tenth as many clips, of the test digits, are held out. Every seed of a run has the same clips.
    """

    root: str
    download: bool
    frames: int
    digits: int
    clips: int

    def read(self) -> Parts:
        size = SIDE if self.size is None else self.size
        if size < GRID or size % GRID:
            raise ValueError(f"dataset.size={size}: give a multiple of {GRID}, such as 32, or 64 as published")
        check_counts("dataset", frames=self.frames, digits=self.digits, clips=self.clips)
        train, test, names = read_parts("MNIST", local_path(self.root), self.download)
        made = [self._part(train, self.clips, size, 0), self._part(test, max(1, self.clips // 10), size, 1)]
        return made[0], made[1], names if self.digits == 1 else None

    def _part(self, part: Part, n: int, size: int, seed: int) -> Part:
        generator, count = torch.Generator().manual_seed(seed), n * self.digits
        images, _ = part.load(torch.arange(len(part.labels)))  # (N, 1, 28, 28)
        epochs = [torch.randperm(len(images), generator=generator) for _ in range(-(-count // len(images)))]
        picked = torch.cat(epochs)[:count]
        images = resized(images[picked], images.shape[2] * size // SIDE)
        places = (trajectories(count, self.frames, generator) * (size - images.shape[2])).int()
        clips = render(
            images.view(n, self.digits, *images.shape[2:]), places.view(self.frames, n, self.digits, 2), size
        )
        return array_part(clips, part.labels[picked] if self.digits == 1 else None)


def resized(images: Tensor, side: int) -> Tensor:
    """Returns images (n, 1, h, w) uint8 as (n, 1, side, side), by averages over areas."""
    if images.shape[2] == side:
        return images
    return F.interpolate(images.float(), (side, side), mode="area").round().to(torch.uint8)


def trajectories(n: int, frames: int, generator: torch.Generator) -> Tensor:
    """Returns the places (frames, n, 2) of n digits in a room of [0, 1] x [0, 1], float64: y and x."""
    at = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    angle = 2 * math.pi * torch.rand(n, generator=generator, dtype=torch.float64)
    velocity = STEP * torch.stack([angle.sin(), angle.cos()], dim=1)
    places = []
    for _ in range(frames):
        at = at + velocity
        velocity = torch.where((at <= 0) | (at >= 1), -velocity, velocity)
        at = at.clamp(0, 1)
        places.append(at)
    return torch.stack(places)


def render(digits: Tensor, places: Tensor, size: int) -> Tensor:
    """Returns clips (n, 1, frames, size, size) of digits (n, k, s, s) uint8, whose corners are at (frames, n, k, 2)."""
    n, k, s, _ = digits.shape
    clips, clip, pixels = torch.zeros(n, len(places), size, size, dtype=torch.uint8), torch.arange(n), torch.arange(s)
    for frame, corners in enumerate(places):
        for j in range(k):
            rows, columns = (corners[:, j, axis, None] + pixels for axis in (0, 1))  # (n, s)
            at = clip[:, None, None], frame, rows[:, :, None], columns[:, None, :]
            clips[at] = torch.maximum(clips[at], digits[:, j])
    return clips[:, None]


moving_digits = source_function(MovingDigits)
