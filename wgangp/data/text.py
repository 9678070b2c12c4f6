"""Lines of text as strings of one length (gan_language.py). Shapes: n batch, v vocabulary (characters), t text."""

import gzip
import logging
import sys
import zlib
from collections.abc import Iterator
from typing import TextIO

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wgangp.data import Dataset, Order, draw_positions
from wgangp.machine.paths import local_path

log = logging.getLogger(__name__)

UNKNOWN, PAD = "�", "`"
VOCABULARY = 2048  # characters at most, the unknown one among them
LONGEST_LINE = 2**20  # characters
EXPANSION, SMALL = 100, 2**26  # a gzipped text may become so many times larger, or so many characters


class Text(Dataset):
    """One-hot strings (n, v, t) of the v characters of `vocabulary`."""

    num_classes = 0
    vocabulary: str

    def __init__(self, lines: list[str], held_out: int, length: int, seed: int, device: torch.device) -> None:
        padded = "".join(line[:length].ljust(length, PAD) for line in lines)
        points = np.frombuffer(padded.encode("utf-32-le"), np.uint32).reshape(len(lines), length)  # code points
        found, counts = np.unique(points, return_counts=True)
        common = [chr(c) for c in found[np.lexsort((found, -counts))] if chr(c) not in PAD + UNKNOWN]
        self.vocabulary = UNKNOWN + PAD + "".join(common[: VOCABULARY - 2])
        if rare := common[VOCABULARY - 2 :]:
            share = 100 * counts[np.isin(found, [ord(c) for c in rare])].sum() / points.size
            log.warning("the %d rarest characters, %.2g %% of the text, are read as %s", len(rare), share, UNKNOWN)
        self.shape = (len(self.vocabulary), length)
        codes = np.zeros(sys.maxunicode + 1, np.int16)  # 0, unknown, for characters outside the vocabulary
        codes[[ord(c) for c in self.vocabulary]] = np.arange(len(self.vocabulary))
        rows = torch.from_numpy(codes[points])
        rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]  # the same for every seed
        rows = rows.to(device)
        self.train, self.held_out_rows = rows[held_out:], rows[:held_out]  # (N, t)
        self.order = Order(len(self.train), seed, device)

    def __len__(self) -> int:
        return len(self.train)

    def fetch(self, index: int, n: int) -> tuple[Tensor, ...]:
        if n > len(self):
            raise ValueError(f"batch_size={n} is larger than the dataset ({len(self)} lines): make it smaller")
        return (self.order(index, n),)

    def make(self, *fetched: Tensor) -> tuple[Tensor, Tensor]:
        (picked,) = fetched
        return self._one_hot(self.train[picked]), torch.zeros_like(picked)

    def held_out(self, index: int, n: int) -> tuple[Tensor, Tensor]:
        """Returns n of the held-out lines, in their order; the first follows the last."""
        picked = torch.arange(index * n, (index + 1) * n, device=self.held_out_rows.device) % len(self.held_out_rows)
        return self._one_hot(self.held_out_rows[picked]), torch.zeros_like(picked)

    def to_metric_input(self, x: Tensor) -> list[str]:
        return decode(x, self.vocabulary)

    def reference(self, part: str = "train", n: int | None = None, seed: int = 0) -> tuple[list[str], Tensor] | None:
        if part not in ("train", "held_out"):
            return None
        codes = self.train if part == "train" else self.held_out_rows
        picked = draw_positions(len(codes), n, seed)
        return strings(codes[picked.to(codes.device)], self.vocabulary), torch.zeros_like(picked)

    def describe(self) -> str:
        characters, length = self.shape
        return (
            f"{len(self.train):,} lines of {length} characters, {characters} different ones; "
            f"{len(self.held_out_rows):,} lines held out"
        )

    def _one_hot(self, codes: Tensor) -> Tensor:
        return F.one_hot(codes.long(), len(self.vocabulary)).transpose(1, 2).float()  # (n, v, t)


def decode(x: Tensor, vocabulary: str) -> list[str]:
    """Returns the likeliest strings of x (n, v, t), with their padding."""
    return strings(x.argmax(dim=1), vocabulary)


def strings(codes: Tensor, vocabulary: str) -> list[str]:
    """Returns the strings of codes (n, t), with their padding."""
    return ["".join(vocabulary[i] for i in row) for row in codes.tolist()]


def text(*, path: str, length: int, held_out: int | float, seed: int, device: torch.device) -> Text:
    """Returns the lines of a text file, plain or gzipped: shuffled, cut or padded to `length`, without empty ones.

    Raises FileNotFoundError or ValueError, naming the file, if it cannot be used.
    """
    file = local_path(path)
    if not file.is_file():
        raise FileNotFoundError(f"dataset.path={path}: there is no such file; give one with a sentence on each line")
    try:
        with (gzip.open if file.suffix.lower() == ".gz" else open)(file, "rt", encoding="utf-8-sig") as opened:
            lines = list(_lines(opened, max(SMALL, EXPANSION * file.stat().st_size)))
    except (ValueError, OSError, EOFError, zlib.error) as error:
        advice = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "check it, and save it anew"
        raise ValueError(f"dataset.path={path} is no sound UTF-8 text file ({error}): {advice}") from error
    if len(lines) < 2:
        count = "1 line that is" if lines else "0 lines that are"
        raise ValueError(f"dataset.path={path} has {count} not empty: give two or more")
    held = round(held_out * len(lines)) if isinstance(held_out, float) and held_out < 1 else held_out
    if not (type(held) is int and 1 <= held < len(lines)):
        raise ValueError(
            f"dataset.held_out={held_out}: dataset.path={path} has {len(lines)} lines: give a whole number from 1 to "
            f"{len(lines) - 1}, or a share, such as 0.1"
        )
    if length < 1:
        raise ValueError(f"dataset.length={length}: give a whole number of at least 1")
    return Text(lines, held, length, seed, device)


def _lines(file: TextIO, most: int) -> Iterator[str]:
    """Yields the lines that are not empty, stripped.

    Raises ValueError if the file is no text, or longer than `most` characters.
    """
    read = 0
    while line := file.readline(LONGEST_LINE + 1):
        read += len(line)
        if len(line) > LONGEST_LINE:
            raise ValueError(f"a line has more than {LONGEST_LINE:,} characters: put a sentence on each")
        if "\0" in line:
            raise ValueError("it has zero bytes")
        if read > most:
            raise ValueError(f"it unpacks to more than {most:,} characters")
        if stripped := line.strip():
            yield stripped
