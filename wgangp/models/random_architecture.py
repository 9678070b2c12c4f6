"""Architectures drawn at random from the space of Gulrajani et al. 2017, table 1.

Each network draws its activation, its depth, whether it is normalised, and its filters from its seed. The paper's
sampler was not released: here a network is a DCGAN of three resamplings, and what its depth has beyond these and the
linear layer are 3x3 convolutions, spread over the sizes.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from wgangp.models.layers import Norm, ScoredFeatures, activate, conv, deconv, linear

RESAMPLINGS = 3


@dataclass(frozen=True)
class Architecture:
    activation: str
    depth: int  # layers with weights
    normalised: bool
    filters: int  # at half of the image's size; doubled as sizes halve

    @classmethod
    def draw(cls, seed: int, part: str) -> "Architecture":
        """Table 1, for one part ("generator" or "critic")."""
        rng = random.Random(f"{part}/{seed}")
        return cls(
            activation=rng.choice(["relu", "leaky_relu", "shifted_softplus", "tanh"]),
            depth=rng.choice([4, 8, 12, 20]),
            normalised=rng.choice([True, False]),
            filters=rng.choice([32, 64, 128]),
        )

    def extra(self) -> list[int]:
        """The convolutions beyond the resamplings, for each of them."""
        rest = self.depth - 1 - RESAMPLINGS
        return [rest // RESAMPLINGS + (i < rest % RESAMPLINGS) for i in range(RESAMPLINGS)]


def check_size(shape: Sequence[int]) -> None:
    if len(shape) != 3 or tuple(shape[1:]) != (32, 32):
        raise ValueError(f"random_architecture is for images of 32x32, and the data is {tuple(shape)}: dataset.size=32")


class Layer(nn.Module):
    """A convolution, its norm and activation."""

    def __init__(self, layer: nn.Module, channels: int, norm: str, activation: str) -> None:
        super().__init__()
        self.layer, self.norm, self.activation = layer, Norm(norm, channels), activation
        self.dropout = nn.Dropout(0)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(activate(self.norm(self.layer(x)), self.activation))


class Generator(nn.Module):
    """Linear to 4x4, then convolutions and, three times, a transposed one that doubles the size; tanh."""

    def __init__(self, *, shape: Sequence[int], num_classes: int, nz: int, norm: str, architecture_seed: int) -> None:
        super().__init__()
        check_size(shape)
        if num_classes:
            raise ValueError("random_architecture is unconditional: leave conditional=false")
        self.nz, self.num_classes = nz, 0
        self.drawn = drawn = Architecture.draw(architecture_seed, "generator")
        norm, c = norm if drawn.normalised else "none", drawn.filters * 2 ** (RESAMPLINGS - 1)
        self.input, self.norm = linear(nz, c * 16), Norm(norm, c)
        self.hidden = nn.Sequential()
        for i, extra in enumerate(drawn.extra()):
            self.hidden.extend([Layer(conv(c, c, 3), c, norm, drawn.activation) for _ in range(extra)])
            if i < RESAMPLINGS - 1:
                self.hidden.append(Layer(deconv(c, c // 2), c // 2, norm, drawn.activation))
                c //= 2
        self.output = deconv(c, shape[0])

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x = activate(self.norm(self.input(z).view(len(z), -1, 4, 4)), self.drawn.activation)
        return self.output(self.hidden(x)).tanh()  # (n, c, 32, 32)


class Critic(ScoredFeatures):
    """Three times a strided convolution that halves the size, then convolutions; linear at 4x4."""

    def __init__(self, *, shape: Sequence[int], num_classes: int, norm: str, architecture_seed: int) -> None:
        super().__init__()
        check_size(shape)
        drawn = Architecture.draw(architecture_seed, "critic")
        norm, c = norm if drawn.normalised else "none", shape[0]
        self.hidden = nn.Sequential()
        for i, extra in enumerate(drawn.extra()):
            wider = drawn.filters * 2**i
            first = "none" if i == 0 else norm  # as in the DCGAN critic
            self.hidden.append(Layer(conv(c, wider, 5, stride=2), wider, first, drawn.activation))
            self.hidden.extend([Layer(conv(wider, wider, 3), wider, norm, drawn.activation) for _ in range(extra)])
            c = wider
        self.output = linear(c * 16, 1 + num_classes)

    def features(self, x: Tensor) -> Tensor:
        return self.hidden(x).flatten(1)
