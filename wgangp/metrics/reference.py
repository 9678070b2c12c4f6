"""Random subsets of samples, and values that are computed once per dataset."""

from collections.abc import Callable, MutableMapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from wgangp.data import Dataset, draw_positions

T = TypeVar("T")


class Once(Generic[T]):
    """Values that are computed once for each object, such as a dataset, and key; they are forgotten with the object."""

    def __init__(self) -> None:
        self.values: MutableMapping[object, dict[object, T]] = WeakIdKeyDictionary()

    def __call__(self, of: object, key: object, compute: Callable[[], T]) -> T:
        """Returns the value of this object and key, by compute() if there is none yet."""
        values = self.values.setdefault(of, {})
        if key not in values:
            values[key] = compute()
        return values[key]


def size(dataset: Dataset) -> int | None:
    """Returns the number of training samples; None for an endless stream."""
    try:
        return len(dataset)
    except TypeError:
        return None


def comparable_number(dataset: Dataset, wanted: int, given: int) -> int:
    """Returns how many of the given samples are compared with as many training samples.

    Of arrays and images half of the training samples at most: the floor needs two separate draws of this size.
    """
    n = min(wanted, given, size(dataset) or given)
    are_points = dataset.units is None and len(dataset.shape) == 1
    return n if are_points else max(1, min(n, (size(dataset) or 2 * n) // 2))


def separate_draws(dataset: Dataset, n: int, draws: int) -> tuple[Tensor, ...]:
    """Returns so many draws of n training samples that have none in common; fewer draws if there are fewer samples."""
    drawn = training_samples(dataset, n * draws, seed=1)
    if size(dataset) is not None:  # if they are all, they are in the file's order, which may be sorted
        drawn = drawn[torch.randperm(len(drawn), generator=torch.Generator().manual_seed(1)).to(drawn.device)]
    return drawn.split(n)  # type: ignore[no-any-return]


def training_samples(dataset: Dataset, n: int | None = None, seed: int = 0) -> Any:
    """Returns a seeded draw of n training samples as metrics take them; all if n is None or there are fewer.

    Raises ValueError if the dataset offers none to metrics.
    """
    found = dataset.reference("train", n, seed)
    if found is None:
        name = type(dataset).__name__
        raise ValueError(f"{name}.reference returns no training samples, which metrics need: make it return some")
    return found[0]


def random_rows(x: Tensor, n: int) -> Tensor:
    """Returns n rows of x (m, *), a seeded draw without replacement; x itself if it has no more."""
    return x if len(x) <= n else x[draw_positions(len(x), n, seed=0).to(x.device)]
