"""Text of unknown origin, made safe for a Markdown table and a CSV file."""

import html

from wgangp.machine.text import shown


def markdown_cell(text: str) -> str:
    """The text in a cell of a Markdown table: no HTML, no further cell."""
    return html.escape(shown(text), quote=False).replace("\\", "\\\\").replace("|", "\\|")


def csv_cell(text: str) -> str:
    """The text in a cell of a CSV file. A spreadsheet shows it and does not compute it."""
    text = shown(text)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") and number(text) is None else text


def number(text: str) -> float | None:
    """The number that the text is; None if it is another text."""
    try:
        return float(text)
    except ValueError:
        return None
