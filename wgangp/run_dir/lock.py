"""The lock of a run directory, so that two processes never write into one run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout  # torch depends on it

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

LOOK = 0.5  # seconds to wait: `is_locked` of another process, such as a summary, holds the lock for less


def run_lock(run: Path) -> FileLock:
    # filelock opens the file without truncating it, and refuses links where the system can.
    return FileLock(run / ".lock")


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Holds the run's lock. Raises ValueError if another process holds it, and not only for the moment of a look.

    The operating system releases the lock when the process ends, however it ends.
    """
    try:
        lock = run_lock(run).acquire(timeout=LOOK)
    except Timeout as error:
        raise ValueError(
            f"{run} is in use by another run: wait until it ends, or give another hydra.run.dir"
        ) from error
    with lock:
        yield


@contextmanager
def in_turn(run: Path) -> Iterator[None]:
    """Waits while another process is in its turn with this run, for the moment of a change to one of its files.

    It locks the folder itself, so no file is left. Where folders cannot be locked it does not wait.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(run, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_locked(run: Path) -> bool:
    """Whether a process holds the run's lock."""
    if not os.path.exists(run / ".lock"):
        return False
    try:
        with run_lock(run).acquire(blocking=False):
            return False
    except Timeout:
        return True
    except OSError:  # a folder without permission to write: nobody of this user trains there
        return False
