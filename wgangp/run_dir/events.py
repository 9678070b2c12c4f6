"""TensorBoard's event files, each record written as a whole or not at all.

TensorBoard's own writer has a thread, which ends at the first full disk and leaves half a record.
"""

import io
import os
import platform
import time
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter

from wgangp.run_dir.files import append

POSITIVE = [1e-12 * 1.1**i for i in range(774)]  # up to 1e20
BINS = [-edge for edge in reversed(POSITIVE)] + [0.0, *POSITIVE]  # of histograms, as SummaryWriter has them
NUMBERS = count()  # of this process's files: several may begin in one second


class EventFile:
    """A new event file of a run. `purge_step` hides what other files have from that step on: the run is resumed."""

    def __init__(self, run: Path, purge_step: int = 0) -> None:
        now, number = int(time.time()), next(NUMBERS)
        self.file = run / f"events.out.tfevents.{now:010d}.{platform.node()}.{os.getpid()}.{number:06d}"
        self.purge_step = purge_step

    def size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    def append(self, step: int, summaries: Iterable[Any]) -> None:
        """Writes these summaries at a step. Raises OSError if the disk has no room for all of them."""
        now = time.time()
        events = [] if self.size() else self._header(now)
        events += [Event(wall_time=now, step=step, summary=summary) for summary in summaries]
        content = io.BytesIO()
        writer = RecordWriter(content)
        for event in events:
            writer.write(event.SerializeToString())
        append(self.file, content.getvalue())

    def _header(self, now: float) -> list[Any]:
        header = [Event(wall_time=now, file_version="brain.Event:2")]
        if self.purge_step:
            start = SessionLog(status=SessionLog.START)
            header.append(Event(wall_time=now, step=self.purge_step, session_log=start))
        return header
