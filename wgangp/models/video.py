"""iVGAN: the networks of Kratzwald et al. 2017 for clips (c, t, h, w), as in bernhard2202/improved-video-gan.

All axes, time too, are halved at every layer, until height and width are at most 4: 32x64x64, 16x32x32 ... 2x4x4. Odd
lengths are rounded up. Kernels have 4 taps along each axis. Where paper and code differ, this is the code's side: a
leaky ReLU after the critic's last convolution, too. Different from the code: BatchNorm has a scale.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from wgangp import models
from wgangp.models import check_counts, ends_in_tanh
from wgangp.models.layers import Head, Norm, leaky_relu, relu, uniform
from wgangp.models.resampling import Size, crop, even

TAPS, HALVED = 4**3, 2**3  # of a kernel; points of which a strided convolution makes one
HALVES = (2, 2, 2)
LINEAR = 0.01  # standard deviation of a linear layer's first weights


def sizes_of_clips(shape: Sequence[int]) -> list[Size]:
    """Returns the sizes (t, h, w) of the generator's maps, from the smallest up. Raises ValueError for other data."""
    if len(shape) != 4:
        raise ValueError(f"video is for clips (c, t, h, w), and the data is {tuple(shape)}: use another network")
    if max(shape[2:]) <= 4:
        raise ValueError(f"video halves frames of more than 4x4, and the data is {tuple(shape)}: make them larger")
    sizes: list[Size] = [tuple(shape[1:])]
    while max(sizes[0][1:]) > 4:
        sizes.insert(0, tuple(-(-s // 2) for s in sizes[0]))
    return sizes


def initialised(layer: nn.Conv3d | nn.ConvTranspose3d, c_in: int, c_out: int) -> nn.Module:
    """Draws the weights, of variance 4 / (fan_in + fan_out), where a stride divides fan_out, and sets biases to 0."""
    uniform(layer.weight, 4 / (c_in * TAPS + c_out * TAPS / HALVED))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def small(layer: nn.Linear) -> None:
    nn.init.normal_(layer.weight, std=LINEAR)
    nn.init.zeros_(layer.bias)


class Generator(models.Generator):
    """A linear layer and transposed convolutions, with BatchNorm and ReLU after each one but the last."""

    def __init__(self, *, shape: Sequence[int], num_classes: int, nz: int, width: int, norm: str, output: str) -> None:
        super().__init__()
        check_counts("generator", nz=nz, width=width)
        if num_classes:
            raise ValueError("generator=video takes no labels: set conditional=false, or choose generator=dcgan")
        self.nz, self.num_classes, self.sizes = nz, num_classes, sizes_of_clips(shape)
        self.tanh = ends_in_tanh(output, shape)
        channels = [width * 2**k for k in reversed(range(len(self.sizes) - 1))]  # e.g. [8w, 4w, 2w, w]
        self.input = nn.Linear(nz, channels[0] * math.prod(self.sizes[0]))
        small(self.input)
        pairs = zip(channels, [*channels[1:], shape[0]], strict=True)
        self.deconvs = nn.ModuleList(initialised(nn.ConvTranspose3d(a, b, 4, 2, padding=1), a, b) for a, b in pairs)
        self.norms = nn.ModuleList(Norm(norm, c, axes=3) for c in channels)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x: Tensor = self.input(z).view(z.shape[0], -1, *self.sizes[0])
        for norm, up, size in zip(self.norms, self.deconvs, self.sizes[1:], strict=True):
            x = crop(up(relu(norm(x))), size)
        return x.tanh() if self.tanh else x


class Critic(models.Critic):
    """Strided convolutions with LayerNorm and leaky ReLU, a last one to 1 channel without a norm, and linear."""

    def __init__(self, *, shape: Sequence[int], num_classes: int, width: int, norm: str) -> None:
        super().__init__()
        check_counts("critic", width=width)
        sizes = sizes_of_clips(shape)
        channels = [shape[0], *(width * 2**k for k in range(len(sizes) - 1)), 1]
        pairs = pairwise(channels)
        self.convs = nn.ModuleList(initialised(nn.Conv3d(a, b, 4, 2, padding=1), a, b) for a, b in pairs)
        self.norms = nn.ModuleList(Norm(norm, c, axes=3) for c in channels[1:-1])
        self.norms.append(nn.Identity())
        self.dropout = nn.Dropout(0)
        self.output = Head(math.prod(-(-s // 2) for s in sizes[0]), num_classes)
        small(self.output)

    def features(self, x: Tensor) -> Tensor:
        for down, norm in zip(self.convs, self.norms, strict=True):
            x = self.dropout(leaky_relu(norm(down(even(x, HALVES)))))
        return x.flatten(1)
