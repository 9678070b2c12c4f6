"""Numbers of a split by channel, read in parts: limits, means, and the scaling that is fitted to them."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from wgangp.data.labels import listed
from wgangp.data.splits import Split
from wgangp.units import SCALINGS, Units

log = logging.getLogger(__name__)

PART = 2**22  # numbers that are read at once


@dataclass(frozen=True)
class Limits:
    """The least, the greatest and the least positive number of each channel, (k,) float64; infinity if none is."""

    low: Tensor
    high: Tensor
    positive: Tensor


def parts(split: Split) -> Iterator[Tensor]:
    """Yields the numbers of a split by channel, (k, m) float64."""
    n = max(1, PART // max(1, split.samples[0].numel()))
    for picked in torch.arange(len(split)).split(n):
        yield split.pick(picked)[0].double().transpose(0, 1).flatten(1)


def limits_of(split: Split) -> Limits:
    infinity = torch.full((split.samples.shape[1],), torch.inf, dtype=torch.float64)
    low, high, positive = infinity, -infinity, infinity
    for x in parts(split):
        low, high = torch.minimum(low, x.amin(1)), torch.maximum(high, x.amax(1))
        positive = torch.minimum(positive, x.where(x > 0, torch.inf).amin(1))
    return Limits(low, high, positive)


def union(a: Limits, b: Limits) -> Limits:
    """Returns the limits of two parts together."""
    low, positive = torch.minimum(a.low, b.low), torch.minimum(a.positive, b.positive)
    return Limits(low, torch.maximum(a.high, b.high), positive)


def mean_of(split: Split, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Returns the mean of function(x) by channel, (k,), where x is (k, m)."""
    total, count = torch.zeros(split.samples.shape[1], dtype=torch.float64), 0
    for x in parts(split):
        total, count = total + function(x).sum(1), count + x.shape[1]
    return total / count


KEPT = "%s is constant: generated samples have the same value there"


def fit_units(
    scaling: str,
    split: Split,
    limits: Limits,
    axes: str,
    names: tuple[str, ...],
    if_constant: str = KEPT,
    held_out: Split | None = None,
) -> Units:
    """Returns the units in which the samples of a split are scaled.

    `minmax` takes the limits to -1 and 1, `standard` the mean to 0 and the standard deviation to 1, and `log` does so
    with the logarithm; a channel that has zeros, or whose held-out samples have some, is shifted by its least positive
    number before. Constant channels are logged with the words `if_constant`. Raises ValueError for another scaling, for
    `log` of negative numbers, and if float64 does not hold the spread.
    """
    if scaling not in SCALINGS:
        raise ValueError(f"dataset.scaling={scaling}: choose auto, {', '.join(SCALINGS)}")
    shift = torch.zeros_like(limits.low)
    if scaling == "log":
        shift = _shift(limits if held_out is None else union(limits, limits_of(held_out)), names)
    centre, width = _centre_and_width(scaling, split, limits, shift)
    kind = "column" if split.samples.ndim == 2 else "channel"

    def which(wrong: Tensor) -> str:
        return f"{kind} {listed([names[i] if names else str(i) for i in wrong.nonzero().flatten().tolist()])}"

    constant = limits.low == limits.high
    if (lost := ~width.isfinite() | (width == 0) & ~constant).any():
        raise ValueError(
            f"dataset.scaling={scaling}: the spread of {which(lost)} is too large or too small for float64: divide "
            "the numbers by a constant"
        )
    if scaling == "none" and (lost := rounded(limits.low, limits.high)).any():
        raise ValueError(
            f"dataset.scaling=none: float32, in which the networks are, does not hold the numbers of {which(lost)}: "
            "choose standard"
        )
    if constant.any() and scaling != "none":
        log.warning(if_constant, which(constant))
    exact = split.samples.dtype not in (torch.float64, torch.int64, torch.int32)
    return Units(scaling, torch.stack([centre, width, shift]), axes, names, "float32" if exact else "float64")


def _centre_and_width(scaling: str, split: Split, limits: Limits, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Returns what is subtracted from a channel and what it is divided by, (k,) each; 0 is the width of a constant."""
    low, high = limits.low, limits.high
    if scaling == "none":
        return torch.zeros_like(low), torch.ones_like(low)
    if scaling == "minmax":
        return low / 2 + high / 2, high / 2 - low / 2

    def moved(x: Tensor) -> Tensor:
        return (x + shift[:, None]).log() if scaling == "log" else x

    mean, varies = mean_of(split, moved), low != high
    variance = mean_of(split, lambda x: (moved(x) - mean[:, None]).square())
    return mean.where(varies, moved(low[:, None])[:, 0]), variance.sqrt().where(varies, 0)  # a constant exactly


def rounded(low: Tensor, high: Tensor) -> Tensor:
    """Whether float32 does not hold the numbers from low to high (k,): infinity, or two different ones as the same."""
    infinite = ~low.float().isfinite() | ~high.float().isfinite()
    return infinite | (low != high) & (low.float() == high.float())


def _shift(limits: Limits, names: tuple[str, ...]) -> Tensor:
    """Returns what is added before the logarithm (k,): 0 to channels of positive numbers."""
    if (negative := limits.low < 0).any():
        i = int(negative.nonzero()[0])
        raise ValueError(
            f"dataset.scaling=log: {names[i] if names else f'channel {i}'} has negative numbers, such as "
            f"{limits.low[i]:.6g}: choose standard or minmax"
        )
    return torch.where(limits.low > 0, 0, limits.positive.where(limits.positive.isfinite(), 1)).double()
