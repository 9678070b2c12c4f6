"""Ends the processes of a sweep's jobs together with the sweep."""

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

    Without it the jobs that joblib runs side by side would train on, with nobody to end them. Raises ValueError if
    psutil is not installed.
    """
    try:
        import psutil  # of the extra `launchers`
    except ModuleNotFoundError as error:
        raise ValueError("jobs side by side need psutil: pip install -e '.[launchers]'") from error

    if threading.current_thread() is not threading.main_thread():  # signals are handled in the main thread alone
        yield
        return

    def end(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        running = [run for run in runs if is_locked(run)]
        for child in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):
                child.terminate()
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and any(map(is_locked, running)):
            time.sleep(0.1)
        sys.exit(128 + number)  # joblib ends what has just begun

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
