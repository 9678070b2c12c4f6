"""Reads metrics.jsonl: a row of scalars a line."""

import json
from pathlib import Path

from wgangp.run_dir.files import read_regular

Row = dict[str, float]  # {"step": ..., NAME: ...}; the step is a whole number


def read_rows(metrics: Path) -> list[Row]:
    """Returns the rows of a metrics.jsonl; none if there is no file. Raises OSError if it cannot be read."""
    return [row for _, row in lines_and_rows(metrics)]


def lines_and_rows(metrics: Path) -> list[tuple[str, Row]]:
    """Returns each line with its row, as `read_rows`: but for lines that a crash or a full disk has cut."""
    text = read_regular(metrics).decode(errors="replace") if metrics.exists() else ""
    return [(line, row) for line in text.splitlines() if (row := _row(line))]


def _row(line: str) -> Row | None:
    """The scalars of a line; None if it has no step."""
    try:
        found = json.loads(line)
        row = {name: float(value) for name, value in found.items() if isinstance(value, int | float)}
        return row | {"step": int(row["step"])}
    except (ValueError, LookupError, AttributeError, OverflowError, RecursionError):
        return None
