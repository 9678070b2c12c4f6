"""Leaves torch's settings and random numbers, which are the whole process's, as the caller has them."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch

COMPILER = (("torch._inductor.config", "fallback_random"), ("torch._dynamo.config", "trace_autograd_ops"))


def kept_random_state() -> AbstractContextManager[None]:
    """Leaves torch's random numbers, which are the whole process's, at the end as they were at the beginning."""
    return torch.random.fork_rng(range(torch.cuda.device_count()) if torch.cuda.is_initialized() else [])


def compiler_setting(module: str, name: str) -> bool:
    """Returns a switch of the compiler; False, as by default, if the compiler is not loaded, which takes seconds."""
    return bool(getattr(sys.modules.get(module), name, False))


@contextmanager
def kept_settings() -> Iterator[None]:
    """Leaves the whole process's settings as they were: `set_precision`, `be_deterministic`, the GPU, the compiler."""
    gpu = torch.cuda.current_device() if torch.cuda.is_initialized() else None
    compiler = {setting: compiler_setting(*setting) for setting in COMPILER}
    cudnn, products = torch.backends.cudnn, torch.get_float32_matmul_precision()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only, benchmark = torch.is_deterministic_algorithms_warn_only_enabled(), cudnn.benchmark
    places = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)  # type: ignore[attr-defined]
    before = [place.fp32_precision for place in places]
    try:
        yield
    finally:
        if gpu is not None:
            torch.cuda.set_device(gpu)
        for (module, name), value in compiler.items():
            if module in sys.modules:
                setattr(sys.modules[module], name, value)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        cudnn.benchmark = benchmark
        torch.set_float32_matmul_precision(products)
        cudnn.allow_tf32 = before[1] == "tf32"  # torch has each setting twice, and raises errors where they differ
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision


@contextmanager
def plain_torch() -> Iterator[None]:
    """Gradients are recorded, tensors are made in float32 on the CPU, and nothing is cast, whatever the caller has set.

    Code that wants another device or dtype names it.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with ExitStack() as settings:
            settings.enter_context(torch.inference_mode(False))
            settings.enter_context(torch.enable_grad())
            if torch.get_default_device().type != "cpu":
                settings.enter_context(torch.device("cpu"))  # only then: it slows each of torch's functions
            for kind in ("cpu", "cuda"):
                if torch.is_autocast_enabled(kind):
                    settings.enter_context(torch.autocast(kind, enabled=False))
            yield
    finally:
        torch.set_default_dtype(before)
