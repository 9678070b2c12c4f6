"""Run directories of new runs: each has a name of its own, and is removed again if the start is refused."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path


class Claim:
    """The directory of a run that is about to start."""

    def __init__(self, wanted: Path, may_rename: bool) -> None:
        self.wanted, self.may_rename, self.created = wanted, may_rename, False

    def take(self) -> Path:
        """Creates the directory and returns it.

        A new run owns the directory whose .hydra it created: that is atomic, also on network file systems. If another
        run owns it, a run that `may_rename` takes the name with -2, -3 ... added; otherwise that run is continued.
        Raises ValueError if the directory cannot be created.
        """
        for run in numbered(self.wanted):
            try:
                run.mkdir(parents=True, exist_ok=True)
                (run / ".hydra").mkdir()
                self.created = True
            except FileExistsError as error:
                if not run.is_dir():
                    raise ValueError(f"{run} is a file: give another hydra.run.dir") from error
                if self.may_rename:
                    continue
            except OSError as error:
                advice = "give a folder by hydra.run.dir="
                raise ValueError(f"{run} cannot be created ({error.strerror}): {advice}") from error
            self.run = run.absolute()
            return self.run
        raise AssertionError("the names never end")

    def release(self) -> None:
        """Removes what a refused start has left: empty directories, and the lock. A run's record keeps everything."""
        if not self.created:
            return
        with suppress(OSError):
            (self.run / ".hydra").rmdir()  # fails if a record is in it
            (self.run / ".lock").unlink(missing_ok=True)
            remove_if_empty(self.run)


def numbered(path: Path) -> Iterator[Path]:
    """Yields NAME, NAME-2, NAME-3 and so on."""
    yield path
    yield from (path.with_name(f"{path.name}-{i}") for i in count(2))


def remove_if_empty(folder: Path) -> None:
    """Removes a directory in which nothing is, and those above it that are empty then, up to the working directory."""
    here, folder = Path.cwd(), folder.absolute()
    with suppress(OSError):
        for path in (folder, *(parent for parent in folder.parents if here in parent.parents)):
            if path == here or path in here.parents:
                return
            path.rmdir()


def has_checkpoint(run: Path) -> bool:
    """Whether the path is a run with a checkpoint, or a checkpoint; quick, without torch."""
    return run.is_file() or any((run / "checkpoints").glob("step_*.pt"))


def no_checkpoint(run: Path) -> FileNotFoundError:
    """Returns the error of a path that is no run with a checkpoint, with what may be meant."""
    if not run.exists() and run.parent.is_dir() and run.suffix == ".pt":
        found = ", ".join(sorted(path.name for path in run.parent.glob("*.pt"))) or "no checkpoint"
        return FileNotFoundError(f"run={run}: there is no such file; {run.parent} has {found}")
    if not run.exists():
        return FileNotFoundError(f"run={run}: there is no such directory")
    if run.name == "checkpoints":
        return FileNotFoundError(f"run={run}: give the run's directory, run={run.parent}, or a file in this one")
    if jobs := sorted(path.parent.parent for path in run.glob("*/.hydra/overrides.yaml")):
        return FileNotFoundError(f"run={run} is a sweep: give one of its jobs, as run={jobs[0]}")
    return FileNotFoundError(f"run={run}: no run with a checkpoint is there (looked for checkpoints/step_*.pt)")
