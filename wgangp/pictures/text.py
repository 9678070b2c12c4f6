"""A page of generated lines of text."""

import logging
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from wgangp import style
from wgangp.pictures.fonts import Pen

log = logging.getLogger(__name__)

SIZE, LINE, MARGIN = 16, 24, 24  # pixels: of the letters, from line to line, around the page
LONGEST = 120  # characters of a line; the rest goes on in the next one
MOST = 160  # lines of a page


def page(lines: list[str], characters: str = "", numbers: Sequence[int] | None = None, title: str = "") -> np.ndarray:
    """Lines of text, dark on white, with their `numbers`, if they have some: (h, w, 3) uint8.

    `characters` are all that any page may have, so that pages of one run look for fonts once.
    """
    lines, n = lines[:MOST], len(lines)
    pen = Pen(characters + "".join({*"".join(lines)}) + "0123456789", SIZE, "DejaVuSansMono")
    heading = Pen(title, SIZE, "DejaVuSans-Bold")
    rows = [
        (str(i) if start == 0 else "", line[start : start + LONGEST])
        for i, line in zip(numbers or range(n), map(pen.readable, lines), strict=False)
        for start in range(0, max(1, len(line)), LONGEST)
    ]
    if n > MOST or len(rows) > MOST:
        rows = rows[:MOST]
        log.info("the picture shows the first %d of %d lines of text", sum(number != "" for number, _ in rows), n)
    indent = max((pen.width(number) for number, _ in rows), default=0) + MARGIN if numbers else 0.0
    width = max([heading.width(title), *(indent + pen.width(row) for _, row in rows)])
    top = MARGIN + (2 * LINE if title else 0)
    picture = Image.new("RGB", (math.ceil(width) + 2 * MARGIN, top + LINE * len(rows) + MARGIN), "white")
    draw = ImageDraw.Draw(picture)
    heading.write(draw, MARGIN, MARGIN, title, style.INK)
    for y, (number, row) in enumerate(rows):
        if numbers:
            pen.write(draw, MARGIN + indent - MARGIN - pen.width(number), top + LINE * y, number, style.MUTED)
        pen.write(draw, MARGIN + indent, top + LINE * y, row, style.INK)
    return np.asarray(picture)
