"""Data parallel training over the processes that torchrun starts. In a single process nothing here does anything.

All ranks hold the same weights and draw the same random numbers for the whole batch, of which each takes its rows; the
gradients are averaged. So the number of ranks does not change the run.
"""

import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

WORLD_SIZE, RANK = 1, 0  # once joined; plain numbers, which compiled functions can read
STORE: Any = None  # of torchrun, which stays when it restarts the processes
TIMEOUT = timedelta(minutes=10)  # of an exchange: the main rank evaluates while the others wait


def join() -> None:
    """Joins the processes of torchrun; each of a machine has its own GPU, if there are GPUs."""
    global WORLD_SIZE, RANK, STORE
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    STORE, RANK, WORLD_SIZE = next(rendezvous("env://", timeout=TIMEOUT))
    # The addresses from before a restart are still in the store. On several machines, each counts restarts for itself.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if os.environ.get("GROUP_WORLD_SIZE") == "1" else "any"
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=dist.PrefixStore(f"wgangp/{attempt}", STORE),
        rank=RANK,
        world_size=WORLD_SIZE,
        timeout=TIMEOUT,
    )


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def is_main() -> bool:
    """Whether this rank is the one that writes."""
    return RANK == 0


def share(whole: Tensor) -> Tensor:
    """This rank's rows of a whole batch (n, *): (n / ranks, *)."""
    n = len(whole) // WORLD_SIZE
    return whole[RANK * n : (RANK + 1) * n]


def drawn(draw: Callable[[int], Tensor], n: int) -> Tensor:
    """n random rows: this rank's of those that `draw` makes for the whole batch."""
    return share(draw(n * WORLD_SIZE))


def average_gradients(params: Iterable[nn.Parameter]) -> None:
    """The mean over the ranks, in one exchange."""
    if WORLD_SIZE == 1:
        return
    gradients = [p.grad for p in params if p.grad is not None]
    flat = mean_over_ranks(torch.cat([g.flatten() for g in gradients]))
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def mean_over_ranks(x: Tensor) -> Tensor:
    return sum_over_ranks(x) / WORLD_SIZE


def sum_over_ranks(x: Tensor) -> Tensor:
    if WORLD_SIZE > 1:
        x = x.detach().clone()
        dist.all_reduce(x)
    return x


def synchronised(module: nn.Module, device: torch.device) -> nn.Module:
    """The module with BatchNorm over the whole batch. Raises ValueError where torch has no such thing."""
    if device.type != "cuda":
        raise ValueError("sync_batchnorm=true needs CUDA: torch synchronises BatchNorm nowhere else")
    return nn.SyncBatchNorm.convert_sync_batchnorm(module)


def gathered(mine: dict[Any, Any]) -> dict[Any, Any]:
    """The entries of all ranks."""
    if WORLD_SIZE == 1:
        return mine
    parts: list[Any] = [None] * WORLD_SIZE
    dist.all_gather_object(parts, mine)
    return {key: value for part in parts for key, value in part.items()}


def any_rank(flag: bool) -> bool:
    """Whether it is so on one rank at least."""
    return bool(sum_over_ranks(torch.tensor(int(flag))))


def agreed(name: str, value: str) -> str:
    """The value of the process that asks first: for all of them, and for those after a restart by torchrun."""
    return STORE.compare_set(f"wgangp/{name}", "", value).decode()
