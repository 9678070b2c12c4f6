"""Fully connected networks for data of any shape: those of the official gan_toy.py."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgangp import models
from wgangp.models import check_counts, ends_in_tanh
from wgangp.models.layers import Head, linear, relu, spectral_norm


class Hidden(nn.Module):
    """`depth` linear layers of `width` units, each followed by a ReLU."""

    def __init__(self, fan_in: int, width: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(linear(a, b, he=True) for a, b in pairwise([fan_in, *[width] * depth]))
        self.dropout = nn.Dropout(0)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.dropout(relu(layer(x)))
        return x


class Generator(models.Generator):
    """Maps z and, if conditional, the one-hot label to data. `output` is tanh, none, or auto: tanh for images."""

    def __init__(self, *, shape: Sequence[int], num_classes: int, nz: int, width: int, depth: int, output: str) -> None:
        super().__init__()
        check_counts("generator", nz=nz, width=width, depth=depth)
        self.shape, self.num_classes, self.nz = shape, num_classes, nz
        self.tanh = ends_in_tanh(output, shape)
        self.hidden = Hidden(nz + num_classes, width, depth)
        self.output = linear(width, math.prod(shape))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.num_classes:
            if y is None:
                raise ValueError("this generator is conditional: give it labels y of shape (n,)")
            z = torch.cat([z, F.one_hot(y, self.num_classes).to(z.dtype)], dim=1)
        x: Tensor = self.output(self.hidden(z)).view(-1, *self.shape)  # (n, *shape)
        return x.tanh() if self.tanh else x


class Critic(models.Critic):
    """Flattens data of any shape."""

    def __init__(self, *, shape: Sequence[int], num_classes: int, width: int, depth: int, spectral: bool) -> None:
        super().__init__()
        check_counts("critic", width=width, depth=depth)
        self.hidden = Hidden(math.prod(shape), width, depth)
        self.output = Head(width, num_classes)
        if spectral:
            spectral_norm(self)

    def features(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.hidden(x.flatten(1))
        return hidden  # (n, width)
