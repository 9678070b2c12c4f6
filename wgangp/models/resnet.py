"""Residual networks of the official gan_cifar_resnet.py and of gan_64x64.py ("good"), for any size.

The data have one to three axes beside the channels. Each is halved, rounding up, until it is at most 4. Widths double
as sizes halve, from `width` at the data's size up to `max_width` (64x64); with max_width = width all are the same
(CIFAR-10).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from wgangp import models
from wgangp.models import check_counts, ends_in_tanh
from wgangp.models.conditions import CriticCondition, GeneratorCondition
from wgangp.models.layers import Affine, Head, Norm, conv, linear, relu, spectral_norm
from wgangp.models.resampling import (
    Size,
    conv_mean_pool,
    crop,
    even,
    factors_between,
    halvings,
    mean_pool,
    sizes_of,
    upsample,
    upsample_conv,
)


class Up(nn.Module):
    """norm, ReLU, upsample, conv, norm, ReLU, conv; shortcut: upsample, 1x1 conv; from size `small` to size `large`."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        small: Size,
        large: Size,
        norm: str,
        bias: bool,
        affine: Affine | None = None,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.size, self.factors, axes = large, factors_between(small, large), len(large)
        self.norm1, self.norm2 = (Norm(norm, c, affine, groups, axes) for c in (c_in, c_out))
        same = (1,) * axes
        self.conv1, self.conv2 = conv(c_in, c_out, 3, same, bias=bias), conv(c_out, c_out, 3, same)
        self.shortcut = conv(c_in, c_out, 1, same, he=False)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h: Tensor = upsample_conv(self.conv1, F.relu(self.norm1(x, y)), self.factors)  # (n, c_out, *doubled)
        h = self.conv2(F.relu(self.norm2(h, y)))
        h = h + upsample(self.shortcut(x), self.factors)  # a 1x1 conv commutes with upsampling; h decides the layout
        return crop(h, self.size)  # (n, c_out, *large)


class FirstBlock(nn.Module):
    """conv, ReLU, conv, mean-pool of the data; shortcut: mean-pool, 1x1 conv."""

    def __init__(self, c_in: int, c_out: int, factors: Size) -> None:
        super().__init__()
        self.factors, same = factors, (1,) * len(factors)
        self.conv1, self.conv2 = conv(c_in, c_out, 3, same), conv(c_out, c_out, 3, same)
        self.shortcut = conv(c_in, c_out, 1, same, he=False)

    def forward(self, x: Tensor) -> Tensor:
        x = even(x, self.factors)
        shortcut: Tensor = self.shortcut(mean_pool(x, self.factors))
        return shortcut + conv_mean_pool(self.conv2, relu(self.conv1(x)), self.factors)


class Block(nn.Module):
    """norm, ReLU, conv, norm, ReLU, conv; shortcut: the identity."""

    def __init__(self, c_in: int, c_out: int, norm: str, bias: bool, axes: int) -> None:
        super().__init__()
        same = (1,) * axes
        self.norm1, self.norm2 = Norm(norm, c_in, axes=axes), Norm(norm, c_in, axes=axes)
        self.conv1, self.conv2 = conv(c_in, c_in, 3, same, bias=bias), conv(c_in, c_out, 3, same)
        self.dropout = nn.Dropout(0)

    def hidden(self, x: Tensor) -> Tensor:
        h = self.conv1(relu(self.norm1(x)))  # (n, c_in, *size)
        return relu(self.norm2(h))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(x + self.conv2(self.hidden(x)))
        return out  # (n, c_out, *size)


class Down(Block):
    """A block whose residual is mean-pooled; shortcut: mean-pool, 1x1 conv (in either order: they commute)."""

    def __init__(self, c_in: int, c_out: int, norm: str, bias: bool, factors: Size) -> None:
        super().__init__(c_in, c_out, norm, bias, len(factors))
        self.factors = factors
        self.shortcut = conv(c_in, c_out, 1, (1,) * len(factors), he=False)

    def forward(self, x: Tensor) -> Tensor:
        x = even(x, self.factors)
        shortcut = self.shortcut(mean_pool(x, self.factors))
        out: Tensor = self.dropout(shortcut + conv_mean_pool(self.conv2, self.hidden(x), self.factors))
        return out  # (n, c_out, *halved)


