"""Traces of training steps by torch's profiler."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

log = logging.getLogger(__name__)
Result = TypeVar("Result")


@contextmanager
def traced(step: Callable[[], Result], first: int, last: int, folder: Path) -> Iterator[Callable[[], Result]]:
    """Gives `step`, whose calls from the first-th to the last-th are traced into a file for Perfetto or TensorBoard."""
    schedule = torch.profiler.schedule(wait=first - 2, warmup=1, active=last - first + 1, repeat=1)
    handler = torch.profiler.tensorboard_trace_handler(str(folder))
    with torch.profiler.profile(schedule=schedule, on_trace_ready=handler) as profiler:

        def step_and_mark() -> Result:
            result = step()
            profiler.step()
            return result

        yield step_and_mark
    if traces := sorted(folder.glob("*.json")):
        log.info("trace: %s (open it in Perfetto or chrome://tracing)", traces[-1])
    else:
        log.warning("no trace: the run ended before step %d of profile_steps", first)
