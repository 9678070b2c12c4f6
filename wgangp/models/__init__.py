"""Network families. Images are in [-1, 1].

`shape` and `num_classes` come from the data; every other argument is a key of conf/generator or conf/critic.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from wgangp.units import Units


class Generator(nn.Module):
    """Base class of generators, which map latents to samples."""

    nz: int  # latent dimensions
    num_classes: int  # 0: unconditional
    vocabulary: str | None = None  # of text, if the generator was loaded from a run
    class_names: tuple[str, ...] = ()  # likewise
    data_units: Units | None = None  # likewise, of arrays that are no pictures
    __call__: Callable[..., Tensor]

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Maps z (n, nz) and, if num_classes > 0, labels y (n,) to samples (n, *shape)."""
        raise NotImplementedError


class Critic(nn.Module):
    """Base class of critics: features (n, d), then a linear layer to (n, 1 + num_classes).

    Column 0 is f(x), the other columns are AC-GAN's logits. An `nn.Dropout(0)` in a critic does nothing, unless a
    penalty raises its rate.
    """

    output: nn.Linear
    __call__: Callable[..., Tensor]

    def features(self, x: Tensor) -> Tensor:
        """Maps x (n, *shape) to features (n, d)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Maps x (n, *shape) to f(x) and the logits, (n, 1 + num_classes)."""
        out: Tensor = self.output(self.features(x))
        return out


def check_counts(part: str, **counts: int) -> None:
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
