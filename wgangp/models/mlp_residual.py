"""Fully connected networks with residual blocks, for vectors: columns of a table, or other data made flat.

The blocks are those of models/resnet.py with linear layers in place of convolutions.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgangp import models
from wgangp.models import check_counts, ends_in_tanh
from wgangp.models.layers import Head, Norm, linear, relu, spectral_norm


class Block(nn.Module):
    """x + (norm, ReLU, linear, norm, ReLU, linear)."""

    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.norm1, self.norm2 = Norm(norm, width, axes=0), Norm(norm, width, axes=0)
        self.linear1, self.linear2 = linear(width, width, he=True), linear(width, width)
        self.dropout = nn.Dropout(0)

    def forward(self, x: Tensor) -> Tensor:
        h = self.linear1(relu(self.norm1(x)))
        out: Tensor = self.dropout(x + self.linear2(relu(self.norm2(h))))
        return out  # (n, width)


class Generator(models.Generator):
    """Linear, blocks, norm, ReLU, linear. A label enters as a one-hot vector beside z.

    `output` is tanh, none, or auto: tanh for images.
    """

    def __init__(
        self, *, shape: Sequence[int], num_classes: int, nz: int, width: int, blocks: int, norm: str, output: str
    ) -> None:
        super().__init__()
        check_counts("generator", nz=nz, width=width, blocks=blocks)
        self.shape, self.num_classes, self.nz = shape, num_classes, nz
        self.tanh = ends_in_tanh(output, shape)
        self.input = linear(nz + num_classes, width)
        self.blocks = nn.Sequential(*(Block(width, norm) for _ in range(blocks)))
        self.norm = Norm(norm, width, axes=0)
        self.output = linear(width, math.prod(shape))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.num_classes:
            if y is None:
                raise ValueError("this generator is conditional: give it labels y of shape (n,)")
            z = torch.cat([z, F.one_hot(y, self.num_classes).to(z.dtype)], dim=1)
        h = self.norm(self.blocks(self.input(z)))
        x: Tensor = self.output(relu(h)).view(-1, *self.shape)  # (n, *shape)
        return x.tanh() if self.tanh else x


class Critic(models.Critic):
    """Flatten, linear, blocks, norm, ReLU, linear."""

    def __init__(
        self, *, shape: Sequence[int], num_classes: int, width: int, blocks: int, norm: str, spectral: bool
    ) -> None:
        super().__init__()
        check_counts("critic", width=width, blocks=blocks)
        self.input = linear(math.prod(shape), width)
        self.blocks = nn.Sequential(*(Block(width, norm) for _ in range(blocks)))
        self.norm = Norm(norm, width, axes=0)
        self.output = Head(width, num_classes)
        if spectral:
            spectral_norm(self)

    def features(self, x: Tensor) -> Tensor:
        x = self.norm(self.blocks(self.input(x.flatten(1))))
        return relu(x)  # (n, width)
