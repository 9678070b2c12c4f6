"""Text of unknown origin, made safe for where it is shown: a terminal, a Markdown table, a CSV file."""

import html


def terminal(text: str) -> str:
    """One line without control characters: no escape sequence, no change of direction, no forged line."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def markdown_cell(text: str) -> str:
    """The text in a cell of a Markdown table: no HTML, no further cell."""
    return html.escape(terminal(text), quote=False).replace("\\", "\\\\").replace("|", "\\|")


def csv_cell(text: str) -> str:
    """The text in a cell of a CSV file. A spreadsheet shows it and does not compute it."""
    text = terminal(text)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") and number(text) is None else text


def number(text: str) -> float | None:
    """The number that the text is; None if it is another text."""
    try:
        return float(text)
    except ValueError:
        return None
