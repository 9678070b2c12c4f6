"""Signals that ask a run to stop, or to save."""

import logging
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, NoReturn

log = logging.getLogger(__name__)

GRACE = 1.0  # seconds after the first signal in which a SIGTERM is the same request: schedulers send several


def present(*names: str) -> list[signal.Signals]:
    """Returns the signals of these names that this system has; Windows lacks some."""
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def ignore_save_requests() -> None:
    """Ignores SIGUSR1 until a run begins: while modules are imported there is nothing to save."""
    for number in present("SIGUSR1"):
        if threading.current_thread() is threading.main_thread():
            signal.signal(number, signal.SIG_IGN)


def interrupted() -> NoReturn:
    """Ends the program after a Ctrl-C that no run has noted."""
    logging.getLogger("torch").setLevel(logging.WARNING)  # if its import was cut, it would log statistics at the end
    print("interrupted", file=sys.stderr)
    sys.exit(128 + signal.SIGINT)


class StopSignals:
    """While entered, the first SIGINT, SIGTERM, SIGHUP or SIGUSR2 is noted: the run saves and ends after its step.

    SLURM announces a preemption by SIGUSR2. SIGUSR1 is noted as a request to save. A second SIGINT ends the process at
    once, and so does a SIGTERM a second or more after the first signal. In other threads than the main one nothing is
    noted, since Python delivers signals there alone.
    """

    received: int | None = None
    noted_at = 0.0
    asked_to_save = False

    def __enter__(self) -> "StopSignals":
        self.previous: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in present("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2"):
                self._handle(number, self._note_stop)
            for number in present("SIGUSR1"):
                self._handle(number, self._note_save)
        return self

    def _handle(self, number: signal.Signals, handler: Any) -> None:
        if number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) == signal.SIG_IGN:
            return  # nohup: the run is meant to outlive its terminal
        self.previous[number] = signal.signal(number, handler)

    def _note_stop(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            late = time.monotonic() - self.noted_at >= GRACE
            if number == signal.SIGINT or (number == signal.SIGTERM and late):
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            return
        self.received, self.noted_at = number, time.monotonic()
        log.info(
            "%s: the run saves after this step, and ends. Send it again to end at once, without saving",
            signal.Signals(number).name,
        )

    def _note_save(self, number: int, frame: FrameType | None) -> None:
        self.asked_to_save = True

    def stop(self) -> bool:
        """Whether the run is to end."""
        return self.received is not None

    def save(self) -> bool:
        """Whether the run is to save now; asks once for each request."""
        asked, self.asked_to_save = self.asked_to_save, False
        return asked

    def leave(self) -> None:
        """Ends the process after a stop signal, with the exit code that shells give to it."""
        if self.received is None:
            return
        self.__exit__()
        if self.received == getattr(signal, "SIGUSR2", None):
            signal.raise_signal(self.received)  # submitit submits the job again; nobody else handles it
        sys.exit(128 + self.received)  # a sweep stops too

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
