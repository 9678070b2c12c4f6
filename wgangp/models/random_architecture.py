"""Architectures drawn at random from the space of Gulrajani et al. 2017, table 1.

A seed draws the activation, the depth, whether there is a norm, and the filters. The paper's sampler was not released.
Here a network is a DCGAN: a linear layer, three resamplings, and 3x3 convolutions, spread over the sizes, up to the
depth.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from wgangp import models
from wgangp.models import check_counts
from wgangp.models.layers import Head, Norm, activate, conv, deconv, linear

RESAMPLINGS = 3


@dataclass(frozen=True)
class Architecture:
    """One draw from table 1."""

    activation: str
    depth: int  # layers with weights
    normalised: bool
    filters: int  # at half of the image's size; doubled as sizes halve

    @classmethod
    def draw(cls, seed: int, part: str, filters: Sequence[int]) -> "Architecture":
        """Draws the architecture of one part, "generator" or "critic", with one of the filters."""
        if not isinstance(filters, Sequence) or not filters or any(type(f) is not int or f < 1 for f in filters):
            raise ValueError(f"{part}.filters={filters}: give a list of whole numbers of at least 1, as [32,64,128]")
        rng = random.Random(f"{part}/{seed}")
        return cls(
            activation=rng.choice(["relu", "leaky_relu", "shifted_softplus", "tanh"]),
            depth=rng.choice([4, 8, 12, 20]),
            normalised=rng.choice([True, False]),
            filters=rng.choice(filters),
        )

    def extra(self) -> list[int]:
        """Returns the number of 3x3 convolutions that go with each resampling."""
        rest = self.depth - 1 - RESAMPLINGS
        return [rest // RESAMPLINGS + (i < rest % RESAMPLINGS) for i in range(RESAMPLINGS)]


def check_size(shape: Sequence[int]) -> None:
    """Raises ValueError if the data are not images of 32x32."""
    if len(shape) != 3 or tuple(shape[1:]) != (32, 32):
        raise ValueError(f"random_architecture is for images of 32x32, and the data is {tuple(shape)}: dataset.size=32")


class Layer(nn.Module):
    """A convolution, a norm and an activation."""

    def __init__(self, layer: nn.Module, channels: int, norm: str, activation: str) -> None:
        super().__init__()
        self.layer, self.norm, self.activation = layer, Norm(norm, channels), activation
        self.dropout = nn.Dropout(0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(activate(self.norm(self.layer(x)), self.activation))
        return x


class Generator(models.Generator):
    """Linear to 4x4, then convolutions, of which three are transposed and double the size; tanh."""

    def __init__(
        self,
        *,
        shape: Sequence[int],
        num_classes: int,
        nz: int,
        norm: str,
        filters: Sequence[int],
        architecture_seed: int,
    ) -> None:
        super().__init__()
        check_size(shape)
        if num_classes:
            raise ValueError("random_architecture is unconditional: leave conditional=false")
        check_counts("generator", nz=nz)
        self.nz, self.num_classes = nz, 0
        self.drawn = drawn = Architecture.draw(architecture_seed, "generator", filters)
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
        x: Tensor = activate(self.norm(self.input(z).view(z.shape[0], -1, 4, 4)), self.drawn.activation)
        x = self.output(self.hidden(x))
        return x.tanh()  # (n, c, 32, 32)


class Critic(models.Critic):
    """Three stages of a strided convolution, which halves the size, and plain convolutions; then a linear layer."""

    def __init__(
        self, *, shape: Sequence[int], num_classes: int, norm: str, filters: Sequence[int], architecture_seed: int
    ) -> None:
        super().__init__()
        check_size(shape)
        drawn = Architecture.draw(architecture_seed, "critic", filters)
        norm, c = norm if drawn.normalised else "none", shape[0]
        self.hidden = nn.Sequential()
        for i, extra in enumerate(drawn.extra()):
            wider = drawn.filters * 2**i
            first = "none" if i == 0 else norm  # as in the DCGAN critic
            self.hidden.append(Layer(conv(c, wider, 5, stride=(2, 2)), wider, first, drawn.activation))
            self.hidden.extend([Layer(conv(wider, wider, 3), wider, norm, drawn.activation) for _ in range(extra)])
            c = wider
        self.output = Head(c * 16, num_classes)

    def features(self, x: Tensor) -> Tensor:
        x = self.hidden(x)
        return x.flatten(1)  # (n, 16 * channels)
