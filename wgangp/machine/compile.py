"""torch.compile, used only if the compiled functions have the gradients of the eager ones."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)


def compile_if_equal(
    functions: Sequence[Callable[..., Any]], gradients: Callable[..., list[Tensor]], tolerance: float
) -> Sequence[Callable[..., Any]]:
    """Returns the compiled functions if gradients(*compiled) equals gradients(*functions), else the eager ones.

    `tolerance` bounds |a - b| / |a| over all gradients. A warning says why a run is eager. The check is needed: in some
    releases of torch, second derivatives through the compiler are silently wrong.
    """
    torch._inductor.config.fallback_random = True  # the random numbers that eager draws
    compiled = [torch.compile(function, fullgraph=True, dynamic=False) for function in functions]
    log.info("compiling the losses, once for this machine: a minute, or several on busy cores")
    started = time.perf_counter()
    try:
        difference = relative_difference(gradients(*functions), gradients(*compiled))
    except Exception as error:  # whatever the compiler cannot do, eager can
        log.warning("compiling failed, so this run is eager (%s: %s)", type(error).__name__, str(error).split("\n")[0])
        return functions
    if not difference <= tolerance:
        log.warning("compiled gradients differ from eager ones by %.2g, so this run is eager", difference)
        return functions
    log.info("compiled in %.0f s; gradients differ from eager ones by %.2g", time.perf_counter() - started, difference)
    return compiled


def relative_difference(one: list[Tensor], other: list[Tensor]) -> float:
    """Returns |a - b| / |a|, where a and b are the concatenations of the lists."""
    a, b = (torch.cat([t.flatten() for t in tensors]).double() for tensors in (one, other))
    return float((a - b).norm() / a.norm())
