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


def record_environment(run: Path, device: torch.device, data: str) -> None:
    """Writes RUN/environment.json: data, versions, device, command, and the git commit of this code if it has one."""
    content = {
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "data": data,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cuda": torch.version.cuda,
        "packages": {name: version for name in PACKAGES if (version := version_of(name))},
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


def version_of(package: str) -> str | None:
    """Returns the installed version; None if the package is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
