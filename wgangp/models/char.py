"""Networks for strings x (n, v, t), one-hot or softmax: those of gan_language.py, and two other critics."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from wgangp import models
from wgangp.models import check_counts
from wgangp.models.layers import Head, linear, relu, spectral_norm, uniform


def conv1d(c_in: int, c_out: int, kernel: int) -> nn.Conv1d:
    """Returns a convolution over characters that keeps the length, with the official "he" initialisation."""
    layer = nn.Conv1d(c_in, c_out, kernel, padding=kernel // 2)
    uniform(layer.weight, variance=4 / ((c_in + c_out) * kernel))
    assert layer.bias is not None  # for mypy
    nn.init.zeros_(layer.bias)
    return layer


def check_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Returns (v, t). Raises ValueError if the data are not strings."""
    if len(shape) != 2:
        raise ValueError(f"char is for strings (dataset=text), and the data is {tuple(shape)}")
    return shape[0], shape[1]


class Block(nn.Module):
    """x + 0.3 * (ReLU, conv, ReLU, conv)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv1d(width, width, 5), conv1d(width, width, 5)
        self.dropout = nn.Dropout(0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(x + 0.3 * self.conv2(relu(self.conv1(relu(x)))))
        return out


class Generator(models.Generator):
    """Linear to (width, t), blocks, 1x1 convolution, softmax over the vocabulary."""

    def __init__(self, *, shape: Sequence[int], num_classes: int, nz: int, width: int, blocks: int) -> None:
        super().__init__()
        check_counts("generator", nz=nz, width=width, blocks=blocks)
        v, t = check_shape(shape)
        self.nz, self.num_classes, self.width = nz, num_classes, width
        self.input = linear(nz, width * t)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.output = conv1d(width, v, 1)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x: Tensor = self.output(self.blocks(self.input(z).view(z.shape[0], self.width, -1)))
        return x.softmax(dim=1)  # (n, v, t)


class Critic(models.Critic):
    """1x1 convolution, blocks, flatten, linear."""

    def __init__(self, *, shape: Sequence[int], num_classes: int, width: int, blocks: int, spectral: bool) -> None:
        super().__init__()
        check_counts("critic", width=width, blocks=blocks)
        v, t = check_shape(shape)
        self.input = conv1d(v, width, 1)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.output = Head(width * t, num_classes)
        if spectral:
            spectral_norm(self)

    def features(self, x: Tensor) -> Tensor:
        x = self.blocks(self.input(x))
        return x.flatten(1)  # (n, width * t)


class GRU(nn.Module):
    """Gated recurrent units, (n, t, features) to (n, t, width), with nn.GRU's parameters and initialisation.

    nn.GRU moves its weights to other addresses when it is copied, and a captured CUDA graph then reads freed memory.
    """

    NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

    def __init__(self, features: int, width: int, layers: int) -> None:
        super().__init__()
        self.width, self.layers, bound = width, layers, width**-0.5
        for i in range(layers):
            shapes = (3 * width, width if i else features), (3 * width, width), (3 * width,), (3 * width,)
            for name, shape in zip(self.NAMES, shapes, strict=True):
                weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
                self.register_parameter(f"{name}_l{i}", weight)

    def forward(self, x: Tensor) -> Tensor:
        weights = [getattr(self, f"{name}_l{i}") for i in range(self.layers) for name in self.NAMES]
        start = x.new_zeros(self.layers, len(x), self.width)
        biases, dropout, bidirectional, batch_first = True, 0.0, False, True
        states, _ = torch.gru(
            x, start, weights, biases, self.layers, dropout, self.training, bidirectional, batch_first
        )
        return states


class GRUCritic(models.Critic):
    """A gated recurrent unit over the characters; its last state goes to the linear layer.

    Gradient penalties differentiate twice, which cuDNN's recurrent kernels do not support, so torch's own ones run.
    """

    def __init__(self, *, shape: Sequence[int], num_classes: int, width: int, layers: int) -> None:
        super().__init__()
        check_counts("critic", width=width, layers=layers)
        self.gru = GRU(check_shape(shape)[0], width, layers)
        self.dropout = nn.Dropout(0)
        self.output = Head(width, num_classes)

    def features(self, x: Tensor) -> Tensor:
        with torch.backends.cudnn.flags(enabled=False):
            states = self.gru(x.transpose(1, 2))  # (n, t, width)
        last: Tensor = self.dropout(states[:, -1])
        return last  # (n, width)


class AttentionCritic(models.Critic):
    """Self-attention blocks on embedded characters and positions; their mean goes to the linear layer.

    Gradient penalties differentiate twice, which the fused attention kernels do not support, so torch's unfused
    operations run, without autocast: on CUDA their second derivatives fail in bfloat16. LayerNorm is over the features
    of each character, so it does not couple samples.
    """

    def __init__(self, *, shape: Sequence[int], num_classes: int, width: int, heads: int, blocks: int) -> None:
        super().__init__()
        check_counts("critic", width=width, heads=heads, blocks=blocks)
        if width % heads:
            raise ValueError(f"critic.width={width} is not a multiple of critic.heads={heads}: change one of them")
        v, t = check_shape(shape)
        self.input = linear(v, width)
        self.positions = nn.Parameter(0.02 * torch.randn(t, width))
        block = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation=relu, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, blocks, enable_nested_tensor=False)
        self.output = Head(width, num_classes)

    def features(self, x: Tensor) -> Tensor:
        x = x.to(self.positions.dtype).transpose(1, 2)  # (n, t, v)
        with sdpa_kernel(SDPBackend.MATH), torch.autocast(x.device.type, enabled=False):
            states: Tensor = self.blocks(self.input(x) + self.positions)  # (n, t, width)
        return states.mean(dim=1)  # (n, width)
