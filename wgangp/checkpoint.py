"""Checkpoints: plain tensors and containers, written whole or not at all, read without running code."""

import fcntl
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from wgangp.distributed import is_main


def step_of(path: Path) -> int:
    """1000 for step_00001000.pt."""
    return int(re.sub(r"\D", "", path.stem))


def all_checkpoints(run: Path) -> list[Path]:
    """The run's checkpoints, oldest first."""
    return sorted((run / "checkpoints").glob("step_*.pt"), key=step_of)


def newest_checkpoint(run: Path) -> Path:
    """Raises FileNotFoundError, naming where it looked, if the run has none (or is none)."""
    if not run.is_dir():
        raise FileNotFoundError(f"run={run}: there is no such directory")
    if not (found := all_checkpoints(run)):
        raise FileNotFoundError(f"run={run}: no checkpoint in {run / 'checkpoints'}")
    return found[-1]


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint on the CPU. Raises ValueError, naming the file, if it is damaged or no checkpoint of ours."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler or the zip reader makes of a damaged file
        raise ValueError(f"{path} is damaged or no checkpoint: move it away to use an older one") from error
    if not isinstance(state, dict) or not {"step", "config", "generator"} <= state.keys():
        raise ValueError(f"{path} is not a checkpoint of wgangp")
    return state


def monitored(values: dict[str, float], name: str) -> float:
    """The value called `name` or eval/`name`; NaN where there is none."""
    return values.get(name, values.get(f"eval/{name}", math.nan))


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keeps other processes from writing into the run directory meanwhile. Raises ValueError where one does.

    The lock is the operating system's and goes with the process, however that ends.
    """
    with open(run / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"{run} is in use by another run: wait until it ends, or give another hydra.run.dir"
            ) from error
        yield


class Checkpoints:
    """Saves states as RUN/checkpoints/step_NNNNNNNN.pt, each with `header`, and keeps the last `keep` of them.

    best.pt is the one whose `monitor` was best at an evaluation: lowest or highest, as `goal` (min or max) says.
    """

    def __init__(self, run: Path, keep: int, header: dict[str, Any], monitor: str, goal: str) -> None:
        self.run, self.keep, self.header = run, keep, header
        self.monitor, self.sign = monitor, 1 if goal == "min" else -1
        (run / "checkpoints").mkdir(parents=True, exist_ok=True)

    def save(self, step: int, state: dict[str, Any]) -> None:
        if not is_main():
            return
        self._write(f"step_{step:08d}.pt", state)
        for old in all_checkpoints(self.run)[: -self.keep]:
            old.unlink()

    def save_if_best(self, step: int, values: dict[str, float], state: Callable[[], dict[str, Any]]) -> None:
        """Compares with what best.json tells of the best one so far, in this run or before it was resumed."""
        if not is_main():
            return
        told, value = self.run / "checkpoints" / "best.json", monitored(values, self.monitor)
        best = json.loads(told.read_text())["value"] if told.exists() else math.inf * self.sign
        if self.sign * value < self.sign * best:
            self._write("best.pt", state())
            told.write_text(json.dumps({"step": step, "monitor": self.monitor, "value": value}) + "\n")

    def _write(self, name: str, state: dict[str, Any]) -> None:
        """Writes beside, flushes and renames: a crash leaves the old checkpoints and no half one."""
        path = self.run / "checkpoints" / name
        partial = path.with_suffix(".partial")
        with open(partial, "wb") as file:
            torch.save(self.header | state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
