"""What is found out before the first step: whether there is room, and what the run is made with."""

import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from wgangp.trainer import Trainer

PACKAGES = ("wgangp", "torch", "torchvision", "hydra-core", "omegaconf", "numpy", "pillow", "tensorboard")


def record_environment(run: Path, device: torch.device) -> None:
    """RUN/environment.json: versions, device, the command, and the git commit of this code where it has one."""
    content = {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cuda": torch.version.cuda,
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES if is_installed(name)},
    }
    (run / "environment.json").write_text(json.dumps(content, indent=2) + "\n")


def commit() -> str | None:
    """The git commit of this checkout; None where the package is installed, or git is not."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    git = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(git, capture_output=True, text=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None


def is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def checkpoint_bytes(trainer: Trainer) -> int:
    """About the size of a checkpoint: the networks, the average, and Adam's two moments of every weight."""
    generator = sum(p.nbytes for p in trainer.generator.parameters())
    critic = sum(p.nbytes for p in trainer.critic.parameters())
    return 4 * generator + 3 * critic


def check_disk(run: Path, trainer: Trainer, checkpoints: int) -> None:
    """Raises ValueError where the disk has no room for so many checkpoints, the best one and one being written."""
    needed, free = (checkpoints + 2) * checkpoint_bytes(trainer), shutil.disk_usage(run).free
    if needed > free:
        raise ValueError(
            f"{run} has {free / 1e9:.1f} GB left, and {checkpoints + 2} checkpoints need {needed / 1e9:.1f} GB: make "
            "room, lower keep_checkpoints, or give another hydra.run.dir"
        )


def check_memory(trainer: Trainer, with_batch: Callable[[int], Any]) -> None:
    """One trial of both losses on CUDA, which leaves the trainer as it was.

    Raises ValueError where memory does not suffice, with the largest halved batch that fits; `with_batch(n)` makes a
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
        trainer.trial()
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return False
    return True
