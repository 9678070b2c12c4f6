"""Residual networks of the official gan_cifar_resnet.py and of gan_64x64.py ("good"), for any size 4 * 2^k.

At resolution r of images of size s a layer has min(width * s / r, max_width) channels: with max_width = width every
layer is as wide (CIFAR-10), else widths double as resolutions halve (64x64).
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from wgangp.models.layers import (
    Norm,
    ScoredFeatures,
    conv,
    conv_mean_pool,
    linear,
    mean_pool,
    relu,
    spectral_norm,
    upsample_conv,
)


def check_size(shape: Sequence[int]) -> int:
    """The size of square images of 8, 16, 32, ... pixels; else a ValueError that says what to set."""
    size = shape[-1]
    if len(shape) != 3 or shape[1] != size:
        raise ValueError(f"resnet needs square images, and the data is {tuple(shape)}: set dataset.size, or use mlp")
    if size < 8 or size & (size - 1):
        raise ValueError(f"resnet cannot make images of {size}x{size}: set dataset.size to 8, 16, 32, 64, 128 ...")
    return size


def upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


class Up(nn.Module):
    """norm, ReLU, upsample, conv, norm, ReLU, conv; beside it upsample, 1x1 conv."""

    def __init__(self, c_in: int, c_out: int, norm: str, bias: bool, num_classes: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = Norm(norm, c_in, num_classes), Norm(norm, c_out, num_classes)
        self.conv1, self.conv2 = conv(c_in, c_out, 3, bias=bias), conv(c_out, c_out, 3)
        self.shortcut = conv(c_in, c_out, 1, he=False)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = upsample_conv(self.conv1, F.relu(self.norm1(x, y)))  # (n, c_out, 2h, 2w)
        h = self.conv2(F.relu(self.norm2(h, y)))
        return upsample(self.shortcut(x)) + h  # a 1x1 conv commutes with upsampling


class FirstBlock(nn.Module):
    """conv, ReLU, conv, mean-pool on the image itself; beside it mean-pool, 1x1 conv."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(c_in, c_out, 3), conv(c_out, c_out, 3)
        self.shortcut = conv(c_in, c_out, 1, he=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(mean_pool(x)) + conv_mean_pool(self.conv2, relu(self.conv1(x)))


class Block(nn.Module):
    """norm, ReLU, conv, norm, ReLU, conv; beside it the identity."""

    def __init__(self, c_in: int, c_out: int, norm: str, bias: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = Norm(norm, c_in), Norm(norm, c_in)
        self.conv1, self.conv2 = conv(c_in, c_in, 3, bias=bias), conv(c_in, c_out, 3)
        self.dropout = nn.Dropout(0)

    def hidden(self, x: Tensor) -> Tensor:
        h = self.conv1(relu(self.norm1(x)))  # (n, c_in, h, w)
        return relu(self.norm2(h))

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x + self.conv2(self.hidden(x)))  # (n, c_out, h, w)


class Down(Block):
    """A block whose residual is mean-pooled; beside it mean-pool, 1x1 conv (they commute)."""

    def __init__(self, c_in: int, c_out: int, norm: str, bias: bool) -> None:
        super().__init__(c_in, c_out, norm, bias)
        self.shortcut = conv(c_in, c_out, 1, he=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.shortcut(mean_pool(x)) + conv_mean_pool(self.conv2, self.hidden(x)))


class Generator(nn.Module):
    """Linear to 4x4, up-blocks to the image's size, norm, ReLU, conv, tanh.

    `bias` is that of the blocks' first convolutions, `he_output` the initialisation of the last one: the two official
    networks differ in them. The last norm is unconditional, as in the official code.
    """

    def __init__(
        self,
        *,
        shape: Sequence[int],
        num_classes: int,
        nz: int,
        width: int,
        max_width: int,
        norm: str,
        bias: bool,
        he_output: bool,
    ) -> None:
        super().__init__()
        size, self.nz, self.num_classes = check_size(shape), nz, num_classes
        resolutions = [4 * 2**k for k in range(size.bit_length() - 2)]  # 4, 8, ..., size
        channels = [min(width * size // r, max_width) for r in resolutions]
        self.input = linear(nz, channels[0] * 16)
        self.blocks = nn.ModuleList(Up(a, b, norm, bias, num_classes) for a, b in pairwise(channels))
        self.norm = Norm(norm, channels[-1])
        self.output = conv(channels[-1], shape[0], 3, he=he_output)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.input(z).view(len(z), -1, 4, 4)
        for block in self.blocks:
            x = block(x, y)
        return self.output(F.relu(self.norm(x))).tanh()  # (n, c, h, w)


class Critic(ScoredFeatures):
    """gan_cifar_resnet.py: down-blocks to 8x8, two plain blocks, ReLU, mean over pixels, linear; one width."""

    def __init__(self, *, shape: Sequence[int], num_classes: int, width: int, norm: str, spectral: bool) -> None:
        super().__init__()
        downs = max(check_size(shape).bit_length() - 4, 1)  # 32 -> 16 -> 8
        self.blocks = nn.Sequential(
            FirstBlock(shape[0], width),
            *(Down(width, width, norm, bias=True) for _ in range(downs - 1)),
            *(Block(width, width, norm, bias=True) for _ in range(2)),
        )
        self.output = linear(width, 1 + num_classes)
        if spectral:
            spectral_norm(self)

    def features(self, x: Tensor) -> Tensor:
        return relu(self.blocks(x)).mean(dim=(2, 3))


class PyramidCritic(ScoredFeatures):
    """gan_64x64.py, "good": conv, down-blocks to 4x4 that double the width up to max_width, flatten, linear."""

    def __init__(
        self,
        *,
        shape: Sequence[int],
        num_classes: int,
        width: int,
        max_width: int,
        norm: str,
        spectral: bool,
    ) -> None:
        super().__init__()
        downs = check_size(shape).bit_length() - 3
        channels = [min(width * 2**k, max_width) for k in range(downs + 1)]  # 64, 128, 256, 512, 512
        self.blocks = nn.Sequential(
            conv(shape[0], channels[0], 3, he=False),
            *(Down(a, b, norm, bias=False) for a, b in pairwise(channels)),
        )
        self.output = linear(channels[-1] * 16, 1 + num_classes)
        if spectral:
            spectral_norm(self)

    def features(self, x: Tensor) -> Tensor:
        return self.blocks(x).flatten(1)
