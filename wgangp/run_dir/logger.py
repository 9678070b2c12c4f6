"""Writes TensorBoard events, metrics.jsonl and sample pictures into the run directory."""

import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from wgangp.run_dir.files import open_for_writing, read_regular, replace_text

log = logging.getLogger(__name__)

Values = dict[str, float | Tensor]  # scalars, and tensors (n,) that become histograms
EVENT_FILE_BYTES, EVENT_FILES = 2**26, 16  # 64 MB each; the oldest are removed: metrics.jsonl has all the numbers


@contextmanager
def log_os_errors(what: str, step: int) -> Iterator[None]:
    """Logs the OS error, such as a full disk, and keeps training."""
    try:
        yield
    except OSError as error:
        log.error("%s of step %d is lost: %s", what, step, error)


class Logger(ABC):
    """Where a run's scalars and pictures go."""

    @abstractmethod
    def write(self, step: int, values: Values) -> None:
        """Logs scalars, and tensors of shape (n,) as histograms."""

    @abstractmethod
    def picture(self, step: int, picture: np.ndarray) -> None:
        """Logs samples as a picture (h, w, 3) uint8."""

    @abstractmethod
    def text(self, name: str, text: str) -> None:
        """Logs Markdown."""

    @abstractmethod
    def hyperparameters(self, config: Mapping[str, object], metrics: Sequence[str]) -> None:
        """Logs the run's row of TensorBoard's HParams tab. Its metrics are the scalars of these names."""

    @abstractmethod
    def close(self) -> None:
        """Writes what is buffered."""


class NullLogger(Logger):
    """Writes nothing: for ranks other than 0."""

    def write(self, step: int, values: Values) -> None: ...

    def picture(self, step: int, picture: np.ndarray) -> None: ...

    def text(self, name: str, text: str) -> None: ...

    def hyperparameters(self, config: Mapping[str, object], metrics: Sequence[str]) -> None: ...

    def close(self) -> None: ...


class RunLogger(Logger):
    """Writes from `step` on. Lines that an interrupted run logged after it are removed, so none appears twice."""

    def __init__(self, run: Path, step: int, images_per_step: int) -> None:
        self.run, self.images_per_step = run, images_per_step
        self.step, self.time = step, time.perf_counter()
        (run / "samples").mkdir(parents=True, exist_ok=True)
        self.metrics = run / "metrics.jsonl"
        kept = [line for line in self._lines() if _step(line) <= step]
        if kept or self.metrics.exists():
            replace_text(self.metrics, "".join(kept))
        self.writer: SummaryWriter | None = SummaryWriter(
            str(run), purge_step=step + 1 if step else None, flush_secs=10
        )

    def _lines(self) -> list[str]:
        """The whole lines of metrics.jsonl: a crash or a full disk may have cut one."""
        text = read_regular(self.metrics).decode(errors="replace") if self.metrics.exists() else ""
        return [line for line in text.splitlines(keepends=True) if line.endswith("\n") and _step(line) >= 0]

    def write(self, step: int, values: Values) -> None:
        numbers = {name: v for name, v in values.items() if isinstance(v, int | float)} | self._throughput(step)
        line = json.dumps({"step": step, "images_seen": step * self.images_per_step} | numbers) + "\n"
        with log_os_errors("the line of metrics.jsonl", step), open_for_writing(self.metrics, "a+b") as file:
            file.seek(0, 2)
            if file.tell() and (file.seek(-1, 2), file.read(1))[1] != b"\n":  # a full disk cut the last line
                file.write(b"\n")
            file.write(line.encode())
        with self._events("TensorBoard's log", step) as events:
            for name, value in numbers.items():
                events.add_scalar(name, value, step)
            for name in values.keys() - numbers.keys():
                events.add_histogram(name, values[name], step)

    @contextmanager
    def _events(self, what: str, step: int) -> Iterator[SummaryWriter]:
        """TensorBoard's writer. One that failed, as on a full disk, is replaced at the next call, in a new file."""
        try:
            if self.writer is None or self._is_long():
                self._close()
                self.writer = SummaryWriter(str(self.run), flush_secs=10)
            yield self.writer
        except OSError as error:
            log.error("%s of step %d is lost: %s", what, step, error)
            self.writer = None

    def _is_long(self) -> bool:
        """Whether the newest event file is full; of more than EVENT_FILES the oldest are removed."""
        files = sorted(self.run.glob("events.out.tfevents.*"), key=lambda file: file.stat().st_mtime_ns)
        sizes = [file.stat().st_size for file in files if file.name == self._file_name()]
        if not sizes or sizes[0] <= EVENT_FILE_BYTES:
            return False
        for old in files[: 1 - EVENT_FILES]:
            old.unlink(missing_ok=True)
        return True

    def _file_name(self) -> str:
        """The name of the file that is written now: times of others, of another clock, say nothing."""
        writer = self.writer.file_writer if self.writer else None
        return Path(writer.event_writer._file_name).name if writer else ""

    def _throughput(self, step: int) -> dict[str, float]:
        """Steps and real images a second since the last call, if there were any."""
        if step == self.step:
            return {}
        now = time.perf_counter()
        rate = (step - self.step) / max(now - self.time, 1e-9)
        self.step, self.time = step, now
        return {"throughput/steps_per_second": rate, "throughput/images_per_second": rate * self.images_per_step}

    def picture(self, step: int, picture: np.ndarray) -> None:
        """Writes samples/step_NNNNNNNN.png, and TensorBoard's image."""
        path = self.run / "samples" / f"step_{step:08d}.png"
        with log_os_errors("the picture", step), open_for_writing(path, "wb") as file:
            Image.fromarray(picture).save(file, "PNG")
        with self._events("TensorBoard's picture", step) as events:
            events.add_image("samples", picture, step, dataformats="HWC")

    def text(self, name: str, text: str) -> None:
        with self._events("TensorBoard's text", self.step) as events:
            events.add_text(name, text)

    def hyperparameters(self, config: Mapping[str, object], metrics: Sequence[str]) -> None:
        plain = {key: v if isinstance(v, bool | int | float | str) else str(v) for key, v in config.items()}
        with self._events("TensorBoard's hyperparameters", self.step) as events:
            for summary in hparams(plain, dict.fromkeys(metrics, 0.0))[:2]:  # the third one says that the run has ended
                events._get_file_writer().add_summary(summary)

    def close(self) -> None:
        self._close()

    def _close(self) -> None:
        if self.writer is not None:
            with log_os_errors("the end of TensorBoard's log", self.step):
                self.writer.close()
            self.writer = None


def _step(line: str) -> int:
    """The step of a line of metrics.jsonl; -1 if it is none."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return -1
