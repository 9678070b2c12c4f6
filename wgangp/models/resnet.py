"""Residual networks of the official gan_cifar_resnet.py and of gan_64x64.py ("good"), for any size 4 * 2^k.

For images of size s, a layer at resolution r has min(width * s / r, max_width) channels. With max_width = width all
layers have the same width (CIFAR-10); otherwise widths double as resolutions halve (64x64).
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from wgangp import models
from wgangp.models import check_counts
from wgangp.models.layers import (
    Head,
    Norm,
    conv,
    conv_mean_pool,
    linear,
    mean_pool,
    relu,
    spectral_norm,
    upsample,
    upsample_conv,
)


def check_size(shape: Sequence[int]) -> int:
    """Returns the size of the images. Raises ValueError if they are not square or their size is not 8, 16, 32, ..."""
    size = shape[-1]
    if len(shape) != 3 or shape[1] != size:
        raise ValueError(f"resnet needs square images, and the data is {tuple(shape)}: set dataset.size, or use mlp")
    if size < 8 or size & (size - 1):
        raise ValueError(f"resnet cannot make images of {size}x{size}: set dataset.size to 8, 16, 32, 64, 128 ...")
    return size


class Up(nn.Module):
    """norm, ReLU, upsample, conv, norm, ReLU, conv; shortcut: upsample, 1x1 conv."""

    def __init__(self, c_in: int, c_out: int, norm: str, bias: bool, num_classes: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (Norm(norm, c, num_classes, groups) for c in (c_in, c_out))
        self.conv1, self.conv2 = conv(c_in, c_out, 3, bias=bias), conv(c_out, c_out, 3)
        self.shortcut = conv(c_in, c_out, 1, he=False)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h: Tensor = upsample_conv(self.conv1, F.relu(self.norm1(x, y)))  # (n, c_out, 2h, 2w)
        h = self.conv2(F.relu(self.norm2(h, y)))
        return h + upsample(self.shortcut(x))  # a 1x1 conv commutes with upsampling; h decides the memory layout


class FirstBlock(nn.Module):
    """conv, ReLU, conv, mean-pool of the image; shortcut: mean-pool, 1x1 conv."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(c_in, c_out, 3), conv(c_out, c_out, 3)
        self.shortcut = conv(c_in, c_out, 1, he=False)

    def forward(self, x: Tensor) -> Tensor:
        shortcut: Tensor = self.shortcut(mean_pool(x))
        return shortcut + conv_mean_pool(self.conv2, relu(self.conv1(x)))


class Block(nn.Module):
    """norm, ReLU, conv, norm, ReLU, conv; shortcut: the identity."""

    def __init__(self, c_in: int, c_out: int, norm: str, bias: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = Norm(norm, c_in), Norm(norm, c_in)
        self.conv1, self.conv2 = conv(c_in, c_in, 3, bias=bias), conv(c_in, c_out, 3)
        self.dropout = nn.Dropout(0)

    def hidden(self, x: Tensor) -> Tensor:
        h = self.conv1(relu(self.norm1(x)))  # (n, c_in, h, w)
        return relu(self.norm2(h))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(x + self.conv2(self.hidden(x)))
        return out  # (n, c_out, h, w)


class Down(Block):
    """A block whose residual is mean-pooled; shortcut: mean-pool, 1x1 conv (in either order: they commute)."""

    def __init__(self, c_in: int, c_out: int, norm: str, bias: bool) -> None:
        super().__init__(c_in, c_out, norm, bias)
        self.shortcut = conv(c_in, c_out, 1, he=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.shortcut(mean_pool(x)) + conv_mean_pool(self.conv2, self.hidden(x)))
        return out  # (n, c_out, h / 2, w / 2)


class Generator(models.Generator):
    """Linear to 4x4, up-blocks to the image's size, norm, ReLU, conv, tanh.

    The two official networks differ in `bias` (of the first convolution of each block) and in `he_output` (the
    initialisation of the last convolution). The last norm is unconditional, as in the official code.
    `batchnorm_groups` is the number of parts of a training batch that have their own batch statistics.
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
        batchnorm_groups: int,
    ) -> None:
        super().__init__()
        check_counts("generator", nz=nz, width=width, max_width=max_width, batchnorm_groups=batchnorm_groups)
        size, self.nz, self.num_classes = check_size(shape), nz, num_classes
        resolutions = [4 * 2**k for k in range(size.bit_length() - 2)]  # 4, 8, ..., size
        channels = [min(width * size // r, max_width) for r in resolutions]
        self.input = linear(nz, channels[0] * 16)
        self.blocks = nn.ModuleList(Up(a, b, norm, bias, num_classes, batchnorm_groups) for a, b in pairwise(channels))
        self.norm = Norm(norm, channels[-1], groups=batchnorm_groups)
        self.output = conv(channels[-1], shape[0], 3, he=he_output)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x: Tensor = self.input(z).view(len(z), -1, 4, 4)
        for block in self.blocks:
            x = block(x, y)
        x = self.output(F.relu(self.norm(x)))
        return x.tanh()  # (n, c, h, w)


class Critic(models.Critic):
    """gan_cifar_resnet.py: down-blocks to 8x8, two plain blocks, ReLU, mean over pixels, linear; all of one width."""

    def __init__(self, *, shape: Sequence[int], num_classes: int, width: int, norm: str, spectral: bool) -> None:
        super().__init__()
        check_counts("critic", width=width)
        downs = max(check_size(shape).bit_length() - 4, 1)  # 32 -> 16 -> 8
        self.blocks = nn.Sequential(
            FirstBlock(shape[0], width),
            *(Down(width, width, norm, bias=True) for _ in range(downs - 1)),
            *(Block(width, width, norm, bias=True) for _ in range(2)),
        )
        self.output = Head(width, num_classes)
        if spectral:
            spectral_norm(self)

    def features(self, x: Tensor) -> Tensor:
        return relu(self.blocks(x)).mean(dim=(2, 3))


class PyramidCritic(models.Critic):
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
        check_counts("critic", width=width, max_width=max_width)
        downs = check_size(shape).bit_length() - 3
        channels = [min(width * 2**k, max_width) for k in range(downs + 1)]  # 64, 128, 256, 512, 512
        self.blocks = nn.Sequential(
            conv(shape[0], channels[0], 3, he=False),
            *(Down(a, b, norm, bias=False) for a, b in pairwise(channels)),
        )
        self.output = Head(channels[-1] * 16, num_classes)
        if spectral:
            spectral_norm(self)

    def features(self, x: Tensor) -> Tensor:
        x = self.blocks(x)
        return x.flatten(1)  # (n, 16 * channels)
