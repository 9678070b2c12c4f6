"""Lines in the log on how far a sweep is, and the error of one with failures."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

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
