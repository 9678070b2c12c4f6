"""Paths as users type them."""

import os
from pathlib import Path


def local_path(path: object) -> Path:
    """Returns a path with ~ for the home folder, where there is one; numbers are names, too."""
    return Path(os.path.expanduser(str(path)))
