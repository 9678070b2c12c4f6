"""Network families. Images are in [-1, 1].

`shape` and `num_classes` come from the data; every other argument is a key of conf/generator or conf/critic.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from wgangp.models.conditions import CriticCondition
from wgangp.units import Conditions, Units


class Generator(nn.Module):
    """Base class of generators, which map latents to samples."""

    nz: int  # latent dimensions
    num_classes: int  # of labels; 0: none
    condition_shape: Sequence[int] | None = None  # of a condition that is no label
    vocabulary: str | None = None  # of text, if the generator was loaded from a run
    class_names: tuple[str, ...] = ()  # likewise
    class_counts: tuple[int, ...] = ()  # likewise, of the training samples
    data_units: Units | None = None  # likewise, of arrays that are no pictures
    data_conditions: Conditions | None = None  # if it is given numbers or pictures
    is_video: bool = False  # likewise: whether samples are clips (c, t, h, w) in [-1, 1]
    __call__: Callable[..., Tensor]

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Maps z (n, nz) and, if there is a condition, y (n,) or (n, *condition_shape) to samples (n, *shape)."""
        raise NotImplementedError


class Critic(nn.Module):
    """Base class of critics: features (n, d), then a linear layer to (n, 1 + num_classes).

    Column 0 is f(x), the other columns are AC-GAN's logits. An `nn.Dropout(0)` in a critic does nothing, unless a
    penalty raises its rate. A critic with a `condition` of projection or concat is f(x, y): see conditions.py.
    """

    output: nn.Linear
    condition: CriticCondition | None = None
    __call__: Callable[..., Tensor]

    @property
    def takes_condition(self) -> bool:
        """Whether the forward pass needs y."""
        return self.condition is not None and (self.condition.projection or self.condition.concat)

    def features(self, x: Tensor) -> Tensor:
        """Maps x (n, *shape) to features (n, d)."""
        raise NotImplementedError

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Maps x (n, *shape) to f(x) and the logits, (n, 1 + num_classes); with y to f(x, y), (n, 1)."""
        return self.scores(self.features(self.beside(x, y)), y)

    def beside(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Returns what `features` takes: x, with y as further channels of a critic of concat."""
        if self.condition is None or not self.takes_condition:
            return x
        if y is None:
            raise ValueError("this critic sees the condition: give it y")
        return self.condition.beside(x, y) if self.condition.concat else x

    def scores(self, features: Tensor, y: Tensor | None = None) -> Tensor:
        """Maps features (n, d) to the outputs; y counts here in a critic of projection."""
        projects = self.condition is not None and self.condition.projection
        out: Tensor = self.output(features, y) if projects else self.output(features)
        return out


class ConditionedCritic:
    """A critic at fixed conditions y, as a function of the samples alone: what penalties differentiate.

    x may be several batches after one another: y then counts for each of them.
    """

    def __init__(self, critic: Any, y: Tensor) -> None:
        self.critic, self.y = critic, y

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = self.critic(x, self._repeated(len(x)))
        return out

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.critic.features(self.critic.beside(x, self._repeated(len(x))))
        return features

    def output(self, features: Tensor) -> Tensor:
        out: Tensor = self.critic.scores(features, self._repeated(len(features)))
        return out

    def _repeated(self, n: int) -> Tensor:
        return self.y.repeat(n // len(self.y), *[1] * (self.y.ndim - 1))


def check_counts(part: str, **counts: int | None) -> None:
    """Raises ValueError, naming the key, if a number of units, layers or dimensions is not a whole number above 0."""
    for key, value in counts.items():
        if type(value) is not int or value < 1:
            raise ValueError(f"{part}.{key}={value}: give a whole number of at least 1")


def ends_in_tanh(output: str, shape: Sequence[int]) -> bool:
    """Returns whether a generator ends in tanh. Of `auto` the caller decides by the data; else images do, (c, h, w).

    Raises ValueError if the name is unknown.
    """
    if output not in ("auto", "tanh", "none"):
        raise ValueError(f"generator.output is {output!r}: choose auto, tanh or none")
    return output == "tanh" or (output == "auto" and len(shape) == 3)