class Generator(models.Generator):
    """Linear to the smallest maps, up-blocks to the data's size, norm, ReLU, conv.

    The two official networks differ in `bias` (of the first convolution of each block) and in `he_output` (the
    initialisation of the last convolution). The last norm is unconditional, as in the official code.
    `batchnorm_groups` is the number of parts of a training batch that have their own batch statistics. `output` is
    tanh, none, or auto: tanh for images.
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
        output: str,
        condition: str,
        condition_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_counts("generator", nz=nz, width=width, max_width=max_width, batchnorm_groups=batchnorm_groups)
        self.nz, self.num_classes, self.tanh = nz, num_classes, ends_in_tanh(output, shape)
        self.condition_shape = condition_shape
        self.condition = GeneratorCondition(condition, norm, nz, num_classes, condition_shape)
        sizes = sizes_of(shape, "resnet")
        channels = [min(width * 2**k, max_width) for k in reversed(range(len(sizes)))]
        self.size = sizes[0]
        self.input = linear(self.condition.inputs, channels[0] * math.prod(self.size))
        self.blocks = nn.ModuleList(
            Up(*c, *s, norm, bias, self.condition.affine, batchnorm_groups)
            for c, s in zip(pairwise(channels), pairwise(sizes), strict=True)
        )
        self.norm = Norm(norm, channels[-1], groups=batchnorm_groups, axes=len(shape) - 1)
        self.output = conv(channels[-1], shape[0], 3, (1,) * (len(shape) - 1), he=he_output)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        z, y = self.condition(z, y)
        x: Tensor = self.input(z).view(z.shape[0], -1, *self.size)
        for block in self.blocks:
            x = block(x, y)
        x = self.output(F.relu(self.norm(x)))
        return x.tanh() if self.tanh else x  # (n, *shape)


class Critic(models.Critic):
    """gan_cifar_resnet.py: down-blocks to 8x8, two plain blocks, ReLU, mean over pixels, linear; all of one width.

    Data of at most 8x8 have one down-block.
    """

    def __init__(
        self,
        *,
        shape: Sequence[int],
        num_classes: int,
        width: int,
        norm: str,
        spectral: bool,
        condition: str,
        condition_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_counts("critic", width=width)
        self.condition = CriticCondition(condition, shape, num_classes, condition_shape)
        first, *others = halvings(sizes_of(shape, "resnet", least=8))  # 32 -> 16 -> 8
        self.blocks = nn.Sequential(
            FirstBlock(shape[0] + self.condition.channels, width, first),
            *(Down(width, width, norm, bias=True, factors=factors) for factors in others),
            *(Block(width, width, norm, bias=True, axes=len(first)) for _ in range(2)),
        )
        self.output = Head(width, self.condition.logits, embedding=self.condition.embedding(width, width))
        if spectral:
            spectral_norm(self)

    def features(self, x: Tensor) -> Tensor:
        return relu(self.blocks(x)).mean(dim=tuple(range(2, x.ndim)))


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
        condition: str,
        condition_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_counts("critic", width=width, max_width=max_width)
        self.condition = CriticCondition(condition, shape, num_classes, condition_shape)
        sizes = sizes_of(shape, "resnet")
        channels = [min(width * 2**k, max_width) for k in range(len(sizes))]  # 64, 128, 256, 512, 512
        self.blocks = nn.Sequential(
            conv(shape[0] + self.condition.channels, channels[0], 3, (1,) * (len(shape) - 1), he=False),
            *(Down(*c, norm, False, factors) for c, factors in zip(pairwise(channels), halvings(sizes), strict=True)),
        )
        features = channels[-1] * math.prod(sizes[0])
        self.output = Head(features, self.condition.logits, embedding=self.condition.embedding(features, width))
        if spectral:
            spectral_norm(self)

    def features(self, x: Tensor) -> Tensor:
        x = self.blocks(x)
        return x.flatten(1)  # (n, channels * pixels)
