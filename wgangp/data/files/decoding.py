"""Encoded image files to one uint8 tensor, which is kept in a cache file if the disk allows it."""

import logging
import math
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from wgangp.data.files import cache as caches
from wgangp.data.files.cache import Decoded, Shape
from wgangp.data.files.listing import Encoded
from wgangp.data.files.pixels import Unreadable, decode_file
from wgangp.machine.text import shown

log = logging.getLogger(__name__)

MAY_MISS = 0.01  # of the images, which are left out if they cannot be read
CHUNK = 8  # images, decoded by one thread

Keep = Callable[[int, np.ndarray], None]  # (number of the image, its pixels)


def decode(
    files: Encoded,
    names: Sequence[str],
    *,
    size: int | None,
    channels: int | None,
    levels: float | None,
    cache: Path,
    verify: bool,
) -> tuple[Tensor, Tensor]:
    """Returns the images (n, c, size, size) uint8, and their numbers (n,) among the names.

    They are mapped from `cache` if it is sound and of these files, else decoded on all cores. A few files that cannot
    be read are left out, and a warning names them; with `verify` all are decoded again and none is left out. Raises
    ValueError, naming a file, if more cannot be read, or if an option is out of range.
    """
    if type(size) is not int or size < 1 or channels not in (1, 3):
        raise ValueError(
            f"dataset.size={size}, dataset.channels={channels}: image files need a size, and 1 or 3 channels"
        )
    if type(verify) is not bool:
        raise ValueError(f"dataset.verify={verify}: choose true or false")
    is_number = isinstance(levels, int | float) and not isinstance(levels, bool)
    if levels is not None and not (is_number and 0 < levels < math.inf):
        raise ValueError(f"dataset.levels={levels}: give the pixel value of white, such as 4095, or null")
    work = _Work(files, names, (len(names), channels, size, size), levels, 0 if verify else int(MAY_MISS * len(names)))
    sources = caches.fingerprint(levels, [(name, *files.stamps[name]) for name in names])
    found = None if verify else caches.read_cache(cache, sources, work.shape)
    images, skipped = found or _into_cache(work, cache, sources) or _into_memory(work)
    if skipped:
        few = ", ".join(shown(names[i]) for i in skipped[:3]) + (", ..." if len(skipped) > 3 else "")
        log.warning("left out %d of %d images, which cannot be read: %s", len(skipped), len(names), few)
    return images, _all_but(skipped, len(names))


class _Work:
    """The files to decode, and how."""

    def __init__(
        self, files: Encoded, names: Sequence[str], shape: Shape, levels: float | None, skippable: int
    ) -> None:
        self.files, self.names, self.shape, self.levels, self.skippable = files, names, shape, levels, skippable

    def __call__(self, keep: Keep) -> list[int]:
        """Calls keep(i, image) from many threads. Returns the numbers of the files that cannot be read.

        Raises ValueError, naming a file, if they are more than `skippable`.
        """
        n, unreadable = len(self.names), dict[int, Unreadable]()
        chunks = [range(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK)]
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            ThreadPoolExecutor(os.cpu_count()) as pool,
            tqdm(total=n, desc=f"decoding {shown(self.files.path.name)}", unit="image", disable=None) as bar,
        ):
            warnings.simplefilter("ignore", UserWarning)  # of PIL, about damaged EXIF blocks
            try:
                for chunk, found in zip(chunks, pool.map(lambda c: self._decode(c, keep), chunks), strict=True):
                    unreadable |= found
                    if len(unreadable) > self.skippable:
                        raise _refusal(unreadable, self.skippable, n)
                    bar.update(len(chunk))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return list(unreadable)

    def _decode(self, chunk: range, keep: Keep) -> dict[int, Unreadable]:
        _, channels, size, _ = self.shape
        unreadable = {}
        for i in chunk:
            try:
                image = decode_file(self.files, self.names[i], size, channels, self.levels)
            except Unreadable as error:
                unreadable[i] = error
            else:
                keep(i, image)
        return unreadable


def _refusal(unreadable: dict[int, Unreadable], skippable: int, n: int) -> ValueError:
    """Returns the first file's error; with the count, if some could have been left out."""
    first = next(iter(unreadable.values()))
    count = f"; so are at least {len(unreadable)} of {n} files, and only {skippable} can be left out"
    return ValueError(f"{first}{count if skippable else ''}")


def _all_but(skipped: list[int], n: int) -> Tensor:
    """Returns the numbers below n without the skipped ones."""
    return torch.from_numpy(np.delete(np.arange(n), skipped))


def _into_memory(work: _Work) -> Decoded:
    array = np.empty(work.shape, dtype=np.uint8)
    skipped = work(array.__setitem__)
    return torch.from_numpy(np.delete(array, skipped, axis=0) if skipped else array), skipped


def _into_cache(work: _Work, cache: Path, sources: str) -> Decoded | None:
    """Returns the images mapped from a new cache file; None, with a warning, if it cannot be written."""
    try:
        with caches.new_file(cache) as file:
            _write(work, file, sources)
        if (written := caches.read_cache(cache, sources, work.shape)) is not None:
            return written
        reason: object = "the file reads otherwise than it was written"
    except OSError as error:  # of the cache: errors of the image files are ValueErrors
        reason = error
    log.warning(
        "the decoded images are not kept, so the next start decodes again (%s): "
        "set dataset.cache to a folder that can be written",
        shown(reason),
    )
    return None


def _write(work: _Work, file: int, sources: str) -> None:
    shape, digests = work.shape, [b""] * len(work.names)

    def keep(i: int, image: np.ndarray) -> None:
        digests[i] = caches.digest(image)  # of what was decoded, not of what the disk made of it
        caches.write_at(file, image.data, caches.place(i, shape))

    skipped = work(keep)
    n = len(work.names) - len(skipped)
    if skipped:
        _close_gaps(file, _all_but(skipped, len(work.names)), shape)
    os.ftruncate(file, caches.place(n, shape))
    caches.write_at(file, np.array(skipped, np.int64).tobytes(), caches.place(n, shape))
    check = caches.check_sum((d for d in digests if d), skipped)
    caches.write_at(file, caches.header(sources, (n, *shape[1:]), check), 0)


def _close_gaps(file: int, kept: Tensor, shape: Shape) -> None:
    """Moves the images that are kept to the front."""
    for i, source in enumerate(kept.tolist()):
        image = os.pread(file, caches.place(1, shape) - caches.HEADER, caches.place(source, shape))
        caches.write_at(file, image, caches.place(i, shape))
