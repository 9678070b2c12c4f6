"""DCGAN: strided convolutions of kernel 5, as in the official gan_mnist.py, gan_cifar.py and gan_64x64.py.

The data have one to three axes beside the channels. Each is halved and rounded up until it is at most 4: 28, 14, 7, 4
for MNIST. Widths double as sizes halve.

TensorFlow pads a strided convolution at the end, ours are padded at the start. So these networks (with crop="start" for
28x28) are the official ones on images turned by 180 degrees: `rotate_weights` converts the weights of one to the other.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from wgangp import models
from wgangp.models import check_counts, ends_in_tanh
from wgangp.models.conditions import CriticCondition, GeneratorCondition
from wgangp.models.layers import (
    Head,
    Norm,
    activate,
    channels_of,
    conv,
    deconv,
    initialise,
    linear,
    spectral_norm,
)
from wgangp.models.resampling import crop, factors_between, halvings, sizes_of


class Generator(models.Generator):
    """Linear to the smallest maps, then transposed convolutions; norm and activation after each layer except the last.

    `first_norm` normalises the first layer over units (gan_cifar.py, axis 0) or over channels (gan_64x64.py).
    `std` is the standard deviation of all weights; None is the official initialisation of each layer. `crop` is the
    side on which 8x8 is cut to 7x7 for images of 28x28. `output` is tanh, none, or auto: tanh for images.
    `unit_range` replaces tanh by a sigmoid scaled to [-1, 1].
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
        output: str,
        unit_range: bool,
        condition: str,
        condition_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_counts("generator", nz=nz, width=width, max_width=max_width)
        if first_norm not in ("units", "channels"):
            raise ValueError(f"generator.first_norm is {first_norm!r}: choose units or channels")
        if crop not in ("start", "end"):
            raise ValueError(f"generator.crop is {crop!r}: choose start or end")
        self.crop, self.unit_range, self.tanh = crop, unit_range, ends_in_tanh(output, shape)
        if unit_range and not self.tanh:
            raise ValueError("generator.unit_range=true is for data in [-1, 1]: set generator.unit_range=false")
        self.nz, self.num_classes, self.sizes = nz, num_classes, sizes_of(shape, "dcgan")
        self.condition_shape = condition_shape
        self.condition = GeneratorCondition(condition, norm, nz, num_classes, condition_shape)
        self.activation, each = activation, channels_of(activation)
        self.pixels, axes = math.prod(self.sizes[0]), len(shape) - 1
        channels = [min(width * 2**k, max_width) for k in reversed(range(len(self.sizes) - 1))]  # e.g. [4w, 2w, w]
        self.input = linear(self.condition.inputs, each * channels[0] * self.pixels)
        self.units = each * channels[0] * (self.pixels if norm == "batch" and first_norm == "units" else 1)
        self.norms = nn.ModuleList([Norm(norm, self.units, self.condition.affine)])
        self.norms.extend(Norm(norm, each * c, self.condition.affine, axes=axes) for c in channels[1:])
        outputs = [*(each * c for c in channels[1:]), shape[0]]
        strides = [factors_between(*pair) for pair in pairwise(self.sizes)]
        self.deconvs = nn.ModuleList(deconv(a, b, 5, s) for a, b, s in zip(channels, outputs, strides, strict=True))
        initialise(self, std)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        z, y = self.condition(z, y)
        x: Tensor = self.norms[0](self.input(z).view(z.shape[0], self.units, -1, 1), y)
        x = activate(x.reshape(z.shape[0], -1, *self.sizes[0]), self.activation)
        for i, (up, size) in enumerate(zip(self.deconvs, self.sizes[1:], strict=True), start=1):
            x = crop(up(x), size, self.crop)
            if i < len(self.norms):
                x = activate(self.norms[i](x, y), self.activation)
        x = x / 2 if self.unit_range else x  # 2 sigmoid(x) - 1 = tanh(x / 2)
        return x.tanh() if self.tanh else x


class Critic(models.Critic):
    """Strided convolutions, each with an activation and, except the first, a norm; then a linear layer.

    With `unit_range` it is x -> 2 f((x + 1) / 2) for a network f of images in [0, 1]: its gradient in x is that of f in
    the image in [0, 1], and Wasserstein estimates are twice those of f. `max_width` limits the width; None is 1024, but
    no limit for square images.
    """

    def __init__(
        self,
        *,
        shape: Sequence[int],
        num_classes: int,
        width: int,
        max_width: int | None,
        norm: str,
        activation: str,
        std: float | None,
        unit_range: bool,
        spectral: bool,
        condition: str,
        condition_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        sizes = sizes_of(shape, "dcgan")
        if max_width is None:
            square = len(shape) == 3 and shape[1] == shape[2]
            max_width = width * 2 ** len(sizes) if square else 1024
        check_counts("critic", width=width, max_width=max_width)
        self.unit_range, self.pixels = unit_range, math.prod(sizes[0])
        self.activation, each = activation, channels_of(activation)
        self.condition = CriticCondition(condition, shape, num_classes, condition_shape)
        channels = [shape[0] + self.condition.channels, *(min(width * 2**k, max_width) for k in range(len(sizes) - 1))]
        pairs = zip(pairwise(channels), halvings(sizes), strict=True)
        self.convs = nn.ModuleList(conv(a, each * b, 5, stride) for (a, b), stride in pairs)
        norms = ["none", *[norm] * (len(sizes) - 2)]
        self.norms = nn.ModuleList(
            Norm(kind, each * c, axes=len(shape) - 1) for kind, c in zip(norms, channels[1:], strict=True)
        )
        self.dropout = nn.Dropout(0)
        features, divisor = channels[-1] * self.pixels, 0.5 if unit_range else 1
        self.output = Head(features, self.condition.logits, divisor, self.condition.embedding(features, width))
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
    """Turns every kernel and every map of the weights around along all axes, in place: by 180 degrees for images.

    Load the official weights, then call this: the network is then the official one between turned images, that is
    generator(z).flip(2, 3) and critic(x.flip(2, 3)) are the official outputs. Axes of TensorFlow's weights as torch has
    them: permute(3, 2, 0, 1) for convolutions and transposed ones, transpose(0, 1) for linear layers.
    """
    for layer in network.modules():
        if isinstance(layer, nn.modules.conv._ConvNd):
            layer.weight.copy_(layer.weight.flip(tuple(range(2, layer.weight.ndim))))
    if isinstance(network, Critic):
        maps = [network.output.weight.T]  # (pixels * channels, 1 + num_classes)
    else:
        maps = [network.input.weight, network.input.bias]
        if network.units == len(network.input.bias):  # the first norm has weights for each unit
            maps += [t for t in network.norms[0].state_dict().values() if t.shape[:1] == (network.units,)]
    for x in maps:
        x.copy_(x.view(-1, network.pixels, *x.shape[1:]).flip(1).reshape(x.shape))
