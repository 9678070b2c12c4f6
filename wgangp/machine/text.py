"""Text of unknown origin, such as names of files, made safe for a terminal or a log."""

import re

# All but tabs and newlines; and what turns the direction of text, or ends its line.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Returns the text with its lines, without escape sequences and other control characters."""
    return CONTROL.sub(lambda found: _escaped(found[0]), _encodable(text))


def shown(text: object) -> str:
    """Returns a name or message as one line: no escape sequence, no change of direction, no forged line."""
    line = " ".join(_encodable(str(text)).split())
    return "".join(c if c.isprintable() else _escaped(c) for c in line)


def typed(value: object) -> str:
    """Returns a value as one types it on a command line."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _encodable(text: str) -> str:
    """Names of files may hold bytes that are no text."""
    return text.encode("utf-8", "backslashreplace").decode()


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
