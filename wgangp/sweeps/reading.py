"""Reads the files of a job as data. Whatever a file holds, one bad job never stops the table of all."""

import json
import math
from pathlib import Path

from wgangp.run_dir.files import read_regular
from wgangp.run_dir.record import Record, read_record


def read_job_record(run: Path) -> Record:
    """As `read_record`, but raises ValueError whatever is wrong: absent files, links to devices, empty overrides."""
    folder = run / ".hydra"
    try:
        if not read_regular(folder / "overrides.yaml").strip():
            raise ValueError(f"{folder / 'overrides.yaml'} is empty: it was not written to its end")
        return read_record(run)
    except OSError as error:
        raise ValueError(f"{folder} cannot be read: {error.strerror}") from error


def read_rows(file: Path) -> list[dict[str, float]]:
    """The scalars of metrics.jsonl, one mapping with "step" a line; lines that a crash cut are left out."""
    try:
        if not file.is_file():
            return []
        with open(file, "rb") as lines:
            return [row for line in lines if (row := _row(line))]
    except OSError:
        return []


def _row(line: bytes) -> dict[str, float] | None:
    try:
        found = json.loads(line)
        row = {str(name): float(value) for name, value in found.items() if isinstance(value, int | float)}
    except (ValueError, OverflowError, AttributeError, RecursionError):
        return None
    return row if math.isfinite(row.get("step", math.nan)) else None
