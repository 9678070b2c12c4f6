"""The 101-layer bottleneck ResNets of gan_64x64.py, which test whether a method trains deep networks.

Each size from 4x4 to 64x64 has a stage of 6, 6, 6, 6, 5 blocks; a resampling block joins two stages. Channels halve as
the size doubles, down to width / 2 at the image's size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wgangp import models
from wgangp.models import check_counts
from wgangp.models.layers import Head, Norm, conv, deconv, linear, relu, spectral_norm


def stages(shape: Sequence[int], blocks: Sequence[int], width: int) -> list[tuple[int, int]]:
    """Returns (blocks, channels) of each stage, from 4x4 up.

    Raises ValueError if the blocks are not positive numbers, if the width is not a multiple of 4, or if the number of
    stages does not fit the image's size.
    """
    if not (isinstance(blocks, Sequence) and all(type(n) is int and n > 0 for n in blocks)):
        raise ValueError(f"blocks={blocks}: give a list of whole numbers of at least 1, as in [6,6,6,6,5]")
    if width % 4:
        raise ValueError(f"width={width}: resnet101 halves it twice, so give a multiple of 4")
    size = 4 * 2 ** (len(blocks) - 1)
    if len(shape) != 3 or tuple(shape[1:]) != (size, size):
        raise ValueError(
            f"resnet101 with {len(blocks)} stages makes images of {size}x{size}, and the data is {tuple(shape)}: "
            f"set dataset.size={size}, or give generator.blocks and critic.blocks a number for each size from 4 up"
        )
    return [(n, width * 2**k // 2) for n, k in zip(blocks, reversed(range(len(blocks))), strict=True)]


class Bottleneck(nn.Module):
    """shortcut + 0.3 * (ReLU, 1x1, ReLU, 3x3, ReLU, 1x1 without bias, norm); keeps, halves or doubles the size.

    A shortcut that halves the size takes one pixel of each 2x2, at row and column `pixel`, 0 or 1. The 3x3 convolution
    is centred on 0.
    """

    def __init__(self, c_in: int, c_out: int, resample: str | None, norm: str, pixel: int = 0) -> None:
        super().__init__()
        self.pixel = pixel
        self.conv1 = conv(c_in, c_in // 2, 1)
        if resample == "up":
            self.conv2: nn.Module = deconv(c_in // 2, c_out // 2, 3)
            self.shortcut: nn.Module = nn.Sequential(conv(c_in, 4 * c_out, 1, he=False), nn.PixelShuffle(2))
        elif resample == "down":
            self.conv2 = conv(c_in // 2, c_out // 2, 3, stride=(2, 2))
            self.shortcut = conv(c_in, c_out, 1, stride=(2, 2), he=False)
        else:
            self.conv2 = conv(c_in // 2, c_out // 2, 3)
            self.shortcut = nn.Identity()
        self.conv3 = conv(c_out // 2, c_out, 1, bias=False)
        self.norm = Norm(norm, c_out)
        self.dropout = nn.Dropout(0)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(relu(self.conv1(relu(x))))
        shortcut = self.shortcut(x[:, :, self.pixel :, self.pixel :])
        out: Tensor = self.dropout(shortcut + 0.3 * self.norm(self.conv3(relu(h))))
        return out


class Generator(models.Generator):
    """Linear to 4x4, the stages upwards, a 1x1 convolution, tanh(x / 5)."""

    def __init__(
        self, *, shape: Sequence[int], num_classes: int, nz: int, width: int, blocks: Sequence[int], norm: str
    ) -> None:
        super().__init__()
        if num_classes:
            raise ValueError("resnet101 is unconditional: use generator=resnet_pyramid with conditional=true")
        check_counts("generator", nz=nz, width=width)
        self.nz, self.num_classes = nz, 0
        plan = stages(shape, blocks, width)
        self.input = linear(nz, plan[0][1] * 16)
        self.blocks = nn.Sequential()
        for i, (n, c) in enumerate(plan):
            if i > 0:
                self.blocks.append(Bottleneck(plan[i - 1][1], c, "up", norm))
            self.blocks.extend([Bottleneck(c, c, None, norm) for _ in range(n)])
        self.output = conv(plan[-1][1], shape[0], 1, he=False)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.blocks(self.input(z).view(z.shape[0], -1, 4, 4))
        return torch.tanh(self.output(x) / 5)  # (n, c, h, w)


class Critic(models.Critic):
    """A 1x1 convolution, the stages downwards, flatten, linear / 5.

    With shortcut_pixel="last" it is the official critic on images turned by 180 degrees, as is the generator: of each
    2x2 pixels, TensorFlow's shortcut takes the first, and its 3x3 convolution is centred on the last.
    """

    def __init__(
        self,
        *,
        shape: Sequence[int],
        num_classes: int,
        width: int,
        blocks: Sequence[int],
        norm: str,
        shortcut_pixel: str,
        spectral: bool,
    ) -> None:
        super().__init__()
        check_counts("critic", width=width)
        if shortcut_pixel not in ("first", "last"):
            raise ValueError(f"critic.shortcut_pixel is {shortcut_pixel!r}: choose first or last")
        pixel = int(shortcut_pixel == "last")
        plan = stages(shape, blocks, width)[::-1]
        self.input = conv(shape[0], plan[0][1], 1, he=False)
        self.blocks = nn.Sequential()
        for i, (n, c) in enumerate(plan):
            if i > 0:
                self.blocks.append(Bottleneck(plan[i - 1][1], c, "down", norm, pixel))
            self.blocks.extend([Bottleneck(c, c, None, norm) for _ in range(n)])
        self.output = Head(plan[-1][1] * 16, num_classes, divisor=5)
        if spectral:
            spectral_norm(self)

    def features(self, x: Tensor) -> Tensor:
        x = self.blocks(self.input(x))
        return x.flatten(1)  # (n, 16 * channels)
