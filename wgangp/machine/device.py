"""The device, its precision and threads, and the seed of each step."""

import ctypes
import functools
import gc
import hashlib
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from wgangp.machine.distributed import from_main, local_rank

log = logging.getLogger(__name__)

Module = TypeVar("Module", bound=nn.Module)
TRIES = 15  # of an operation that is timed: 0.1 s or less in all


def check_double_backward(device: torch.device) -> None:
    """Differentiates a small convolutional gradient penalty. Raises what torch raises if the device cannot."""
    x = torch.ones(2, 3, 8, 8, device=device, requires_grad=True)
    w = torch.full((4, 3, 3, 3), 0.1, device=device, requires_grad=True)
    (grad,) = torch.autograd.grad(F.leaky_relu(F.conv2d(x, w, stride=2)).sum(), x, create_graph=True)
    grad.square().sum().backward()
    if w.grad is None or not w.grad.isfinite().all():
        raise NotImplementedError("its second derivatives are not finite")


def choose_device(name: str, job: int | None = None) -> torch.device:
    """Returns the device of this name; "auto" is cuda, else mps, else cpu. A GPU becomes the current device.

    Of the processes of torchrun each takes its own GPU, and so does the `job`-th of jobs side by side. Raises
    ValueError if the device is absent, busy or full, or cannot differentiate a penalty.
    """
    available: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    kind = name.partition(":")[0]
    if name != "auto" and (kind not in available or not available[kind]()):
        raise ValueError(f"device={name}: torch {torch.__version__} finds no such device here; use device=auto or cpu")
    for found in [kind for kind in available if available[kind]()] if name == "auto" else [name]:
        device = own_gpu(torch.device(found), job if name == "auto" else None)
        try:
            check_double_backward(device)
            return device
        except NotImplementedError as error:
            reason = f"device {found} cannot differentiate a gradient penalty"
            if name != "auto":
                raise ValueError(f"{reason} ({error}); use device=cpu") from error
            log.warning("%s, so it is not used (%s)", reason, error)
        except RuntimeError as error:
            line = f"{error} ".splitlines()[0].strip()
            raise ValueError(f"device {found} cannot be used ({line}): free it, or use device=cpu") from error
    raise ValueError("no device of this machine can differentiate a gradient penalty")


def own_gpu(device: torch.device, job: int | None) -> torch.device:
    """Returns the GPU of this process, made the current one; another device as it is.

    Raises ValueError if there is no such GPU. Streams, random states and graphs are those of the current device, so
    nothing may touch CUDA before.
    """
    if device.type != "cuda":
        return device
    count, index = torch.cuda.device_count(), device.index
    if index is None:
        index = local_rank(count) if job is None else job % count
    if index >= count:
        raise ValueError(f"device=cuda:{index}: this machine has {count} GPUs, counted from cuda:0")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def choose_precision(name: str, device: torch.device, axes: int = 0) -> str:
    """Returns float32, tf32 or bfloat16, for samples of so many axes beside their channels.

    "auto" is tf32 on GPUs that have it (Ampere and newer). On a CPU it is bfloat16 for images if that is faster there,
    else float32.

    Raises ValueError if the GPU would emulate bfloat16: torch then computes sample by sample. And for clips and volumes
    on a CPU: where a kernel is longer than the first axis, as 5 taps over 4 frames, torch 2.14 can leave parts of the
    weights' gradient unwritten; a program that tried many shapes ended in a double free.
    """
    on_gpu = device.type == "cuda"
    if name == "auto" and on_gpu:
        return "tf32" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    if name == "auto":
        timed = axes == 2 and device.type == "cpu"
        faster = timed and from_main("bfloat16_is_faster", lambda: str(bfloat16_is_faster())) == "True"
        return "bfloat16" if faster else "float32"
    if name == "bfloat16" and on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ValueError("precision=bfloat16: this GPU only emulates it, which is slow; use precision=auto")
    if name == "bfloat16" and device.type == "cpu" and axes == 3:
        raise ValueError(
            "precision=bfloat16: on a CPU the gradients of 3-D convolutions can be wrong in it; use precision=auto"
        )
    return name


