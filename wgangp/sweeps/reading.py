"""Reads the files of a job as data. Whatever a file holds, one bad job never stops the table of all."""

from pathlib import Path

from wgangp.run_dir.files import read_regular
from wgangp.run_dir.record import Record, read_record
from wgangp.run_dir.rows import Row, read_rows


def read_job_record(run: Path) -> Record:
    """As `read_record`, but raises ValueError whatever is wrong: absent files, links to devices, empty overrides."""
    folder = run / ".hydra"
    try:
        if not read_regular(folder / "overrides.yaml").strip():
            raise ValueError(f"{folder / 'overrides.yaml'} is empty: it was not written to its end")
        return read_record(run)
    except OSError as error:
        raise ValueError(f"{folder} cannot be read: {error.strerror}") from error


def read_job_rows(run: Path) -> list[Row]:
    """As `read_rows`; none if the file cannot be read."""
    try:
        return read_rows(run / "metrics.jsonl")
    except OSError:
        return []
