"""Decoded images in a cache file: written as a whole or not at all, and checked whenever it is opened.

A cache file is a header of 4096 bytes, the images as they are, and the numbers of those that could not be read, as
int64. The header is JSON: the fingerprint of the image files, the images' shape, and the check sum of all the rest.
"""

import errno
import glob
import hashlib
import json
import logging
import math
import os
import secrets
import warnings
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wgangp.machine.text import shown

try:
    import fcntl
except ImportError:  # on Windows, where an open file cannot be removed: locks are not needed
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

HEADER = 4096
VERSION = 2  # of the file and of the decoding: caches of other versions are decoded again
CHECKED_AT_ONCE = 256  # images, by one thread
Shape = tuple[int, ...]
Decoded = tuple[Tensor, list[int]]  # the images (n, c, h, w) uint8, and the numbers of the files that are left out


def fingerprint(*of: object) -> str:
    return hashlib.sha256(repr((VERSION, *of)).encode()).hexdigest()


def digest(image: np.ndarray) -> bytes:
    """Returns a CRC: it finds accidents, and is several times faster than what finds attacks."""
    return zlib.crc32(image.data).to_bytes(4)


def check_sum(digests: Iterable[bytes], skipped: list[int]) -> str:
    whole = hashlib.blake2b(np.array(skipped, np.int64).tobytes(), digest_size=16)
    for part in digests:
        whole.update(part)
    return whole.hexdigest()


def header(sources: str, shape: Shape, check: str) -> bytes:
    content = {"wgangp": "images", "version": VERSION, "sources": sources, "shape": shape, "check": check}
    return json.dumps(content).encode().ljust(HEADER - 1) + b"\n"


def place(number: int, shape: Shape) -> int:
    """Returns the position in the file of an image, of shape (..., c, h, w)."""
    return HEADER + number * math.prod(shape[1:])


def read_cache(cache: Path, sources: str, shape: Shape) -> Decoded | None:
    """Returns the images mapped from `cache`; None if it is absent, damaged, or of other image files.

    `sources` is the fingerprint and `shape` the shape (n, c, h, w) of all images, with those that are left out.
    """
    try:
        with open(cache, "rb") as file:
            start = file.read(HEADER)
        content = json.loads(start)
        n, check = content["shape"][0], content["check"]
        if n not in range(1, shape[0] + 1) or start != header(sources, (n, *shape[1:]), check):
            return None
        end = place(n, shape)
        if cache.stat().st_size != end + 8 * (shape[0] - n):
            return None
        skipped = np.fromfile(cache, np.int64, offset=end).tolist()
        # Read-only, since a mapping that may be written to has to fit into memory.
        images = np.memmap(cache, np.uint8, "r", offset=HEADER, shape=(n, *shape[1:]))
    except (OSError, ValueError, LookupError, TypeError):
        return None
    remove_abandoned(cache)
    if check_sum(_digests(images), skipped) != check:
        log.warning("%s is damaged: the images are decoded again", shown(cache))
        return None
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # torch cannot mark tensors as read-only
        return torch.from_numpy(images), skipped


def _digests(images: np.ndarray) -> Iterator[bytes]:
    """Yields the digests of the images, in order, computed by all cores."""
    chunks = (images[i : i + CHECKED_AT_ONCE] for i in range(0, len(images), CHECKED_AT_ONCE))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(lambda chunk: b"".join(map(digest, chunk)), chunks)


def write_at(file: int, data: bytes | memoryview, offset: int) -> None:
    """Writes all of the data into an open file. Raises OSError if the disk has no room for them."""
    left = memoryview(data).cast("B")
    while left:  # the system may write a part only
        if not (written := os.pwrite(file, left, offset)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left, offset = left[written:], offset + written


@contextmanager
def new_file(cache: Path) -> Iterator[int]:
    """Opens a new file that replaces `cache` at the end, if no error is raised, when all of it is on the disk.

    Its name is random, since the process number is not unique: containers that share a folder have equal ones.
    """
    cache.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(cache)
    partial = cache.with_name(f"{cache.name}.{secrets.token_hex(8)}.partial")
    file = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        _lock(file)
        yield file
        os.fsync(file)
        os.replace(partial, cache)
    finally:
        with suppress(OSError):  # it is the cache now
            partial.unlink()
        os.close(file)


def remove_abandoned(cache: Path) -> None:
    """Removes what dead processes left of their caches: living ones hold a lock on their file."""
    for partial in cache.parent.glob(f"{glob.escape(cache.name)}.*.partial"):
        with suppress(OSError):
            file = os.open(partial, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            try:
                if _lock(file):
                    partial.unlink()
            finally:
                os.close(file)


def _lock(file: int) -> bool:
    """Locks an open file until it is closed. Returns whether that was possible."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process holds it, or the file system has no locks
        return False
    return True
