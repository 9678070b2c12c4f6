"""The environment record: environment.json."""

import importlib.metadata
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wgangp.run_dir.files import read_json, replace_json

if TYPE_CHECKING:
    import torch

PACKAGES = ("wgangp", "torch", "torchvision", "hydra-core", "omegaconf", "numpy", "pillow", "tensorboard")


def record_environment(run: Path, step: int, device: "torch.device", data: str) -> None:
    """Writes RUN/environment.json: data, versions, device, command, and the git commit of this code if it has one.

    They are those of the process that goes on after `step`; those of the processes before it are listed as `earlier`.
    """
    import torch  # which takes seconds, and readers need nothing of it

    content = {
        "after_step": step,
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "data": data,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cuda": torch.version.cuda,
        "packages": {name: version for name in PACKAGES if (version := version_of(name))},
        "earlier": read_environments(run),
    }
    replace_json(run / "environment.json", content)


def read_environments(run: Path) -> list[dict[str, Any]]:
    """Returns those of the run's processes, the first one's first; none if the file is absent or damaged."""
    try:
        last = read_json(run / "environment.json")
        found = [*last.pop("earlier", []), last]
    except (OSError, ValueError, AttributeError, TypeError):
        return []
    return [environment for environment in found if isinstance(environment, dict)]


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
