"""How files of a run directory are written: whole or not at all, and never through a link."""

import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import IO, Any

NO_LINKS = (".hydra", "checkpoints", "samples", "profile", "cache", ".lock")
# Links are refused, and opening a pipe does not wait. Windows has neither.
SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def refuse_links(run: Path, *more: Path) -> None:
    """Raises ValueError if a folder or lock of the run is a link, through which files elsewhere would be written."""
    for path in (*map(Path, NO_LINKS), *more):
        if (run / path).is_symlink():
            raise ValueError(f"{run / path} is a link: replace it by what it leads to, or remove it")


def later_name(path: Path) -> Path:
    """Returns a free name for what a run has of steps that are given up: NAME.later, NAME.later.2 and so on."""
    endings = chain(["later"], (f"later.{i}" for i in count(2)))
    return next(name for ending in endings if not (name := path.with_name(f"{path.name}.{ending}")).exists())


def open_for_writing(path: Path, mode: str = "w") -> IO[Any]:
    """Opens a file of a run, text in UTF-8. Raises OSError if it is a link, which could lead elsewhere, or a pipe.

    That is seen before the content is cut. A file with hard links, as a snapshot makes them, becomes one of its own.
    """
    _separate(path, keeps_content=not mode.startswith("w"))

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags & ~os.O_TRUNC | SAFELY, 0o666)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            os.close(descriptor)
            raise not_regular(path)
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
        return descriptor

    return open(path, mode, encoding=None if "b" in mode else "utf-8", opener=opener)


def _separate(path: Path, keeps_content: bool) -> None:
    """Replaces a file that has other names, too, by a copy, or removes it: what is written then is not in these."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode) or found.st_nlink == 1:
        return
    if not keeps_content:
        path.unlink()
        return
    copy = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        shutil.copy(path, copy)
        os.replace(copy, path)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise


def not_regular(path: Path) -> OSError:
    return OSError(errno.EINVAL, "this is no regular file: remove it", str(path))


def read_regular(path: Path) -> bytes:
    """Returns the content. Raises OSError if it is no file, but a pipe or a device, which may never end."""
    if path.exists() and not path.is_file():
        raise not_regular(path)
    return path.read_bytes()


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file. Raises OSError, or ValueError if it is none."""
    try:
        return json.loads(read_regular(path))
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deep") from error


def append(path: Path, content: bytes) -> None:
    """Appends the content as a whole or not at all. Raises OSError if the disk has no room for it."""
    with open_for_writing(path, "ab") as file:
        end = file.tell()
        if os.write(file.fileno(), content) < len(content):
            os.ftruncate(file.fileno(), end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@contextmanager
def replacing(path: Path, mode: str = "w", partial: Path | None = None, durable: bool = True) -> Iterator[IO[Any]]:
    """Opens a file beside, which replaces `path` at the end: readers see the old content or the new, never half of it.

    After an error, or a crash, the old content is still there, also after one of the machine if `durable`. `partial` is
    the file's name meanwhile.
    """
    random = secrets.token_hex(4)  # containers share process numbers
    partial = partial or path.with_name(f"{path.name[:40]}.{random}.partial")
    try:
        with open_for_writing(partial, mode) as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(partial, path)
        if durable:
            sync_folder(path.parent)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(partial)):  # as of a full disk
            number = error.errno or errno.ENOSPC
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


@contextmanager
def replacing_regular(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """As `replacing`. Raises OSError if something else than a file has this name, such as a device or a link."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise not_regular(path)
    if path.exists() and not os.access(path.parent, os.W_OK):  # no other file can be made beside it
        with open_for_writing(path, mode) as file:
            yield file
        return
    with replacing(path, mode, durable=False) as file:  # of many files in a row
        if path.exists():
            shutil.copymode(path, file.name)
        yield file


def replace_text(path: Path, text: str) -> None:
    """Writes text, as `replacing`."""
    with replacing(path) as file:
        file.write(text)


def replace_json(path: Path, content: Any) -> None:
    """Writes indented JSON, as `replacing`."""
    replace_text(path, json.dumps(content, indent=2) + "\n")


def sync_folder(folder: Path) -> None:
    """Flushes a renaming to the disk. Does nothing on Windows, where folders cannot be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
