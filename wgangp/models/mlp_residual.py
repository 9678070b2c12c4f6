"""Fully connected networks with residual blocks, for vectors: columns of a table, or other data made flat.

The blocks are those of models/resnet.py with linear layers in place of convolutions.
"""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from wgangp import models
from wgangp.models import check_counts, ends_in_tanh
from wgangp.models.conditions import CriticCondition, GeneratorCondition
from wgangp.models.layers import Affine, Head, Norm, linear, relu, spectral_norm


class Block(nn.Module):
    """x + (norm, ReLU, linear, norm, ReLU, linear)."""

    def __init__(self, width: int, norm: str, affine: Affine | None = None) -> None:
        super().__init__()
        self.norm1, self.norm2 = Norm(norm, width, affine, axes=0), Norm(norm, width, affine, axes=0)
        self.linear1, self.linear2 = linear(width, width, he=True), linear(width, width)
        self.dropout = nn.Dropout(0)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.linear1(relu(self.norm1(x, y)))
        out: Tensor = self.dropout(x + self.linear2(relu(self.norm2(h, y))))
        return out  # (n, width)


class Generator(models.Generator):
    """Linear, blocks, norm, ReLU, linear. A condition goes to the blocks' norms, or enters beside z.

    `output` is tanh, none, or auto: tanh for images.
    """

    def __init__(
        self,
        *,
        shape: Sequence[int],
        num_classes: int,
        nz: int,
        width: int,
        blocks: int,
        norm: str,
        output: str,
        condition: str,
        condition_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_counts("generator", nz=nz, width=width, blocks=blocks)
        self.shape, self.num_classes, self.nz = shape, num_classes, nz
        self.tanh = ends_in_tanh(output, shape)
        self.condition_shape = condition_shape
        self.condition = GeneratorCondition(condition, norm, nz, num_classes, condition_shape)
        self.input = linear(self.condition.inputs, width)
        self.blocks = nn.ModuleList(Block(width, norm, self.condition.affine) for _ in range(blocks))
        self.norm = Norm(norm, width, axes=0)
        self.output = linear(width, math.prod(shape))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        z, y = self.condition(z, y)
        h = self.input(z)
        for block in self.blocks:
            h = block(h, y)
        x: Tensor = self.output(relu(self.norm(h))).view(-1, *self.shape)  # (n, *shape)
        return x.tanh() if self.tanh else x


class Critic(models.Critic):
    """Flatten, linear, blocks, norm, ReLU, linear."""

    def __init__(
        self,
        *,
        shape: Sequence[int],
        num_classes: int,
        width: int,
        blocks: int,
        norm: str,
        spectral: bool,
        condition: str,
        condition_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_counts("critic", width=width, blocks=blocks)
        self.condition = CriticCondition(condition, shape, num_classes, condition_shape)
        self.input = linear((shape[0] + self.condition.channels) * math.prod(shape[1:]), width)
        self.blocks = nn.Sequential(*(Block(width, norm) for _ in range(blocks)))
        self.norm = Norm(norm, width, axes=0)
        self.output = Head(width, self.condition.logits, embedding=self.condition.embedding(width, width))
        if spectral:
            spectral_norm(self)

    def features(self, x: Tensor) -> Tensor:
        x = self.norm(self.blocks(self.input(x.flatten(1))))
        return relu(x)  # (n, width)
