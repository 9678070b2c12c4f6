"""torch.compile, used only if the compiled functions have the gradients of the eager ones."""

import logging
import signal
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

log = logging.getLogger(__name__)

# Before each call, compiled code checks its guards: that what it was compiled for is still so. The guards on values are
# kept (tensors' shapes, numbers, flags). Those on functions, modules and hooks, which do not change in a run, are not:
# checking hundreds of them takes longer than a small network's kernels. They would distinguish two runs in one process;
# with_own_code does that.
WATCHED = ("TENSOR_MATCH", "CONSTANT_MATCH", "EQUALS_MATCH", "GRAD_MODE", "GLOBAL_STATE", "DETERMINISTIC_ALGORITHMS")


def compile_if_equal(
    functions: Sequence[Callable[..., Any]],
    gradients: Callable[..., list[list[Tensor]]],
    tolerance: float,
    device: torch.device,
) -> Sequence[Callable[..., Any]]:
    """Returns the compiled functions if gradients(*compiled) equals gradients(*functions), else the eager ones.

    `gradients` returns a list for each call of a function; `tolerance` bounds |a - b| / |a| of each. A warning says why
    a run is eager. The check is needed: in some releases of torch, second derivatives through the compiler are silently
    wrong.
    """
    torch._inductor.config.fallback_random = True  # the random numbers that eager draws
    torch._dynamo.config.trace_autograd_ops = True  # forward and backward passes are one graph, without autograd's work
    options = compiler_options(device)
    compiled = [torch.compile(with_own_code(f), fullgraph=True, dynamic=False, options=options) for f in functions]
    log.info("compiling the gradients, once for this machine: a minute, or several on busy cores")
    started = time.perf_counter()
    try:
        with undisturbed():
            difference = largest_difference(gradients(*functions), gradients(*compiled))
    except Exception as error:  # whatever the compiler cannot do, eager can
        log.warning(
            "compiling failed, so this run is not compiled (%s: %s)", type(error).__name__, str(error).split("\n")[0]
        )
        log.debug("compiling", exc_info=error)
        return functions
    if not difference <= tolerance:
        log.warning("compiled gradients differ from eager ones by %.2g, so this run is not compiled", difference)
        return functions
    log.info("compiled in %.0f s; gradients differ from eager ones by %.2g", time.perf_counter() - started, difference)
    return [or_eager(*pair) for pair in zip(compiled, functions, strict=True)]


def compiler_options(device: torch.device) -> dict[str, Any]:
    options: dict[str, Any] = {"guard_filter_fn": watched}
    if torch.__version__ < TorchVersion("2.14"):  # these passes also moved random numbers past one another
        options |= {"reorder_for_locality": False, "reorder_for_peak_memory": False}
    if device.type == "cuda":  # a CPU is as fast at these
        from wgangp.machine.convolutions import Convolutions  # loads the compiler

        options["post_grad_custom_pre_pass"] = Convolutions()
    return options


def or_eager(compiled: Callable[..., Any], eager: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the compiled function, which becomes the eager one when a plain number in it has had too many values."""

    name = getattr(eager, "__name__", "this part")

    def function(*args: Any) -> Any:
        nonlocal compiled
        try:
            return compiled(*args)
        except torch._dynamo.exc.FailOnRecompileLimitHit as error:  # before anything is computed
            log.warning("a number changes from step to step, so %s is eager from now on: keep it in a tensor", name)
            log.debug("compiling", exc_info=error)
            compiled = eager
            return eager(*args)

    return function


def with_own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the same function or method with a copy of its code.

    torch keeps compiled functions by their code. A later run in this process would get those of the run before, with
    another penalty or network, if its tensors have the same shapes. Newer releases have
    torch.compile(isolate_recompiles=True) for this; torch 2.11 lacks it.
    """
    plain: Any = getattr(function, "__func__", function)
    copy = types.FunctionType(
        plain.__code__.replace(), plain.__globals__, plain.__name__, plain.__defaults__, plain.__closure__
    )
    copy.__kwdefaults__ = plain.__kwdefaults__
    return types.MethodType(copy, function.__self__) if isinstance(function, types.MethodType) else copy


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keeps signals from the processes that are started meanwhile; this one gets them afterwards.

    Ctrl-C goes to all processes of a terminal. A C++ compiler that it ends leaves cut files in torch's cache, and no
    later run could be compiled.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def watched(guards: Sequence[Any]) -> list[bool]:
    """Returns which of torch's guards are kept."""
    return [guard.guard_type in WATCHED for guard in guards]


def largest_difference(one: list[list[Tensor]], other: list[list[Tensor]]) -> float:
    """Returns the largest of the lists' relative differences, NaN if one is: no list hides behind another."""
    return float(torch.tensor([relative_difference(*pair) for pair in zip(one, other, strict=True)]).max())


def relative_difference(one: list[Tensor], other: list[Tensor]) -> float:
    """Returns |a - b| / |a|, where a and b are the concatenations of the lists; 0 if both are 0."""
    a, b = (torch.cat([t.flatten() for t in tensors]).double() for tensors in (one, other))
    return 0.0 if torch.equal(a, b) else float((a - b).norm() / a.norm())
