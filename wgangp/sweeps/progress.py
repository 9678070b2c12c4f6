"""Lines in the log on how far a sweep is, and what is written and raised of jobs that failed."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wgangp.run_dir.record import Record, has_record, write_record
from wgangp.run_dir.status import Status, read_status, write_status

log = logging.getLogger(__name__)


def report_progress(unit: str, ended: int, total: int, here: int, begin: float) -> None:
    """One line. The time left is an estimate from the `here` jobs that ended since `begin`."""
    minutes = (time.monotonic() - begin) / max(1, here) * (total - ended) / 60
    log.info("%d of %d %s ended%s", ended, total, unit, f"; about {minutes:.1f} minutes left" if ended < total else "")


def report_failures(folder: Path, failed: Sequence[str], jobs: int) -> None:
    """Raises ValueError, which is exit code 1, if there are any."""
    if failed:
        names = ", ".join(failed)
        raise ValueError(
            f"{len(failed)} of {jobs} jobs failed: {names}; for the reasons: wgangp-summarize sweep={folder}"
        )


def write_failure(run: Path, overrides: list[str], reason: str) -> None:
    """The directory of a job that could not begin."""
    log.error("job %s: %s", run.name, reason)
    try:
        if not has_record(run):
            write_record(run, Record({}, overrides))
        write_status(run, replace(read_status(run) or Status("failed"), state="failed", reason=reason, error=""))
    except OSError as error:  # the disk is full, or the directory is another user's: the other jobs go on
        log.error("job %s: its record is not written: %s", run.name, error)
