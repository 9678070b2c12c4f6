"""Data parallel training over the processes of torchrun. A single process needs no setup, and pays nothing.

All ranks hold the same weights and draw the same random numbers for the whole batch. Each rank takes its rows of the
batch, and the gradients are averaged. So the number of ranks does not change the run.
"""

import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

WORLD_SIZE, RANK = 1, 0  # once joined; plain numbers, which compiled functions can read
STORE: Any = None  # torchrun's key-value store, which survives a restart of the processes
JOINING = timedelta(minutes=10)
EXCHANGE = timedelta(hours=6)  # the others wait while the main rank evaluates; torchrun ends them if one dies


def join() -> None:
    """Joins the processes of torchrun."""
    global WORLD_SIZE, RANK, STORE
    STORE, RANK, WORLD_SIZE = next(rendezvous("env://", timeout=JOINING))
    # The addresses from before a restart are still in the store. On several machines, each counts restarts for itself.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if os.environ.get("GROUP_WORLD_SIZE") == "1" else "any"
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=PrefixStore(f"wgangp/{attempt}", STORE),
        rank=RANK,
        world_size=WORLD_SIZE,
        timeout=EXCHANGE,
    )


def local_rank(gpus: int) -> int:
    """Returns this process's number among those of its machine. Raises ValueError if they are more than its GPUs."""
    if WORLD_SIZE == 1:
        return 0
    if (processes := int(os.environ["LOCAL_WORLD_SIZE"])) > gpus:
        raise ValueError(f"torchrun started {processes} processes here, and each needs one of {gpus} GPUs: start fewer")
    return int(os.environ["LOCAL_RANK"])


def leave() -> None:
    """Ends what `join` began."""
    if dist.is_initialized():
        dist.destroy_process_group()


def is_main() -> bool:
    """Returns whether this rank writes the run directory."""
    return RANK == 0


def local_shard(whole: Tensor) -> Tensor:
    """Returns this rank's rows (n / ranks, *) of a whole batch (n, *)."""
    n = len(whole) // WORLD_SIZE
    return whole[RANK * n : (RANK + 1) * n]


def sharded_random(draw: Callable[[int], Tensor], n: int) -> Tensor:
    """Returns this rank's n rows of those that `draw` makes for the whole batch, so that ranks do not change a run."""
    return local_shard(draw(n * WORLD_SIZE))


def average_gradients(params: Iterable[nn.Parameter]) -> None:
    """Replaces each gradient by its mean over the ranks, in one all_reduce."""
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


def synchronise_batchnorm(network: nn.Module, device: torch.device) -> None:
    """Makes a network's BatchNorm that of the whole batch of all ranks, in place. Raises ValueError without a GPU."""
    if device.type != "cuda":
        raise ValueError("sync_batchnorm=true needs CUDA: torch synchronises BatchNorm nowhere else")
    nn.SyncBatchNorm.convert_sync_batchnorm(network)


def gather(mine: dict[int, Any]) -> dict[int, Any]:
    """Returns the entries of all ranks, on every rank."""
    if WORLD_SIZE == 1:
        return mine
    parts: list[Any] = [None] * WORLD_SIZE
    dist.all_gather_object(parts, mine)
    return {key: value for part in parts for key, value in part.items()}


def any_rank(*flags: bool) -> list[bool]:
    """Returns of each flag whether it is set on at least one rank."""
    return [count > 0 for count in sum_over_ranks(torch.tensor(flags, dtype=torch.int)).tolist()]


def from_main(name: str, make: Callable[[], str]) -> str:
    """Returns the main rank's make() on all ranks; after torchrun restarted the processes, the value from before."""
    if STORE is None:
        return make()
    key = f"wgangp/{name}"
    if is_main() and not STORE.check([key]):
        STORE.set(key, make())
    value: bytes = STORE.get(key)  # waits for the main rank
    return value.decode()


def max_over_ranks(x: Tensor) -> Tensor:
    if WORLD_SIZE > 1:
        x = x.detach().clone()
        dist.all_reduce(x, dist.ReduceOp.MAX)
    return x
