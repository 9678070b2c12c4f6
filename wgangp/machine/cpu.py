"""What a CPU is fast at, its threads and its memory."""

import ctypes
import functools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.nn import functional as F

TRIES = 15  # of an operation that is timed: 0.1 s or less in all


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


@contextmanager
def cpu_threads(n: int) -> Iterator[None]:
    """Computes with n threads on the CPU meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Keeps freed memory in the process for the next tensor, if the C library is glibc.

    Otherwise glibc returns large blocks to the kernel, which zeroes them when they are allocated again: a fifth of the
    time of a CIFAR-10 critic update on a CPU.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        m_trim_threshold, m_mmap_max = -1, -4  # the names of malloc.h
        libc.mallopt(m_mmap_max, 0)  # no blocks of their own
        libc.mallopt(m_trim_threshold, -1)  # never given back
