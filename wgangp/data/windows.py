"""Clips as windows on frames, which are kept once: clips that overlap cost no memory."""

import torch
from torch import Tensor

from wgangp.data.splits import Split


def windows(frames: Tensor, length: int, stride: int) -> Tensor:
    """Returns every clip of frames (F, c, h, w) as one view (m, c, t, h, w), with m = F - (length - 1) * stride.

    Clip i has `length` frames: i, i + stride, i + 2 * stride and so on.
    """
    return frames.unfold(0, (length - 1) * stride + 1, 1)[..., ::stride].movedim(-1, 2)


class Windows(Split):
    """Clips (N, c, length, h, w) that begin at `starts` (N,): every `stride`-th of frames (F, c, h, w)."""

    def __init__(self, frames: Tensor, labels: Tensor, starts: Tensor, length: int, stride: int) -> None:
        super().__init__(windows(frames, length, stride), labels, starts)
        self.frames, self.starts, self.length, self.stride = frames, starts, length, stride
        self.offsets = torch.arange(length, device=frames.device) * stride

    @property
    def nbytes(self) -> int:
        return self.frames.nbytes

    def to(self, device: torch.device) -> "Windows":
        frames, labels, starts = (x.to(device) for x in (self.frames, self.labels, self.starts))
        return Windows(frames, labels, starts, self.length, self.stride)

    def part(self, picked: Tensor) -> "Windows":
        return Windows(self.frames, self.labels[picked], self.starts[picked], self.length, self.stride)

    def pick(self, picked: Tensor) -> tuple[Tensor, Tensor]:
        frames = self.frames[self.starts[picked][:, None] + self.offsets]  # (n, t, c, h, w)
        return frames.transpose(1, 2).contiguous(), self.labels[picked]
