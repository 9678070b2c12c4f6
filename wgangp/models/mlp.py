"""Fully connected networks for data of any shape: those of the official gan_toy.py."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from wgangp import models
from wgangp.models import check_counts, ends_in_tanh
from wgangp.models.conditions import CriticCondition, GeneratorCondition
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
    """Maps z and, if conditional, the condition beside it to data. `output` is tanh, none, or auto: tanh for images."""

    def __init__(
        self,
        *,
        shape: Sequence[int],
        num_classes: int,
        nz: int,
        width: int,
        depth: int,
        output: str,
        condition_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_counts("generator", nz=nz, width=width, depth=depth)
        self.shape, self.num_classes, self.nz = shape, num_classes, nz
        self.tanh = ends_in_tanh(output, shape)
        self.condition_shape = condition_shape
        self.condition = GeneratorCondition("concat", "none", nz, num_classes, condition_shape)
        self.hidden = Hidden(self.condition.inputs, width, depth)
        self.output = linear(width, math.prod(shape))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        z, y = self.condition(z, y)
        x: Tensor = self.output(self.hidden(z)).view(-1, *self.shape)  # (n, *shape)
        return x.tanh() if self.tanh else x


class Critic(models.Critic):
    """Flattens data of any shape."""

    def __init__(
        self,
        *,
        shape: Sequence[int],
        num_classes: int,
        width: int,
        depth: int,
        spectral: bool,
        condition: str,
        condition_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_counts("critic", width=width, depth=depth)
        self.condition = CriticCondition(condition, shape, num_classes, condition_shape)
        self.hidden = Hidden((shape[0] + self.condition.channels) * math.prod(shape[1:]), width, depth)
        self.output = Head(width, self.condition.logits, embedding=self.condition.embedding(width, width))
        if spectral:
            spectral_norm(self)

    def features(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.hidden(x.flatten(1))
        return hidden  # (n, width)
