"""Checkpoints: plain tensors and containers, written whole or not at all, read without running code."""

import hashlib
import io
import logging
import math
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from wgangp.machine.bounded import load_bounded
from wgangp.machine.distributed import is_main
from wgangp.metrics.objective import monitored
from wgangp.run_dir.claim import no_checkpoint
from wgangp.run_dir.files import later_name, read_json, read_regular, replace_json, replacing
from wgangp.run_dir.header import header_of, is_int

log = logging.getLogger(__name__)

State = dict[str, Any]
NAME = re.compile(r"step_(\d{8,12})\.pt")


class Damaged(ValueError):
    """A checkpoint whose content is not what was written."""


def check_weights(part: str, weights: object) -> None:
    """Raises ValueError if a network's weights are no tensors by name."""
    if not isinstance(weights, dict):
        raise ValueError(f"the weights of its {part} are no tensors by name")
    for name, value in weights.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            raise ValueError(f"{name} of its {part} is a {type(value).__name__}: only tensors can be kept")


def step_of(path: Path) -> int:
    """Returns 1000 for step_00001000.pt."""
    found = NAME.fullmatch(path.name)
    return int(found[1]) if found else -1


def run_of(path: Path) -> Path:
    """Returns the run directory that this is, or that this checkpoint file lies in, to write into.

    Raises ValueError if the checkpoint lies in none.
    """
    if not path.is_file():
        return path
    if path.absolute().parent.name != "checkpoints":
        raise ValueError(
            f"run={path}: a checkpoint is read in its run directory, as DIR/checkpoints/{path.name}: put it there, or "
            "into a new folder called checkpoints"
        )
    return Path(os.path.normpath(path / ".." / ".."))


def all_checkpoints(run: Path) -> list[Path]:
    """Returns the run's checkpoints, oldest first. Other names, folders and pipes are skipped."""
    found = (path for path in (run / "checkpoints").glob("step_*.pt") if NAME.fullmatch(path.name) and path.is_file())
    return sorted(found, key=step_of)


def newest_checkpoint(run: Path) -> Path:
    """Raises FileNotFoundError, naming where it looked, if the run has no checkpoint."""
    if not (found := all_checkpoints(run)):
        raise no_checkpoint(run)
    return found[-1]


def set_aside_later(run: Path, step: int) -> None:
    """Renames the checkpoints after this step, of a future that is given up, to .later, best.pt among them."""
    for path in all_checkpoints(run):
        if step_of(path) > step:
            path.rename(later_name(path))
    best = run / "checkpoints" / "best.pt"
    if best_of(run).get("step", 0) > step and best.exists():
        best.rename(later_name(best))
        best.with_suffix(".json").unlink()


def best_of(run: Path) -> dict[str, Any]:
    """Returns the step, the monitor and the value of best.pt; {} if there is none, or its file is damaged."""
    try:
        best = read_json(run / "checkpoints" / "best.json")
        return {"step": int(best["step"]), "monitor": str(best["monitor"]), "value": float(best["value"])}
    except (OSError, ValueError, LookupError, TypeError, OverflowError):
        return {}


def load_checkpoint(path: Path) -> State:
    """Returns the checkpoint on the CPU.

    Raises Damaged if it is not as it was written, and ValueError if it is of another program or version.
    """
    content = read_regular(path)
    body, seal = content[:-SEAL_LENGTH], content[-SEAL_LENGTH:]
    if content[-22:].startswith(b"PK\5\6"):  # the end of a zip file: nothing was cut off, and no seal follows
        raise ValueError(f"{path} is no checkpoint of wgangp, or of a version before checkpoints had a checksum")
    if seal != sealed(hashlib.sha256(body)):
        raise Damaged(f"{path} is damaged or no checkpoint of wgangp")
    try:
        return _state_of(body)
    except ValueError as error:
        raise ValueError(f"{path} is no checkpoint of wgangp ({error})") from error


def _state_of(body: bytes) -> State:
    """Returns the state of a file of torch.save. Raises ValueError if it is none of a run."""
    try:
        if not body.startswith(b"PK"):
            raise ValueError("it is no file of torch.save")
        state = load_bounded(body)
        if not isinstance(state, dict) or not {"step", "generator", "ema"} <= state.keys():
            raise ValueError("it lacks parts")
        for part in ("generator", "ema"):
            check_weights(part, state[part])
        header_of(state)
        if not (is_int(state["step"], 0, 10**12) and is_int(state.get("images_seen", 0), 0, 2**53)):
            raise ValueError("its step or its number of images is no number")
    except (pickle.UnpicklingError, zipfile.BadZipFile, ValueError, RuntimeError, TypeError) as error:
        raise ValueError(f"{error} ".splitlines()[0].strip()[:200]) from error
    return state


