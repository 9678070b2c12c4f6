"""Networks for one-hot or softmax strings x (n, v, t): gan_language.py's, and a recurrent and an attentive critic."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from wgangp.models.layers import ScoredFeatures, linear, relu, spectral_norm, uniform


def conv1d(c_in: int, c_out: int, kernel: int) -> nn.Conv1d:
    """A convolution over characters that keeps the length; the official initialisation, uniform, "he"."""
    layer = nn.Conv1d(c_in, c_out, kernel, padding=kernel // 2)
    uniform(layer.weight, variance=4 / ((c_in + c_out) * kernel))
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def check_shape(shape: Sequence[int]) -> tuple[int, int]:
    """(v, t); a ValueError for other data than strings."""
    if len(shape) != 2:
        raise ValueError(f"char is for strings (dataset=text), and the data is {tuple(shape)}")
    return shape[0], shape[1]


class Block(nn.Module):
    """x + 0.3 times relu, conv, relu, conv of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv1d(width, width, 5), conv1d(width, width, 5)
        self.dropout = nn.Dropout(0)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x + 0.3 * self.conv2(relu(self.conv1(relu(x)))))


class Generator(nn.Module):
    """Linear to (width, t), blocks, 1x1 convolution, softmax over the vocabulary."""

    def __init__(self, *, shape: Sequence[int], num_classes: int, nz: int, width: int, blocks: int) -> None:
        super().__init__()
        v, t = check_shape(shape)
        self.nz, self.num_classes, self.width = nz, num_classes, width
        self.input = linear(nz, width * t)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.output = conv1d(width, v, 1)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.blocks(self.input(z).view(len(z), self.width, -1))
        return self.output(x).softmax(dim=1)  # (n, v, t)


class Critic(ScoredFeatures):
    """1x1 convolution, blocks, flatten, linear."""

    def __init__(self, *, shape: Sequence[int], num_classes: int, width: int, blocks: int, spectral: bool) -> None:
        super().__init__()
        v, t = check_shape(shape)
        self.input = conv1d(v, width, 1)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.output = linear(width * t, 1 + num_classes)
        if spectral:
            spectral_norm(self)

    def features(self, x: Tensor) -> Tensor:
        return self.blocks(self.input(x)).flatten(1)


class GRUCritic(ScoredFeatures):
    """A gated recurrent unit over the characters, its last state, linear.

    cuDNN's recurrent kernels cannot be differentiated twice, as gradient penalties need: on CUDA torch's own ones run.
    """

    def __init__(self, *, shape: Sequence[int], num_classes: int, width: int, layers: int) -> None:
        super().__init__()
        self.gru = nn.GRU(check_shape(shape)[0], width, layers, batch_first=True)
        self.dropout = nn.Dropout(0)
        self.output = linear(width, 1 + num_classes)

    def features(self, x: Tensor) -> Tensor:
        with torch.backends.cudnn.flags(enabled=False):
            states, _ = self.gru(x.transpose(1, 2))  # (n, t, width)
        return self.dropout(states[:, -1])


class AttentionCritic(ScoredFeatures):
    """Characters and learned positions, self-attention blocks, the mean over characters, linear.

    The fused attention kernels cannot be differentiated twice, as the gradient penalties need, so torch's plain
    mathematics runs. No normalisation couples samples: LayerNorm is over each character's features.
    """

    def __init__(self, *, shape: Sequence[int], num_classes: int, width: int, heads: int, blocks: int) -> None:
        super().__init__()
        v, t = check_shape(shape)
        self.input = linear(v, width)
        self.positions = nn.Parameter(0.02 * torch.randn(t, width))
        block = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation=relu, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, blocks, enable_nested_tensor=False)
        self.output = linear(width, 1 + num_classes)

    def features(self, x: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return self.blocks(self.input(x.transpose(1, 2)) + self.positions).mean(dim=1)  # (n, width)
