"""Where a penalty looks, how it weighs a norm there, and how it reduces a batch: the named choices of conf/penalty."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from wgangp.machine import distributed
from wgangp.machine.distributed import max_over_ranks, mean_over_ranks, sharded_random, sum_over_ranks

Points = Callable[[Tensor, Tensor], Tensor]  # real and fake (n, *shape) to points (m, *shape)
Cost = Callable[[Tensor], Tensor]  # norms (m,) to deviations (m,), which are raised to a power
Reduction = Callable[[Tensor], Tensor]  # costs (m,) to a scalar


def per_sample_uniform(x: Tensor) -> Tensor:
    """Returns one uniform number in [0, 1) for each sample, broadcastable with x."""
    return sharded_random(lambda n: torch.rand(n, *[1] * (x.ndim - 1), device=x.device, dtype=x.dtype), len(x))


def interpolates(real: Tensor, fake: Tensor) -> Tensor:
    """Returns a uniform point on the line between each real and its fake (Algorithm 1, lines 4 and 6).

    Raises ValueError if they do not pair, or are no batches of floats.
    """
    if not all(isinstance(x, Tensor) and x.is_floating_point() and x.ndim > 1 and len(x) for x in (real, fake)):
        kinds = [f"{tuple(x.shape)} of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__ for x in (real, fake)]
        raise ValueError(f"interpolates need tensors of floats (n, *shape), n > 0: these are {' and '.join(kinds)}")
    if real.shape != fake.shape:
        raise ValueError(f"interpolates need a fake for each real: {tuple(real.shape)} and {tuple(fake.shape)} differ")
    return real + per_sample_uniform(real) * (fake - real)  # (n, *shape)


def perturbed(real: Tensor, fake: Tensor) -> Tensor:
    """Returns reals plus uniform noise of up to half their standard deviation (DRAGAN, Kodali et al. 2017)."""
    noise = sharded_random(lambda n: torch.rand(n, *real.shape[1:], device=real.device, dtype=real.dtype), len(real))
    return real + per_sample_uniform(real) * 0.5 * batch_std(real) * noise


def batch_std(x: Tensor) -> Tensor:
    """Returns the standard deviation of all numbers of the whole batch, over all ranks."""
    if distributed.WORLD_SIZE == 1:
        return x.std()
    n = x.numel() * distributed.WORLD_SIZE
    mean = mean_over_ranks(x.mean())
    return (mean_over_ranks((x - mean).square().mean()) * n / (n - 1)).sqrt()


def batch_max(costs: Tensor) -> Tensor:
    """Returns the largest cost of the whole batch; samples that share it share its gradient.

    A ReLU critic's gradient is the same at many samples, on several ranks too. The gradient's mean over the ranks is
    that of torch.amax.
    """
    if distributed.WORLD_SIZE == 1:
        return torch.amax(costs)
    values = costs.detach()
    largest = max_over_ranks(torch.amax(values))
    is_largest = values == largest
    share = distributed.WORLD_SIZE / sum_over_ranks(is_largest.sum())
    return largest + share * ((costs - values) * is_largest).sum()


POINTS: dict[str, Points] = {
    "interpolates": interpolates,
    "real": lambda real, fake: real,
    "fake": lambda real, fake: fake,
    "both": lambda real, fake: torch.cat([real, fake]),
    "perturbed": perturbed,
}

COSTS: dict[str, Cost] = {
    "two_sided": lambda norm: (norm - 1).abs(),
    "one_sided": lambda norm: (norm - 1).relu(),
    "zero_centred": lambda norm: norm,
}

REDUCTIONS: dict[str, Reduction] = {"mean": torch.mean, "max": batch_max}


Function = TypeVar("Function", bound=Callable[..., Tensor])


def by_name(key: str, choice: str | Function, known: dict[str, Function]) -> Function:
    """Returns the callable itself, or the known one of that name. Raises ValueError if the name is unknown."""
    if callable(choice):
        return choice
    if not isinstance(choice, str) or choice not in known:
        raise ValueError(f"penalty.{key} is {choice!r}: choose {', '.join(known)}, or give a callable by _target_")
    return known[choice]
