"""What scripts/benchmark.py measures with: times, memory, the device's busy share, and counted operations."""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from wgangp.machine.device import set_precision


class Products(TorchDispatchMode):
    """Counts the floating-point operations of matrix products and convolutions."""

    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        return out


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


def reserved(device: torch.device) -> float:
    """MiB that torch holds of a CUDA device, CUDA graphs included, beside what it can give back; 0 elsewhere."""
    if device.type != "cuda":
        return 0.0
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved() / 2**20


def peak_memory(work: Callable[[], Any]) -> float:
    """MiB that `work` has at once of torch on the CPU, above what was there before."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        with torch.profiler.profile(profile_memory=True) as profiler:
            work()
        profiler.export_chrome_trace(file.name)
        events = json.loads(Path(file.name).read_text())["traceEvents"]
    return max((e["args"]["Total Allocated"] for e in events if e.get("name") == "[memory]"), default=0) / 2**20


def busy_share(work: Callable[[], Any], device: torch.device) -> float | None:
    """The share of the time in which a CUDA device runs kernels."""
    if device.type != "cuda":
        return None
    work()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        work()
        synchronize(device)
    spans = [e.time_range for e in profiler.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    if not spans:  # the profiler sees no kernels on this machine
        return None
    wall = max(s.end for s in spans) - min(s.start for s in spans)
    return sum(s.elapsed_us() for s in spans) / wall


def matrix_rate(precision: str, device: torch.device) -> float:
    """Floating-point operations a second of a large square matrix product in this precision."""
    n = 8192 if device.type == "cuda" else 2048
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = torch.randn(2, n, n, device=device, dtype=dtype)
    set_precision(precision)
    return 2 * n**3 / statistics.median(seconds(lambda: a @ b, device) for _ in range(9))
