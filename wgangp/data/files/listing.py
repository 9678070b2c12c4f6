"""The image files below a folder or inside a zip file."""

import os
import re
import threading
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from PIL import Image

from wgangp.data.files.zips import open_zip

# PIL's other formats start programs (EPS), read other files, or accept any bytes (TGA, which needs its ending).
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "AVIF", "JPEG2000")
TGA = {".tga", ".icb", ".vda", ".vst"}
ENDINGS = TGA | {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"),
}
# Folders and files that systems add, besides all whose names begin with a dot.
SYSTEM = {
    *("__macosx", "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "lost+found", "thumbs.db"),
    *("$recycle.bin", "recycler", "recycled", "system volume information", "desktop.ini", "icon\r"),
}
LARGEST_FILE = 2**29  # bytes of an encoded image: more than PIL decodes

Stamp = tuple[int, int]  # the size of a file, and its time of change or check sum


class Encoded(Protocol):
    """Encoded images by their names. `read` raises ValueError if a name can have no image."""

    path: Path
    stamps: dict[str, Stamp]

    def read(self, name: str) -> bytes: ...


class Files:
    """The image files below a folder or inside a zip file, by their sorted relative names, with / between folders.

    Hidden files and folders, and those that systems add, do not count. `passed_over` counts the files that are no
    images, by their endings. A file without an ending is an image if its content begins as one.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, threading.Lock()
        self.passed_over: Counter[str] = Counter()
        if path.is_dir():
            found = dict(walk(str(path)))
        else:
            self.archive = open_zip(path)
            self.members = {_portable(m.filename): m for m in self.archive.infolist() if not _is_folder(m)}
            found = {name: (m.file_size, m.CRC) for name, m in self.members.items() if not _is_hidden(name)}
        self.stamps = {name: stamp for name, stamp in found.items() if self._is_image(name)}
        self.names = sorted(self.stamps)

    def _is_image(self, name: str) -> bool:
        ending = os.path.splitext(name)[1].lower()
        if ending in ENDINGS or (not ending and self._begins_as_image(name)):
            return True
        self.passed_over[ending or "no ending"] += 1
        return False

    def _begins_as_image(self, name: str) -> bool:
        try:
            with warnings.catch_warnings(action="ignore"), self._open(name) as file, Image.open(file, formats=FORMATS):
                return True
        except Exception:  # PIL raises OSError, SyntaxError, ValueError, struct.error ...
            return False

    def _open(self, name: str) -> IO[bytes]:
        """Opens a file. Raises ValueError if it is not a regular file, such as a pipe or a broken link."""
        if not self.path.is_dir():
            return self.archive.open(self.members[name])
        if not (self.path / name).is_file():
            raise ValueError("no regular file")
        return open(self.path / name, "rb")

    def read(self, name: str) -> bytes:
        """Returns the content of a file.

        Raises ValueError if it can be no image, and the errors of the system and of zipfile.
        """
        size = self.stamps[name][0]
        if size > LARGEST_FILE:
            raise ValueError(f"larger than {LARGEST_FILE:,} bytes")
        if self.path.is_dir():
            with self._open(name) as file:
                return file.read()
        with self.lock, self._open(name) as member:  # one archive for all threads: to open CelebA's takes seconds
            return member.read(size)  # no more than it claims


def _is_folder(member: zipfile.ZipInfo) -> bool:
    return member.filename.endswith(("/", "\\"))


def _portable(name: str) -> str:
    """Returns a member's name with / between folders: some programs write a backslash, or ./ in front."""
    return "/".join(part for part in re.split(r"[/\\]", name) if part not in ("", "."))


def _is_hidden(name: str) -> bool:
    """Returns whether a file, or a folder above it, is hidden or the system's."""
    return any(part.startswith(".") or part.lower() in SYSTEM for part in name.split("/"))


def walk(folder: str, prefix: str = "", above: tuple[str, ...] = ()) -> Iterator[tuple[str, Stamp]]:
    """Yields relative names of the files below a folder, with sizes and times; links back up are not followed.

    Run directories below it are left out: their pictures are samples.
    """
    here = os.path.realpath(folder)
    if here in above or (above and os.path.isdir(os.path.join(folder, ".hydra"))):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_hidden(entry.name):
                continue
            if os.path.isdir(entry.path):  # False of a link to itself
                yield from walk(entry.path, f"{prefix}{entry.name}/", (*above, here))
            else:
                status = entry.stat(follow_symlinks=os.path.isfile(entry.path))  # of a broken link itself
                yield prefix + entry.name, (status.st_size, status.st_mtime_ns)
