"""The device, and the precision and layout of networks on it."""

import gc
import logging
import os
import sys
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from wgangp.machine.cpu import bfloat16_is_faster
from wgangp.machine.distributed import from_main, local_rank

log = logging.getLogger(__name__)


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


def set_precision(precision: str) -> None:
    """Lets products and convolutions on CUDA use TensorFloat-32 (10 bits of mantissa), unless precision is float32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"
    torch.backends.cudnn.benchmark = True  # shapes never change, so the fastest convolutions are worth finding


def memory_format(axes: int, device: torch.device, precision: str) -> torch.memory_format:
    """Returns the layout of networks on samples of so many axes: tensor cores' convolutions want channels last."""
    if device.type != "cuda" or precision == "float32":
        return torch.preserve_format
    return {3: torch.channels_last, 4: torch.channels_last_3d}.get(axes, torch.preserve_format)


def lay_out(network: nn.Module, axes: int, layout: torch.memory_format) -> None:
    """Lays out the weights of convolutions over samples of so many axes, in place; others may have no such layout."""
    for weight in network.parameters():
        if weight.ndim == axes + 1:
            weight.data = weight.data.to(memory_format=layout)


def be_deterministic(wanted: bool) -> None:
    """Makes CUDA return the same bits every time, if `wanted`: slower, and an error for operations that cannot."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS's way, by its documentation
        torch.backends.cudnn.benchmark = False  # it would choose among algorithms by their time
    torch.use_deterministic_algorithms(wanted)


def release_memory() -> None:
    """Releases the memory of a finished training: garbage, compiled functions, the device's cached blocks."""
    gc.collect()
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
