"""Where the program's log goes: the console, and train.log of the run directory."""

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wgangp.machine.text import printable
from wgangp.run_dir.files import open_for_writing


@contextmanager
def console() -> Iterator[None]:
    """Prints the program's log to standard output meanwhile, for commands that Hydra does not start."""
    handler, root = logging.StreamHandler(sys.stdout), logging.getLogger()
    handler.setFormatter(Printable("%(message)s"))
    handler.setLevel(logging.INFO)
    logging.raiseExceptions = False  # of a closed terminal, as in command_line.command
    before, level = root.handlers[:], root.level
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(level)


class Printable(logging.Formatter):
    """Messages without control characters, which could rewrite a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class OneLine(Printable):
    """Likewise, and one line for each message."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\t", "\\t").replace("\n", "\\n")


class Earlier(logging.Handler):
    """Keeps what is logged while it is entered: a run has no log file before its start is accepted."""

    def __enter__(self) -> "Earlier":
        self.records: list[logging.LogRecord] = []
        logging.getLogger("wgangp").addHandler(self)
        return self

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def __exit__(self, *exception: object) -> None:
        logging.getLogger("wgangp").removeHandler(self)


@contextmanager
def log_file(run: Path, earlier: Iterable[logging.LogRecord] = ()) -> Iterator[logging.Logger]:
    """Writes the program's log to RUN/train.log meanwhile, after `earlier` records.

    The logger that it gives writes there alone.
    """
    handler = logging.StreamHandler(open_for_writing(run / "train.log", "a"))
    handler.setFormatter(OneLine("[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"))
    for record in earlier:
        handler.handle(record)
    package, alone = logging.getLogger("wgangp"), logging.getLogger(f"file:{run}")
    alone.propagate, level = False, package.level
    package.addHandler(handler)
    package.setLevel(logging.DEBUG)
    alone.addHandler(handler)
    try:
        yield alone
    finally:
        package.setLevel(level)
        package.removeHandler(handler)
        alone.removeHandler(handler)
        with suppress(OSError):
            handler.stream.close()
