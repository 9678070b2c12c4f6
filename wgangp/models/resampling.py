"""Halving and doubling of maps x (n, c, *size) of one to three axes, also within convolutions.

A size is a tuple, one length an axis. `factors` says which axes are resampled: 2 for those that are, 1 for the others.
An axis is halved with rounding up: 7 to 4. On the way up 4 becomes 8, of which 7 are kept.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Size = tuple[int, ...]
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
CONVOLVE = (F.conv1d, F.conv2d, F.conv3d)
CONVOLVE_TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def sizes_of(shape: Sequence[int], family: str, least: int = 4) -> list[Size]:
    """Returns the sizes of a network's maps, from the smallest up to the data's own.

    An axis longer than `least` is halved until it is not. Shorter axes keep their length meanwhile.
    Raises ValueError if the data have no axes beside the channels, more than three, or none longer than 4.
    """
    if len(shape) not in (2, 3, 4):
        raise ValueError(
            f"{family} is for data with channels and 1 to 3 axes, and the data is {tuple(shape)}: "
            "use generator=mlp critic=mlp"
        )
    sizes: list[Size] = [tuple(shape[1:])]
    if max(sizes[0]) <= 4:
        raise ValueError(
            f"{family} halves an axis longer than 4, and the data is {tuple(shape)}: "
            "set dataset.size=8 or larger if they are images, or use generator=mlp critic=mlp"
        )
    least = least if max(sizes[0]) > least else 4
    while max(sizes[0]) > least:
        sizes.insert(0, tuple(-(-s // 2) if s > least else s for s in sizes[0]))
    return sizes


def factors_between(small: Size, large: Size) -> Size:
    """Returns 2 for each axis that is longer in `large`, and 1 for the others."""
    return tuple(2 if a < b else 1 for a, b in zip(small, large, strict=True))


def halvings(sizes: Sequence[Size]) -> list[Size]:
    """Returns the factors of a critic's halvings, from the data's size down, for sizes from the smallest up."""
    return [factors_between(*pair) for pair in itertools.pairwise(sizes)][::-1]


def even(x: Tensor, factors: Size) -> Tensor:
    """Repeats the last element of an axis that is to be halved and has an odd length."""
    for axis, factor in enumerate(factors, start=2):
        if x.shape[axis] % factor:
            x = torch.cat([x, x.narrow(axis, x.shape[axis] - 1, 1)], dim=axis)
    return x


def crop(x: Tensor, size: Size, side: str = "end") -> Tensor:
    """Cuts maps to a size, at the end or at the start of each axis."""
    return x[(..., *(slice(s) if side == "end" else slice(-s, None) for s in size))]


def mean_pool(x: Tensor, factors: Size) -> Tensor:
    """Means over pairs of neighbours along each axis of factor 2, for instance over 2x2 pixels."""
    pairs = itertools.chain.from_iterable((s // f, f) for s, f in zip(x.shape[2:], factors, strict=True))
    return x.view(*x.shape[:2], *pairs).mean(dim=tuple(range(3, 3 + 2 * len(factors), 2)))


def upsample(x: Tensor, factors: Size) -> Tensor:
    """Nearest-neighbour upsampling along each axis of factor 2.

    As F.interpolate, whose backward pass Inductor compiles to slow atomic additions.
    """
    size = x.shape[2:]
    repeated = itertools.chain.from_iterable(zip(size, factors, strict=True))
    x = x[(slice(None), slice(None), *(slice(None), None) * len(factors))].expand(*x.shape[:2], *repeated)
    return x.reshape(*x.shape[:2], *(s * f for s, f in zip(size, factors, strict=True)))


# A convolution of kernel k followed by mean-pooling of pairs equals one of kernel k + 1 and stride 2. After
# nearest-neighbour upsampling it equals a transposed one. For k = 3 that is 2/3 of the arithmetic an axis, 4/9 for
# images, and no tensor at the larger size.


def conv_mean_pool(layer: Convolution, x: Tensor, factors: Size) -> Tensor:
    """mean_pool(layer(x)) for a layer that keeps the size."""
    weight = _spread(layer.weight, factors) / math.prod(factors)
    return CONVOLVE[len(factors) - 1](x, weight, layer.bias, stride=factors, padding=layer.kernel_size[0] // 2)


def upsample_conv(layer: Convolution, x: Tensor, factors: Size) -> Tensor:
    """layer(upsample(x)) for a layer that keeps the size."""
    axes = tuple(range(2, 2 + len(factors)))
    weight = _spread(layer.weight, factors).flip(axes).transpose(0, 1)  # (c_in, c_out, *kernel)
    transposed = CONVOLVE_TRANSPOSED[len(factors) - 1]
    return transposed(x, weight, layer.bias, stride=factors, padding=layer.kernel_size[0] // 2)


def _spread(weight: Tensor, factors: Size) -> Tensor:
    """Returns the sum of a kernel at its places in one that is longer by 1 on each axis of factor 2."""
    for axis, factor in enumerate(factors, start=2):
        if factor == 2:
            others = [0, 0] * (weight.ndim - 1 - axis)  # F.pad counts axes from the last
            weight = F.pad(weight, [*others, 0, 1]) + F.pad(weight, [*others, 1, 0])
    return weight
