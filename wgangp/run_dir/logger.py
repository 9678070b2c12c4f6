"""What a run tells: TensorBoard events, metrics.jsonl, sample pictures and profiler traces in the run directory."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

log = logging.getLogger(__name__)

EVENT_FILE_BYTES, EVENT_FILES = 2**26, 16  # 64 MB each; of more, the oldest go: metrics.jsonl has all the numbers


@contextmanager
def losing_at_most(what: str, step: int) -> Iterator[None]:
    """Where the disk is full, the training goes on, and this is told and lost."""
    try:
        yield
    except OSError as error:
        log.error("%s of step %d is lost: %s", what, step, error)


class Silence:
    """What the other ranks than the main one log to."""

    def write(self, step: int, values: dict[str, Any]) -> None: ...

    def picture(self, step: int, picture: np.ndarray) -> None: ...

    def close(self) -> None: ...


class Logger(Silence):
    """Writes from `step` on; what an interrupted run logged beyond it is dropped, so a resumed log has no doubles."""

    def __init__(self, run: Path, step: int, images_per_step: int) -> None:
        self.run, self.images_per_step = run, images_per_step
        self.step, self.time = step, time.perf_counter()
        self.events = SummaryWriter(run, purge_step=step + 1 if step else None, flush_secs=10)
        (run / "samples").mkdir(parents=True, exist_ok=True)
        self.metrics = run / "metrics.jsonl"
        kept = [line for line in self._lines() if json.loads(line)["step"] <= step]
        self.metrics.write_text("".join(kept))

    def _lines(self) -> list[str]:
        """The whole lines of metrics.jsonl: a crash may have cut the last."""
        text = self.metrics.read_text() if self.metrics.exists() else ""
        return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Numbers become scalars and one line of metrics.jsonl; tensors of shape (n,) become histograms."""
        numbers = {name: v for name, v in values.items() if isinstance(v, int | float)} | self._throughput(step)
        with losing_at_most("the log", step), open(self.metrics, "a") as file:
            file.write(json.dumps({"step": step, "images_seen": step * self.images_per_step} | numbers) + "\n")
        with losing_at_most("TensorBoard's log", step):
            self._bound_events()
            for name, value in numbers.items():
                self.events.add_scalar(name, value, step)
            for name in values.keys() - numbers.keys():
                self.events.add_histogram(name, values[name], step)

    def _bound_events(self) -> None:
        """A new file where TensorBoard's is long, and at most EVENT_FILES of them."""
        files = sorted(self.run.glob("events.out.tfevents.*"), key=lambda file: file.stat().st_mtime_ns)
        if files and files[-1].stat().st_size > EVENT_FILE_BYTES:
            self.events.close()
            self.events = SummaryWriter(self.run, flush_secs=10)
            for old in files[: 1 - EVENT_FILES]:
                old.unlink()

    def _throughput(self, step: int) -> dict[str, float]:
        """Steps and real images a second since the last call."""
        now = time.perf_counter()
        rate = (step - self.step) / (now - self.time)
        self.step, self.time = step, now
        return {"throughput/steps_per_second": rate, "throughput/images_per_second": rate * self.images_per_step}

    def picture(self, step: int, picture: np.ndarray) -> None:
        """(h, w, 3) uint8, to samples/step_NNNNNNNN.png and TensorBoard."""
        with losing_at_most("the picture", step):
            Image.fromarray(picture).save(self.run / "samples" / f"step_{step:08d}.png")
            self.events.add_image("samples", picture, step, dataformats="HWC")

    def hyperparameters(self, config: dict[str, Any], metrics: dict[str, float]) -> None:
        """The HParams tab's row of this run; its metrics are the scalars of the same names."""
        plain = {key: v if isinstance(v, bool | int | float | str) else str(v) for key, v in config.items()}
        with losing_at_most("TensorBoard's hyperparameters", self.step):
            for summary in hparams(plain, metrics):
                self.events._get_file_writer().add_summary(summary)

    def close(self) -> None:
        with losing_at_most("the end of TensorBoard's log", self.step):
            self.events.close()


@contextmanager
def traced(step: Callable[[], Any], first: int, last: int, folder: Path) -> Iterator[Callable[[], Any]]:
    """`step`, whose calls from the first-th to the last-th are traced into a file for Perfetto or TensorBoard."""
    schedule = torch.profiler.schedule(wait=first - 2, warmup=1, active=last - first + 1, repeat=1)
    handler = torch.profiler.tensorboard_trace_handler(str(folder))
    with torch.profiler.profile(schedule=schedule, on_trace_ready=handler) as profiler:

        def step_and_mark() -> Any:
            result = step()
            profiler.step()
            return result

        yield step_and_mark
    if traces := sorted(folder.glob("*.json")):
        log.info("trace: %s (open it in Perfetto or chrome://tracing)", traces[-1])
    else:
        log.warning("no trace: the run ended before step %d of profile_steps", first)
