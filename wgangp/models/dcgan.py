"""Strided 5x5 convolutions as in the official gan_mnist.py, gan_cifar.py and gan_64x64.py (DCGAN).

The sizes are the image's, halved and rounded up until 4 remain: 28, 14, 7, 4 for MNIST. Widths double as sizes halve.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from wgangp.layers import Norm, conv, deconv, leaky_relu, linear, spectral_norm


def image_sizes(shape: Sequence[int]) -> list[int]:
    """[4, ..., size] for square images whose size, halved with rounding up, comes to 4; else a ValueError."""
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ValueError(f"dcgan needs square images, and the data is {tuple(shape)}: set dataset.size, or use mlp")
    sizes = [shape[1]]
    while sizes[0] > 4:
        sizes.insert(0, -(-sizes[0] // 2))
    if sizes[0] < 4 or len(sizes) == 1:
        raise ValueError(
            f"dcgan cannot make images of {shape[1]}x{shape[1]}: set dataset.size to 8, 16, 28, 32, 64, 128 ..."
        )
    return sizes


class Generator(nn.Module):
    """Linear to 4x4, then transposed convolutions; norm after each layer but the last, ReLU, tanh."""

    def __init__(self, *, shape: Sequence[int], num_classes: int, nz: int, width: int, norm: str) -> None:
        super().__init__()
        self.nz, self.num_classes, self.sizes = nz, num_classes, image_sizes(shape)
        ups = len(self.sizes) - 1
        channels = [width * 2**k for k in reversed(range(ups))]  # e.g. [4w, 2w, w]
        self.input = linear(nz, channels[0] * 16)
        # Batch statistics of the first layer are per unit, not per channel (gan_cifar.py normalises axis 0).
        self.units = channels[0] * (16 if norm == "batch" else 1)
        self.norms = nn.ModuleList(Norm(norm, c, num_classes) for c in (self.units, *channels[1:]))
        self.deconvs = nn.ModuleList(deconv(a, b) for a, b in zip(channels, [*channels[1:], shape[0]], strict=True))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.norms[0](self.input(z).view(len(z), self.units, -1, 1), y)
        x = F.relu(x).view(len(z), -1, 4, 4)
        for i, (up, size) in enumerate(zip(self.deconvs, self.sizes[1:], strict=True), start=1):
            x = up(x)[:, :, :size, :size]  # 8x8 is cropped to 7x7 for 28
            if i < len(self.norms):
                x = F.relu(self.norms[i](x, y))
        return x.tanh()


class Critic(nn.Module):
    """Strided convolutions with LeakyReLU(0.2), norm on all but the first, then one linear layer."""

    def __init__(self, *, shape: Sequence[int], num_classes: int, width: int, norm: str, spectral: bool) -> None:
        super().__init__()
        downs = len(image_sizes(shape)) - 1
        channels = [shape[0], *(width * 2**k for k in range(downs))]  # e.g. [c, w, 2w, 4w]
        self.convs = nn.ModuleList(conv(a, b, 5, stride=2) for a, b in pairwise(channels))
        self.norms = nn.ModuleList(Norm("none" if i == 0 else norm, c) for i, c in enumerate(channels[1:]))
        self.output = linear(channels[-1] * 16, 1 + num_classes)
        if spectral:
            spectral_norm(self)

    def forward(self, x: Tensor) -> Tensor:
        for down, norm in zip(self.convs, self.norms, strict=True):
            x = leaky_relu(norm(down(x)))
        return self.output(x.flatten(1))
