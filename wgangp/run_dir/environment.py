"""The environment record: environment.json."""

import importlib.metadata
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch

from wgangp.run_dir.files import replace_json

PACKAGES = ("wgangp", "torch", "torchvision", "hydra-core", "omegaconf", "numpy", "pillow", "tensorboard")


def record_environment(run: Path, device: torch.device) -> None:
    """Writes RUN/environment.json: versions, device, the command, and the git commit of this code if it has one."""
    content = {
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cuda": torch.version.cuda,
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES if is_installed(name)},
    }
    replace_json(run / "environment.json", content)


def commit() -> str | None:
    """Returns the git commit of this checkout; None if the package is installed, or git is not there."""
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
