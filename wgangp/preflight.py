"""Checks of disk, memory and the batch before the first step."""

import copy
import gc
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from wgangp.machine import distributed
from wgangp.observer import Observer
from wgangp.run_dir.checkpoint import all_checkpoints
from wgangp.speed import gradients
from wgangp.trainer import Trainer


def checkpoint_bytes(trainer: Trainer) -> int:
    """Returns about the size of a checkpoint: the networks, the average, and Adam's two moments of every weight."""
    generator = sum(p.nbytes for p in trainer.generator_params)
    critic = sum(p.nbytes for p in trainer.critic_params)
    return 4 * generator + 3 * critic


def check_disk(run: Path, trainer: Trainer, checkpoints: int) -> None:
    """Raises ValueError if the disk has no room for so many checkpoints, the best one and one being written.

    Those that a resumed run has already take no more room: new ones replace them.
    """
    has = sum(file.stat().st_size for file in all_checkpoints(run)[-checkpoints:])
    needed, free = (checkpoints + 2) * checkpoint_bytes(trainer), shutil.disk_usage(run).free
    if needed - has > free:
        raise ValueError(
            f"{run} has {free / 1e6:,.0f} MB left, and {checkpoints + 2} checkpoints need {needed / 1e6:,.0f} MB: make "
            "room, lower keep_checkpoints, or give another hydra.run.dir"
        )


def check_batchnorm(trainer: Trainer) -> None:
    """Raises ValueError if BatchNorm would get a single value of a channel, as of one sample of 1x1 features."""
    if trainer.batch_size > distributed.WORLD_SIZE:
        return
    try:
        gradients(trainer, trainer.critic_gradients, trainer.generator_gradients)
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            f"batch_size={trainer.batch_size}: BatchNorm needs at least 2 samples in each process, since one has no "
            "variance: choose a larger batch_size, or networks without BatchNorm"
        ) from error


def check_memory(trainer: Trainer, with_batch: Callable[[int], Trainer]) -> None:
    """Trains a step on CUDA, measures it and draws a picture. The trainer is as it was afterwards.

    Raises ValueError if memory does not suffice, with the largest halved batch that fits; `with_batch(n)` makes a
    trainer of batch n.
    """
    if trainer.device.type != "cuda" or step_fits(trainer):
        return
    share = trainer.batch_size // distributed.WORLD_SIZE  # of each process
    while share > 1:
        share //= 2
        n = share * distributed.WORLD_SIZE
        if step_fits(with_batch(n)):
            raise ValueError(f"batch_size={trainer.batch_size} does not fit into the device's memory; {n} does")
    raise ValueError("not even one sample fits into the device's memory: use narrower networks")


def step_fits(trainer: Trainer) -> bool:
    """Whether the device holds a step, which a CUDA graph keeps, and beside it what a log step and a picture take.

    The graph of each further pattern of penalised updates has gradients of its own.
    """
    gc.collect()  # of the larger batches before, which are cycles
    torch.cuda.empty_cache()
    free, before = torch.cuda.mem_get_info(trainer.device)[0], copy.deepcopy(trainer.state())
    observer = Observer(trainer, lambda generate: {})
    try:
        needed = peak(trainer.train_step) + peak(lambda: observer.measure(trainer.logs), observer.picture)
        needed += (patterns(trainer) - 1) * sum(p.nbytes for p in trainer.critic_params + trainer.generator_params)
    except torch.OutOfMemoryError:
        needed = free + 1
    trainer.load_state(before)
    for optimizer in trainer.optimizers:
        optimizer.zero_grad()
    torch.cuda.empty_cache()
    return 1.1 * needed <= free  # a graph's blocks have other gaps


def patterns(trainer: Trainer) -> int:
    """Returns how many patterns of penalised updates the steps of a run have."""
    n, due = trainer.n_critic, trainer.penalty.due
    return len({tuple(due(step * n + i) for i in range(n)) for step in range(trainer.penalty.interval)})


def peak(*functions: Callable[[], object]) -> int:
    """Returns the bytes of the blocks that the functions need on the device beyond those of before."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    for function in functions:
        function()
    return torch.cuda.max_memory_reserved() - before
