"""Random changes of all images that the critic sees, real and generated (DiffAugment, Zhao et al. 2020).

A critic that sees few images learns them by heart. Both kinds are changed at random in the same way, so the generator
still learns the unchanged ones: its gradient goes through the change. x (n, c, h, w); 0 is mid-grey.

The transforms of torchvision draw on the host, one change for a whole batch: a CUDA graph would repeat it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from wgangp.machine.distributed import sharded_random


def translation(x: Tensor) -> Tensor:
    """Moves each image along both axes, by up to an eighth of its size. Empty places become 0."""
    return moves(x, axis=2) @ x @ moves(x, axis=3)


def cutout(x: Tensor) -> Tensor:
    """Sets a rectangle of half the height and half the width to 0; its centre is anywhere in the image."""
    return x * ~(strips(x, axis=2).unsqueeze(3) & strips(x, axis=3).unsqueeze(2))


def color(x: Tensor) -> Tensor:
    """Changes brightness by up to 0.5, saturation by a factor of 0 to 2, and contrast by one of 0.5 to 1.5."""
    x = x + uniform(x, -0.5, 0.5)
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * uniform(x, 0, 2)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (x - mean) * uniform(x, 0.5, 1.5)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {f.__name__: f for f in (color, translation, cutout)}  # in this order


def augmented(x: Tensor, names: Sequence[str]) -> Tensor:
    """Returns the images after the changes of these names, (n, c, h, w) of the same type."""
    for name, change in CHANGES.items():
        if name in names:
            x = change(x).to(x.dtype)
    return x


def check_augmentation(names: Sequence[str], shape: Sequence[int], condition_shape: Sequence[int]) -> None:
    """Raises ValueError if a name is unknown, or samples of this shape, with these conditions, cannot be changed."""
    if unknown := sorted(set(names) - CHANGES.keys()):
        raise ValueError(f"augment={','.join(unknown)}: choose from {', '.join(sorted(CHANGES))}")
    if names and len(shape) != 3:
        raise ValueError(f"augment changes images, and the samples are of shape {tuple(shape)}: set augment=[]")
    if names and len(condition_shape) == 3:
        raise ValueError("augment would move samples away from the pictures that they belong to: set augment=[]")


def moves(x: Tensor, axis: int) -> Tensor:
    """Returns a matrix (n, 1, size, size) for each image, which moves its rows or columns."""
    places, reach = torch.arange(x.shape[axis], device=x.device), round(x.shape[axis] / 8)
    by = uniform(x, -reach, reach + 1).floor()
    return (places[:, None] - places == by).to(x.dtype)


def strips(x: Tensor, axis: int) -> Tensor:
    """Returns which places of an axis are within a quarter of its size from a random one, (n, 1, size)."""
    size = x.shape[axis]
    distance = torch.arange(size, device=x.device) - uniform(x, 0, size).floor().squeeze(3)
    return (distance >= -(size // 4)) & (distance < size // 2 - size // 4)


def uniform(x: Tensor, low: float, high: float) -> Tensor:
    """Returns a number of [low, high) for each image, (n, 1, 1, 1)."""
    return low + (high - low) * sharded_random(lambda n: torch.rand(n, 1, 1, 1, device=x.device), len(x))
