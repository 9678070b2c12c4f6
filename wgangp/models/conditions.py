"""Conditions y: labels (n,), numbers (n, k) or pictures (n, c', *size'), and how they enter networks.

Numbers should be of about unit size. `condition_shape` is the shape of one condition, None of labels and of none.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgangp.models.layers import Affine, linear, uniform
from wgangp.models.resampling import Size, upsample


def enlargement(condition_shape: Sequence[int], shape: Sequence[int]) -> Size:
    """Returns by how much each axis of condition pictures is enlarged. Raises ValueError if it is no whole factor."""
    small, large = condition_shape[1:], shape[1:]
    if len(small) != len(large) or any(b % a for a, b in zip(small, large, strict=True)):
        raise ValueError(
            f"conditions of {tuple(condition_shape)} do not enlarge to samples of {tuple(shape)} by whole factors: "
            "give pictures of another size"
        )
    return tuple(b // a for a, b in zip(small, large, strict=True))


def constant_linear(fan_in: int, fan_out: int, bias: float) -> nn.Linear:
    """Returns a linear layer that starts as a constant."""
    layer = nn.Linear(fan_in, fan_out)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, bias)
    return layer


class GeneratorCondition(nn.Module):
    """Embeds a condition, and hands it to every norm (way "norm") or to the first layer, beside z ("concat").

    Numbers are embedded by a linear layer of nz units and a ReLU; labels are one-hot vectors, or choose each norm's
    scale and offset. Raises ValueError if the condition does not suit the generator.
    """

    def __init__(self, way: str, norm: str, nz: int, num_classes: int, condition_shape: Sequence[int] | None) -> None:
        super().__init__()
        if way not in ("norm", "concat"):
            raise ValueError(f"generator.condition is {way!r}: choose norm or concat")
        if condition_shape and len(condition_shape) > 1:
            raise ValueError(f"conditions of {tuple(condition_shape)} are pictures: use generator=unet")
        numbers = condition_shape[0] if condition_shape else 0
        if way == "norm" and norm == "none" and (numbers or num_classes):
            raise ValueError("generator.norm=none has no norm to give a condition to: set generator.condition=concat")
        self.num_classes, self.to_norms = num_classes, way == "norm"
        self.embedding = linear(numbers, nz, he=True) if numbers else None
        self.width = nz if numbers else num_classes  # 0: unconditional
        self.inputs = nz + (0 if self.to_norms else self.width)  # of the first layer

    @property
    def affine(self) -> Affine | None:
        """What makes the norms' scales and offsets; None if the condition does not go to the norms."""
        if not (self.to_norms and self.width):
            return None
        return self._of_labels if self.embedding is None else self._of_numbers

    def _of_labels(self, channels: int, value: float) -> nn.Module:
        shape = self.num_classes, channels
        return nn.Embedding(*shape, _weight=torch.full(shape, value))

    def _of_numbers(self, channels: int, value: float) -> nn.Module:
        return constant_linear(self.width, channels, value)

    def forward(self, z: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Returns the first layer's input (n, inputs), and what the norms are given."""
        if not self.width:
            return z, None
        if y is None:
            kind = "labels y of shape (n,)" if self.embedding is None else "numbers y of shape (n, k)"
            raise ValueError(f"this generator is conditional: give it {kind}")
        if self.embedding is not None:
            y = F.relu(self.embedding(y))
        if self.to_norms:
            return z, y
        beside = F.one_hot(y, self.num_classes).to(z.dtype) if self.embedding is None else y
        return torch.cat([z, beside], dim=1), None


class CriticCondition:
    """How a critic of samples of `shape` sees a condition: "acgan", "projection" or "concat".

    * acgan: not at all; it has class logits (Odena et al. 2017).
    * projection: f(x, y) = f(x) + <embedding of y, features of x> (Miyato and Koyama 2018).
    * concat: as channels beside the sample's, constant ones of labels and numbers, the enlarged picture.

    "auto" is acgan for labels, projection for numbers, concat for pictures. Raises ValueError if the condition does not
    suit the critic.
    """

    def __init__(self, way: str, shape: Sequence[int], num_classes: int, condition_shape: Sequence[int] | None) -> None:
        if way not in ("auto", "acgan", "projection", "concat"):
            raise ValueError(f"critic.condition is {way!r}: choose auto, acgan, projection or concat")
        picture = condition_shape is not None and len(condition_shape) > 1
        if way == "auto":
            way = "concat" if picture else "projection" if condition_shape else "acgan"
        if way == "acgan" and condition_shape:
            raise ValueError("critic.condition=acgan is for labels: choose projection or concat")
        if way == "projection" and picture:
            raise ValueError("critic.condition=projection is for labels and numbers: choose concat")
        self.num_classes, given = num_classes, bool(num_classes or condition_shape)
        self.projection, self.concat = given and way == "projection", given and way == "concat"
        self.logits = num_classes if way == "acgan" else 0
        self.numbers = condition_shape[0] if condition_shape and not picture else 0
        self.factors = enlargement(condition_shape, shape) if condition_shape and picture else None
        first = condition_shape[0] if condition_shape else num_classes
        self.channels = first if self.concat else 0  # beside the sample's

    def embedding(self, features: int, width: int) -> nn.Module | None:
        """Makes the embedding of y that is projected on the features; a hidden layer of `width` units for numbers."""
        if not self.projection:
            return None
        if self.numbers:
            last = linear(width, features)
            uniform(last.weight, 2 / (features + 1) / width)  # so <., .> begins as large as the score beside it
            return nn.Sequential(linear(self.numbers, width, he=True), nn.ReLU(), last)
        layer = nn.Embedding(self.num_classes, features)
        uniform(layer.weight, 2 / (self.num_classes + features))
        return layer

    def beside(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns the samples x (n, *shape) with the condition as further channels."""
        if self.factors is not None:
            y = upsample(y, self.factors)
        else:
            y = y if self.numbers else F.one_hot(y, self.num_classes)
            y = y.view(*y.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])
        return torch.cat([x, y.to(x.dtype)], dim=1)
