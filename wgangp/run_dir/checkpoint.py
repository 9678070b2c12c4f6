"""Checkpoints: plain tensors and containers, written whole or not at all, read without running code."""

import fcntl
import hashlib
import io
import json
import logging
import math
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

from wgangp.machine.distributed import is_main
from wgangp.metrics.objective import monitored, sign

log = logging.getLogger(__name__)


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
    content = path.read_bytes()
    body, seal = content[:-SEAL_LENGTH], content[-SEAL_LENGTH:]
    if seal != sealed(hashlib.sha256(body)):
        raise ValueError(f"{path} is damaged or no checkpoint of wgangp")
    try:
        check_size(body)
        state = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, zipfile.BadZipFile, ValueError) as error:  # sealed, and yet not what we write
        raise ValueError(f"{path} is no checkpoint of wgangp") from error
    if (
        not isinstance(state, dict)
        or not {"step", "config", "shape", "num_classes", "generator", "ema"} <= state.keys()
    ):
        raise ValueError(f"{path} is no checkpoint of wgangp")
    return state


def check_size(body: bytes) -> None:
    """Raises ValueError where a checkpoint would unpack to more than it is: torch itself packs nothing."""
    members = zipfile.ZipFile(io.BytesIO(body)).infolist()
    if sum(member.file_size for member in members) > len(body):
        raise ValueError("it unpacks to more than it is")


def load_newest(run: Path, set_aside: bool = False) -> tuple[Path, dict[str, Any]]:
    """The newest sound checkpoint of a run directory; or the checkpoint, where `run` is one.

    Damaged ones are told and passed over; to set them aside is to rename them to .damaged. Raises FileNotFoundError or
    ValueError where there is none.
    """
    if run.is_file():
        return run, load_checkpoint(run)
    newest_checkpoint(run)
    for path in reversed(all_checkpoints(run)):
        try:
            return path, load_checkpoint(path)
        except ValueError as error:
            log.warning("%s%s", error, ": set aside" if set_aside else ": an older one is taken")
            if set_aside:
                path.rename(path.with_suffix(".damaged"))
    raise ValueError(f"run={run}: no checkpoint in {run / 'checkpoints'} is sound")


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

    best.pt is the one whose `monitor` was best at an evaluation.
    """

    def __init__(self, run: Path, keep: int, header: dict[str, Any], monitor: str) -> None:
        self.run, self.keep, self.header = run, keep, header
        self.monitor, self.sign = monitor, sign(monitor)
        (run / "checkpoints").mkdir(parents=True, exist_ok=True)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Where the disk has no room, the older ones stay, and the training goes on."""
        if not is_main():
            return
        if self._write(f"step_{step:08d}.pt", state):
            for old in all_checkpoints(self.run)[: -self.keep]:
                old.unlink()

    def save_if_best(self, step: int, values: dict[str, float], state: Callable[[], dict[str, Any]]) -> None:
        """Compares with what best.json tells of the best one so far, in this run or before it was resumed."""
        if not is_main():
            return
        told, value = self.run / "checkpoints" / "best.json", monitored(values, self.monitor)
        best = json.loads(told.read_text())["value"] if told.exists() else math.inf * self.sign
        if self.sign * value < self.sign * best and self._write("best.pt", state()):
            told.write_text(json.dumps({"step": step, "monitor": self.monitor, "value": value}) + "\n")

    def _write(self, name: str, state: dict[str, Any]) -> bool:
        """False where the disk has no room."""
        try:
            save_checkpoint(self.run / "checkpoints" / name, self.header | state)
        except (OSError, RuntimeError) as error:  # of the disk; torch's zip writer makes another of it
            log.error("%s cannot be written, and is left out until the next time: %s", name, error)
            return False
        return True


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes beside, flushes and renames: a crash leaves what was there before, and no half file."""
    partial = path.with_suffix(".partial")
    try:
        with open(partial, "wb") as file:
            writer = Sealed(file)
            torch.save(state, writer)  # type: ignore[arg-type]
            file.write(sealed(writer.digest))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


class Sealed:
    """A file to write into, and the digest of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def sealed(digest: Any) -> bytes:
    """The last line of a checkpoint: torch itself does not notice changed bits."""
    return b"wgangp " + digest.hexdigest().encode() + b"\n"


SEAL_LENGTH = len(sealed(hashlib.sha256()))


def sync(folder: Path) -> None:
    """Puts a renaming on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
