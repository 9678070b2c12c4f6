"""Fully connected networks: the toy networks of the official gan_toy.py, for data of any shape."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgangp.models.layers import ScoredFeatures, linear, relu, spectral_norm


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


class Generator(nn.Module):
    """z and, where conditional, the one-hot label to data; images end in tanh, other data is unbounded."""

    def __init__(self, *, shape: Sequence[int], num_classes: int, nz: int, width: int, depth: int) -> None:
        super().__init__()
        self.shape, self.num_classes, self.nz = shape, num_classes, nz
        self.hidden = Hidden(nz + num_classes, width, depth)
        self.output = linear(width, math.prod(shape))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.num_classes:
            assert y is not None, "a conditional generator needs labels"
            z = torch.cat([z, F.one_hot(y, self.num_classes).to(z.dtype)], dim=1)
        x = self.output(self.hidden(z)).view(-1, *self.shape)  # (n, *shape)
        return x.tanh() if len(self.shape) == 3 else x


class Critic(ScoredFeatures):
    """Any data, flattened, to (n, 1 + num_classes)."""

    def __init__(self, *, shape: Sequence[int], num_classes: int, width: int, depth: int, spectral: bool) -> None:
        super().__init__()
        self.hidden = Hidden(math.prod(shape), width, depth)
        self.output = linear(width, 1 + num_classes)
        if spectral:
            spectral_norm(self)

    def features(self, x: Tensor) -> Tensor:
        return self.hidden(x.flatten(1))