def check_readable(header: State, state: State) -> None:
    """Raises ValueError if a checkpoint of this header and state could not be read again. Weights are not copied."""
    content = io.BytesIO()
    with said_unreadable():
        torch.save(header | _without_numbers(state), content)
        _state_of(content.getvalue())


@contextmanager
def said_unreadable() -> Iterator[None]:
    """Makes a ValueError that says so of whatever keeps a checkpoint from being written and read again."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, pickle.PicklingError) as error:
        raise ValueError(f"no checkpoint of this run could be read again: {error}") from error


def _without_numbers(node: Any) -> Any:
    """Returns containers of a state with an empty tensor for each of their tensors."""
    if isinstance(node, Tensor):
        return torch.empty(0)
    if type(node) in (dict, OrderedDict):
        return {key: _without_numbers(value) for key, value in node.items()}
    return type(node)(map(_without_numbers, node)) if type(node) in (list, tuple) else node


def load_newest(run: Path, set_aside: bool = False) -> tuple[Path, State]:
    """Returns the newest sound checkpoint of a run directory; or the checkpoint file that `run` is.

    Damaged ones are logged and passed over; `set_aside` renames them to .damaged. Raises FileNotFoundError or
    ValueError if there is none.
    """
    if run.is_file():
        return run, load_checkpoint(run)
    newest_checkpoint(run)
    for path in reversed(all_checkpoints(run)):
        try:
            return path, load_checkpoint(path)
        except FileNotFoundError:  # a process that trains the run has written a newer one, and removed this one
            return load_newest(run, set_aside)
        except ValueError as error:
            rename = set_aside and isinstance(error, Damaged)
            log.warning("%s%s", error, ": set aside" if rename else "")
            if rename:
                path.rename(path.with_suffix(".damaged"))
    raise ValueError(f"run={run}: no checkpoint in {run / 'checkpoints'} is sound: restore one, or train anew")


class Checkpoints:
    """Saves states as RUN/checkpoints/step_NNNNNNNN.pt, each with the header, and keeps the last `keep` of them.

    best.pt is the one with the best value of `monitor` at an evaluation; none if `monitor` is empty.
    """

    def __init__(
        self, run: Path, keep: int, header: State, monitor: str, higher_is_better: bool, saved_step: int = 0
    ) -> None:
        self.run, self.folder, self.keep, self.header = run, run / "checkpoints", keep, header
        self.monitor, self.higher_is_better = monitor, higher_is_better
        self.saved_step, self.readable = saved_step, False
        self.folder.mkdir(parents=True, exist_ok=True)

    def save(self, step: int, state: State) -> None:
        """If the disk has no room, the older checkpoints stay, and training continues.

        Raises ValueError, at the first time, if the checkpoint could not be read again.
        """
        if is_main() and not self.readable:  # optimizers have no state before the first step
            check_readable(self.header, state)
            self.readable = True
        if is_main() and self._write(f"step_{step:08d}.pt", state):
            self.saved_step = step
            for old in all_checkpoints(self.run)[: -self.keep]:
                old.unlink(missing_ok=True)

    def save_if_best(self, step: int, values: dict[str, float], state: Callable[[], State]) -> None:
        """Compares with the best value so far, in this run or before it was resumed."""
        if not is_main() or not self.monitor:
            return
        value, so_far = monitored(values, self.monitor), self._best()
        if (value > so_far if self.higher_is_better else value < so_far) and self._write("best.pt", state()):
            try:
                best = {"step": step, "monitor": self.monitor, "value": value}
                replace_json(self.folder / "best.json", best)
            except OSError as error:
                log.error("best.json of step %d is not written: %s", step, error)

    def _best(self) -> float:
        """The best value so far by the same monitor; the worst that there is if there is none."""
        best = best_of(self.run)
        if best.get("monitor") == self.monitor:
            return float(best["value"])
        return -math.inf if self.higher_is_better else math.inf

    def _write(self, name: str, state: State) -> bool:
        """Returns False if the disk has no room."""
        try:
            save_checkpoint(self.folder / name, self.header | state)
        except (OSError, RuntimeError) as error:  # of the disk; torch's zip writer makes another of it
            log.error("%s cannot be written, and is left out until the next time: %s", name, error)
            return False
        return True


def save_checkpoint(path: Path, state: State) -> None:
    """Writes a state and its seal, as `replacing`. A killed process leaves one unfinished file, whatever its size."""
    with replacing(path, "wb", path.with_suffix(".partial")) as file:
        writer = Sealed(file)
        torch.save(state, writer)  # type: ignore[arg-type]
        file.write(sealed(writer.digest))


class Sealed:
    """A file to write into, and the digest of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def sealed(digest: "hashlib._Hash") -> bytes:
    """The last line of a checkpoint: torch itself does not notice changed bits."""
    return b"wgangp " + digest.hexdigest().encode() + b"\n"


SEAL_LENGTH = len(sealed(hashlib.sha256()))
