"""Checks of disk, memory and the batch before the first step."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from wgangp.machine import distributed
from wgangp.trainer import Trainer


def checkpoint_bytes(trainer: Trainer) -> int:
    """Returns about the size of a checkpoint: the networks, the average, and Adam's two moments of every weight."""
    generator = sum(p.nbytes for p in trainer.generator_params)
    critic = sum(p.nbytes for p in trainer.critic_params)
    return 4 * generator + 3 * critic


def check_disk(run: Path, trainer: Trainer, checkpoints: int) -> None:
    """Raises ValueError if the disk has no room for so many checkpoints, the best one and one being written."""
    needed, free = (checkpoints + 2) * checkpoint_bytes(trainer), shutil.disk_usage(run).free
    if needed > free:
        raise ValueError(
            f"{run} has {free / 1e9:.1f} GB left, and {checkpoints + 2} checkpoints need {needed / 1e9:.1f} GB: make "
            "room, lower keep_checkpoints, or give another hydra.run.dir"
        )


def check_batch(trainer: Trainer) -> None:
    """Raises ValueError if BatchNorm would get a single value of a channel, as of one sample of 1x1 features."""
    if trainer.batch_size > distributed.WORLD_SIZE:
        return
    try:
        trainer.gradients(trainer.critic_loss, trainer.generator_loss)
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            f"batch_size={trainer.batch_size}: BatchNorm needs at least 2 samples in each process, since one has no "
            "variance: choose a larger batch_size, or networks without BatchNorm"
        ) from error


def check_memory(trainer: Trainer, with_batch: Callable[[int], Trainer]) -> None:
    """Computes both losses' gradients once on CUDA, which leaves the trainer as it was.

    Raises ValueError if memory does not suffice, with the largest halved batch that fits; `with_batch(n)` makes a
    trainer of batch n.
    """
    if trainer.device.type != "cuda" or fits(trainer):
        return
    n = trainer.batch_size
    while n > 1:
        n //= 2
        if fits(with_batch(n)):
            raise ValueError(f"batch_size={trainer.batch_size} does not fit into the device's memory; {n} does")
    raise ValueError("not even one image fits into the device's memory: use narrower networks")


def fits(trainer: Trainer) -> bool:
    try:
        trainer.gradients(trainer.critic_loss, trainer.generator_loss)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return False
    return True
