"""Text in any script, with the fonts that the computer has."""

import logging
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from PIL import ImageDraw, ImageFont

log = logging.getLogger(__name__)


def fonts_for(characters: set[str], family: str) -> dict[str, str]:
    """{character: font file that has it}, without the characters that no font of the computer has.

    `family` and DejaVu Sans, which are parts of matplotlib, come first.
    """
    found: dict[str, str] = {}
    for path in _bundled(family):
        found = dict.fromkeys(characters & _glyphs(path), path) | found
    return found | _fallbacks(frozenset(c for c in characters - found.keys() if not c.isspace()))


@lru_cache
def _fallbacks(missing: frozenset[str]) -> dict[str, str]:
    """Other fonts of the computer: the one that has most of the missing characters, then most of the rest, ..."""
    found: dict[str, str] = {}
    covers = {path: covered for path in _installed() if (covered := missing & _glyphs(path))} if missing else {}
    while rest := set().union(*covers.values()) - found.keys():
        path = max(covers, key=lambda path: len(covers[path] & rest))
        found |= dict.fromkeys(covers[path] & rest, path)
    if lost := sorted(missing - found.keys()):
        log.warning(
            "no font on this computer has %d of the characters (%s): pictures show their code points; install a font "
            "that has them, such as Noto",
            len(lost),
            " ".join(map(code_point, lost[:3])),
        )
    return found


def _bundled(family: str) -> list[str]:
    import matplotlib

    return [f"{matplotlib.get_data_path()}/fonts/ttf/{name}.ttf" for name in (family, "DejaVuSans")]


def _installed() -> list[str]:
    """The font files of the computer, in a fixed order; "last resort" fonts draw a box for every character."""
    from matplotlib.font_manager import fontManager

    fonts = [font for font in fontManager.ttflist if "Last Resort" not in font.name]
    fonts.sort(key=lambda font: (font.style != "normal", str(font.weight) not in ("400", "normal"), font.fname))
    return list(dict.fromkeys(font.fname for font in fonts))  # upright and regular ones first


@lru_cache(maxsize=8)
def _glyphs(path: str) -> frozenset[str]:
    """The characters that a font has; none if it cannot be read, or is made of pixels of one size."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
    except (RuntimeError, OSError):
        return frozenset()
    return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()


def code_point(character: str) -> str:
    return f"U+{ord(character):04X}"


class Pen:
    """Writes lines of text with fonts that have the `characters`, others as their code points in brackets."""

    def __init__(self, characters: str, size: int, family: str = "DejaVuSans") -> None:
        self.size, self.default = size, _bundled(family)[0]
        self.files = fonts_for(set(characters), family)
        self.ascent, _ = self._font(self.default).getmetrics()

    def readable(self, text: str) -> str:
        """The text with the code points of the characters that no font has."""
        return "".join(c if c in self.files else " " if c.isspace() else f"[{code_point(c)}]" for c in text)

    def width(self, text: str) -> float:
        """In pixels."""
        return sum(font.getlength(run) for font, run in self._runs(text))

    def write(self, draw: ImageDraw.ImageDraw, x: float, y: float, text: str, fill: str) -> None:
        """Writes a readable text, whose line has its top left corner at (x, y)."""
        for font, run in self._runs(text):
            draw.text((x, y + self.ascent), run, fill=fill, font=font, anchor="ls")  # all fonts on one base line
            x += font.getlength(run)

    def _runs(self, text: str) -> list[tuple[ImageFont.FreeTypeFont, str]]:
        """Its parts of one font each. A space belongs to what is before it: words of Arabic keep their order."""
        files = [self.default] * len(text)
        for i, c in enumerate(text):
            files[i] = self.files.get(c, self.default) if not c.isspace() else files[i - 1] if i else self.default
        parts = groupby(zip(files, text, strict=True), key=lambda pair: pair[0])
        return [(self._font(file), "".join(c for _, c in pairs)) for file, pairs in parts]

    def _font(self, file: str) -> ImageFont.FreeTypeFont:
        return _font(file, self.size)


@lru_cache
def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(file), size)
