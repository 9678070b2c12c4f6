"""DCGAN: strided 5x5 convolutions, as in the official gan_mnist.py, gan_cifar.py and gan_64x64.py.

The image's size is halved and rounded up until it is 4: 28, 14, 7, 4 for MNIST. Widths double as sizes halve.

TensorFlow pads a strided convolution at the end, ours are padded at the start. So these networks (with crop="start" for
28x28) are the official ones on images turned by 180 degrees: `rotate_weights` converts the weights of one to the other.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from wgangp import models
from wgangp.models import check_counts
from wgangp.models.layers import Head, Norm, activate, channels_of, conv, deconv, initialise, linear, spectral_norm


def image_sizes(shape: Sequence[int]) -> list[int]:
    """Returns [4, ..., size]. Raises ValueError if images are not square or their size does not come down to 4."""
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


class Generator(models.Generator):
    """Linear to 4x4, then transposed convolutions; norm and activation after each layer except the last; tanh.

    `first_norm` normalises the first layer over units (gan_cifar.py, axis 0) or over channels (gan_64x64.py).
    `std` is the standard deviation of all weights; None is the official initialisation of each layer. `crop` is the
    side on which 8x8 is cut to 7x7 for images of 28x28. `unit_range` replaces tanh by a sigmoid scaled to [-1, 1].
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
        first_norm: str,
        activation: str,
        std: float | None,
        crop: str,
        unit_range: bool,
    ) -> None:
        super().__init__()
        check_counts("generator", nz=nz, width=width, max_width=max_width)
        if first_norm not in ("units", "channels"):
            raise ValueError(f"generator.first_norm is {first_norm!r}: choose units or channels")
        if crop not in ("start", "end"):
            raise ValueError(f"generator.crop is {crop!r}: choose start or end")
        self.crop, self.unit_range = crop, unit_range
        self.nz, self.num_classes, self.sizes = nz, num_classes, image_sizes(shape)
        self.activation, each = activation, channels_of(activation)
        ups = len(self.sizes) - 1
        channels = [min(width * 2**k, max_width) for k in reversed(range(ups))]  # e.g. [4w, 2w, w]
        self.input = linear(nz, each * channels[0] * 16)
        self.units = each * channels[0] * (16 if norm == "batch" and first_norm == "units" else 1)
        self.norms = nn.ModuleList(Norm(norm, c, num_classes) for c in (self.units, *(each * c for c in channels[1:])))
        outputs = [*(each * c for c in channels[1:]), shape[0]]
        self.deconvs = nn.ModuleList(deconv(a, b) for a, b in zip(channels, outputs, strict=True))
        initialise(self, std)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x: Tensor = self.norms[0](self.input(z).view(len(z), self.units, -1, 1), y)
        x = activate(x.reshape(len(z), -1, 4, 4), self.activation)
        for i, (up, size) in enumerate(zip(self.deconvs, self.sizes[1:], strict=True), start=1):
            x = up(x)
            x = x[:, :, :size, :size] if self.crop == "end" else x[:, :, -size:, -size:]
            if i < len(self.norms):
                x = activate(self.norms[i](x, y), self.activation)
        return (x / 2 if self.unit_range else x).tanh()  # 2 sigmoid(x) - 1 = tanh(x / 2)


class Critic(models.Critic):
    """Strided convolutions, each with an activation and, except the first, a norm; then a linear layer.

    With `unit_range` it is x -> 2 f((x + 1) / 2) for a network f of images in [0, 1]: its gradient in x is that of f in
    the image in [0, 1], and Wasserstein estimates are twice those of f.
    """

    def __init__(
        self,
        *,
        shape: Sequence[int],
        num_classes: int,
        width: int,
        norm: str,
        activation: str,
        std: float | None,
        unit_range: bool,
        spectral: bool,
    ) -> None:
        super().__init__()
        check_counts("critic", width=width)
        self.unit_range = unit_range
        self.activation, each = activation, channels_of(activation)
        downs = len(image_sizes(shape)) - 1
        channels = [shape[0], *(width * 2**k for k in range(downs))]  # e.g. [c, w, 2w, 4w]
        self.convs = nn.ModuleList(conv(a, each * b, 5, stride=2) for a, b in pairwise(channels))
        self.norms = nn.ModuleList(Norm("none" if i == 0 else norm, each * c) for i, c in enumerate(channels[1:]))
        self.dropout = nn.Dropout(0)
        self.output = Head(channels[-1] * 16, num_classes, divisor=0.5 if unit_range else 1)
        initialise(self, std)
        if spectral:
            spectral_norm(self)

    def features(self, x: Tensor) -> Tensor:
        x = (x + 1) / 2 if self.unit_range else x
        for down, norm in zip(self.convs, self.norms, strict=True):
            x = self.dropout(activate(norm(down(x)), self.activation))
        return x.flatten(1)


@torch.no_grad()
def rotate_weights(network: Generator | Critic) -> None:
    """Turns every kernel and every 4x4 map of the weights by 180 degrees, in place.

    Load the official weights, then call this: the network is then the official one between turned images, that is
    generator(z).flip(2, 3) and critic(x.flip(2, 3)) are the official outputs. Axes of TensorFlow's weights as torch has
    them: permute(3, 2, 0, 1) for convolutions and transposed ones, transpose(0, 1) for linear layers.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.weight.copy_(layer.weight.flip(2, 3))
    if isinstance(network, Critic):
        maps = [network.output.weight.T]  # (16 * channels, 1 + num_classes)
    else:
        maps = [network.input.weight, network.input.bias]
        if network.units == len(network.input.bias):  # the first norm has weights for each unit
            maps += [t for t in network.norms[0].state_dict().values() if t.shape[:1] == (network.units,)]
    for x in maps:
        x.copy_(x.view(-1, 16, *x.shape[1:]).flip(1).reshape(x.shape))
