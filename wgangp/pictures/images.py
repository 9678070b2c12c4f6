"""Grids of images."""

import logging
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from wgangp.pictures.fonts import Pen
from wgangp.units import quantised

log = logging.getLogger(__name__)

LIMIT = 4128  # pixels of a picture's side, without its title: 8 images of 512 pixels and the lines between them
SMALLEST = 64  # an image is not made smaller to stay below: some are left out
GAP, STRIP = 2, 28  # pixels: between images, and of the title
TEXT, LINE = 12, 15  # pixels: of the letters, and of a line
NUMBERED = 56  # pixels of a side that has room for a number in its corner
NAME, NAMED = 24, 2048  # characters of a class name, and rows with names


def to_uint8(images: Tensor) -> np.ndarray:
    """(n, c, h, w) in [-1, 1] to (n, h, w, c) uint8."""
    return quantised(images).permute(0, 2, 3, 1).cpu().numpy()


def to_rgb(images: Tensor) -> np.ndarray:
    """(n, c, h, w) in [-1, 1] to (n, h, w, 3) uint8: of 1 channel grey, of 3 colours, of 4 colours over white."""
    pixels = to_uint8(images)
    if pixels.shape[3] == 4:
        opacity = pixels[..., 3:] / 255
        pixels = (pixels[..., :3] * opacity + 255 * (1 - opacity)).round().astype(np.uint8)
    rgb: np.ndarray = np.broadcast_to(pixels, (*pixels.shape[:3], 3))
    return rgb