@functools.cache
def bfloat16_is_faster() -> bool:
    """Returns whether a convolution takes at most two thirds of its float32 time in bfloat16 on this CPU.

    It is timed, since some processors have the instructions and are no faster with them.
    """
    x, w = torch.randn(16, 32, 16, 16), torch.randn(64, 32, 3, 3)
    y, v = x.bfloat16(), w.bfloat16()
    single, half = fastest(lambda: F.conv2d(x, w)), fastest(lambda: F.conv2d(y, v))
    return half < single / 1.5


def useful_threads() -> int:
    """Returns torch's number of CPU threads, or 1 if a matrix product takes about as long on one.

    That is so where other programs use the cores: threads then wait for one another at every operation.
    """
    n, x = torch.get_num_threads(), torch.randn(512, 512)

    def on(threads: int) -> float:
        with cpu_threads(threads):
            return statistics.median(seconds(lambda: x @ x) for _ in range(TRIES))

    return n if n > 1 and on(n) < 0.8 * on(1) else 1


def fastest(work: Callable[[], object]) -> float:
    return min(seconds(work) for _ in range(TRIES))


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def set_precision(precision: str) -> None:
    """Lets products and convolutions on CUDA use TensorFloat-32 (10 bits of mantissa), unless precision is float32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"
    torch.backends.cudnn.benchmark = True  # shapes never change, so the fastest convolutions are worth finding


def memory_format(axes: int, device: torch.device, precision: str) -> torch.memory_format:
    """Returns the layout of networks on samples of so many axes: tensor cores' convolutions want channels last."""
    if device.type != "cuda" or precision == "float32":
        return torch.preserve_format
    return {3: torch.channels_last, 4: torch.channels_last_3d}.get(axes, torch.preserve_format)


def in_layout(network: Module, axes: int, layout: torch.memory_format) -> Module:
    """Lays out the weights of convolutions over samples of so many axes, in place; others may have no such layout."""
    for weight in network.parameters():
        if weight.ndim == axes + 1:
            weight.data = weight.data.to(memory_format=layout)
    return network


def be_deterministic(wanted: bool) -> None:
    """Makes CUDA return the same bits every time, if `wanted`: slower, and an error for operations that cannot."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS's way, by its documentation
        torch.backends.cudnn.benchmark = False  # it would choose among algorithms by their time
    torch.use_deterministic_algorithms(wanted)


def keep_freed_memory() -> None:
    """Keeps freed memory in the process for the next tensor, if the C library is glibc.

    Otherwise glibc returns large blocks to the kernel, which zeroes them when they are allocated again: a fifth of the
    time of a CIFAR-10 critic update on a CPU.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        m_trim_threshold, m_mmap_max = -1, -4  # the names of malloc.h
        libc.mallopt(m_mmap_max, 0)  # no blocks of their own
        libc.mallopt(m_trim_threshold, -1)  # never given back


def seed_step(seed: int, step: int, purpose: str = "train") -> None:
    """Seeds all random numbers that follow by (seed, step, purpose), so that resuming needs no generator states.

    On the CPU the hash fills all 624 words of the Mersenne Twister. Its own seeding keeps 32 bits, so that some of
    100,000 steps would have the same numbers. Only generators in use are seeded: torch.manual_seed takes longer.
    """
    hashed = hashlib.shake_256(f"{seed}/{step}/{purpose}".encode()).digest(8 + 4 * 624)
    number, words = int.from_bytes(hashed[:8]), np.frombuffer(hashed, "<u4", offset=8)
    cpu = torch.default_generator
    cpu.manual_seed(number)
    state = cpu.get_state()  # bytes: seed, counters, then the words in 64 bits each
    state[24 : 24 + 8 * 624].view(torch.int64).copy_(torch.from_numpy(words.astype(np.int64)))
    cpu.set_state(state)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(number)


@contextmanager
def cpu_threads(n: int) -> Iterator[None]:
    """Computes with n threads on the CPU meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def release_memory() -> None:
    """Releases the memory of a finished training: garbage, compiled functions, the device's cached blocks."""
    gc.collect()
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
