"""Ends the processes of a sweep's jobs together with the sweep."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from wgangp.run_dir.lock import is_locked

PATIENCE = 60.0  # seconds that running jobs have to finish their step and save


@contextmanager
def ending_with_us(runs: Sequence[Path]) -> Iterator[None]:
    """While entered, SIGTERM to this process goes to its children, too, and ends it once the running jobs have saved.

    Without it the jobs that joblib runs side by side would train on, with nobody to end them.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are handled in the main thread alone
        yield
        return

    def end(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        running = [run for run in runs if is_locked(run)]
        for child in children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and any(map(is_locked, running)):
            time.sleep(0.1)
        sys.exit(128 + number)  # joblib ends what has just begun

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def children() -> list[int]:
    """The processes that this one started, on Linux; an empty list elsewhere."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = file.read_text(errors="replace").rpartition(")")[2].split()[1]
            found += [int(file.parent.name)] if int(parent) == os.getpid() else []
    return found