def grid(
    images: Tensor,
    columns: int | None = None,
    labels: Tensor | None = None,
    class_names: Sequence[str] = (),
    numbers: Sequence[int] | None = None,
    title: str = "",
) -> np.ndarray:
    """Images (n, c, h, w) in [-1, 1], row by row, as (h, w, 3) uint8; a square if the number of columns is None.

    With `labels` (n,) each class begins a row, under its name; `numbers` (n) are written in the images' corners.
    Images of 2 channels, or of more than 4, are shown as their channels side by side, in grey. A picture of more
    than 4128 pixels on a side shows smaller images, and then fewer of them, as does one of more than 2048 classes.
    """
    n, c, h, w = images.shape
    if c not in (1, 3, 4):
        images, w = images.transpose(1, 2).reshape(n, 1, h, c * w), c * w
    if n == 1 and numbers is None and not title and labels is None and max(h, w) <= LIMIT:
        return np.array(to_rgb(images)[0])
    if numbers is not None:  # drawn in whole multiples that have room for them
        h, w = (math.ceil(NUMBERED / min(h, w)) * side for side in (h, w))
    smallest = min(1.0, SMALLEST / max(h, w) if numbers is None else NUMBERED / min(h, w))
    columns = min(columns or _columns(n, labels), max(1, (LIMIT - GAP) // (int(smallest * w) + GAP)))
    rows = _rows(n, columns, labels, class_names)
    columns = max(len(indices) for _, indices in rows)
    scale = max(smallest, _scale(h, w, columns, rows))
    pen = Pen("0123456789" + title + "".join(name for name, _ in rows), TEXT)
    sheet = Sheet(rows, columns, max(1, int(scale * h)), max(1, int(scale * w)), pen)
    return sheet.draw(images, numbers, title)


class Sheet:
    """Where the images of `rows` (name, indices) go: below one another, with names in several blocks side by side."""

    def __init__(self, rows: list[tuple[str, list[int]]], columns: int, h: int, w: int, pen: Pen) -> None:
        self.h, self.w, self.pen = h, w, pen
        n, rows = sum(len(indices) for _, indices in rows), rows[:NAMED] if rows[0][0] else rows
        widest = max(pen.width(pen.readable(name)) for name, _ in rows)
        self.names = math.ceil(widest) + 6 * GAP if widest else 0  # pixels of the names' column
        self.down = (max(h, LINE) if widest else h) + GAP
        self.across = self.names + columns * (w + GAP)
        blocks = max(1, int(math.sqrt(len(rows) * self.down / self.across))) if widest else 1
        self.blocks = min(blocks, max(1, (LIMIT - GAP) // self.across))
        self.length = min(math.ceil(len(rows) / self.blocks), max(1, (LIMIT - GAP) // self.down))
        self.blocks = min(self.blocks, math.ceil(len(rows) / self.length))
        self.rows = rows[: self.blocks * self.length]
        if (shown := sum(len(indices) for _, indices in self.rows)) < n:
            log.info("the picture shows the first %d of %d images: more would not be legible", shown, n)

    def draw(self, images: Tensor, numbers: Sequence[int] | None, title: str) -> np.ndarray:
        """(h, w, 3) uint8."""
        top = STRIP if title else 0
        width = max(self.blocks * self.across + GAP, math.ceil(self.pen.width(self.pen.readable(title))) + 6 * GAP)
        picture = Image.new("RGB", (width, top + self.length * self.down + GAP))
        draw = ImageDraw.Draw(picture)
        self.pen.write(draw, 3 * GAP, (STRIP - LINE) / 2, self.pen.readable(title), "white")
        for i, (name, indices) in enumerate(self.rows):
            block, row = divmod(i, self.length)
            x, y = block * self.across + GAP, top + row * self.down + GAP
            self.pen.write(draw, x + 2 * GAP, y + (self.h - LINE) / 2, self.pen.readable(name), "white")
            for column, (index, tile) in enumerate(zip(indices, to_rgb(images[indices]), strict=True)):
                corner = (x + self.names + column * (self.w + GAP), y)
                picture.paste(self._resized(tile), corner)
                if numbers is not None:
                    self._number(draw, corner, str(numbers[index]))
        return np.asarray(picture)

    def _resized(self, tile: np.ndarray) -> Image.Image:
        """Of equal pixels where it is enlarged, of their averages where it is made smaller."""
        image = Image.fromarray(np.ascontiguousarray(tile))
        if image.size == (self.w, self.h):
            return image
        enlarged = self.w > image.width
        return image.resize((self.w, self.h), Image.Resampling.NEAREST if enlarged else Image.Resampling.BOX)

    def _number(self, draw: ImageDraw.ImageDraw, corner: tuple[int, int], number: str) -> None:
        x, y = corner
        draw.rectangle((x, y, x + self.pen.width(number) + 5, y + LINE - 2), fill="black")
        self.pen.write(draw, x + 3, y, number, "white")


def _columns(n: int, labels: Tensor | None) -> int:
    """A square, or the images of the largest class in one row."""
    return math.ceil(math.sqrt(n)) if labels is None else int(labels.bincount().max())


def _rows(n: int, columns: int, labels: Tensor | None, names: Sequence[str]) -> list[tuple[str, list[int]]]:
    """The title and the indices of each row."""
    groups = [("", list(range(n)))]
    if labels is not None:
        members: dict[int, list[int]] = {}
        for i, y in enumerate(labels.tolist()):
            members.setdefault(y, []).append(i)
        groups = [(_name(y, names), members[y]) for y in sorted(members)]
    return [
        (name if i == 0 else "", indices[i : i + columns])
        for name, indices in groups
        for i in range(0, len(indices), columns)
    ]


def _name(label: int, names: Sequence[str]) -> str:
    name = names[label] if label < len(names) else str(label)
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"


def _scale(h: int, w: int, columns: int, rows: list[tuple[str, list[int]]]) -> float:
    """The size, of 1 at most, at which all rows stay below the limit."""
    wide, high = (((LIMIT - GAP) / k - GAP) for k in (columns, len(rows)))
    if rows[0][0]:  # rows with names fold into several blocks, and the names take some of the room
        high = 0.7 * LIMIT**2 / (len(rows) * columns * w)
        return min(1.0, wide / w, math.sqrt(high / h))
    return min(1.0, wide / w, high / h)
