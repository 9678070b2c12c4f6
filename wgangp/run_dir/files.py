"""How files of a run directory are written: whole or not at all, and never through a link."""

import json
import os
import re
from pathlib import Path
from typing import IO, Any

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tabs and newlines
FOLDERS = (".hydra", "checkpoints", "samples", "profile")
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has none


def printable(text: str) -> str:
    """Returns the text as a terminal or a log may show it: without escape sequences and other control characters."""
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text.encode("utf-8", "backslashreplace").decode())


def refuse_links(run: Path) -> None:
    """Raises ValueError if a folder of the run is a link, through which files elsewhere would be written."""
    for folder in FOLDERS:
        if (run / folder).is_symlink():
            raise ValueError(f"{run / folder} is a link: replace it by the folder itself")


def open_for_writing(path: Path, mode: str = "w") -> IO[Any]:
    """Opens a file of a run, text in UTF-8. Raises OSError if it is a link, which could lead elsewhere."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | NOFOLLOW, 0o666)

    return open(path, mode, encoding=None if "b" in mode else "utf-8", opener=opener)


def replace_text(path: Path, text: str) -> None:
    """Writes beside, flushes and renames: readers see the old content or the new, never half of it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open_for_writing(partial) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def replace_json(path: Path, content: Any) -> None:
    """As `replace_text`, indented JSON."""
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
