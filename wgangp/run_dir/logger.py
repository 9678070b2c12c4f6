"""Writes TensorBoard events, metrics.jsonl and sample pictures into the run directory."""

import json
import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.utils.tensorboard.summary import histogram, hparams, image, scalar
from torch.utils.tensorboard.summary import text as as_text

from wgangp.pictures import FPS, encoded
from wgangp.run_dir.events import BINS, EventFile
from wgangp.run_dir.files import append, later_name, replace_text, replacing
from wgangp.run_dir.rows import lines_and_rows, read_rows

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


class Logger:
    """Where a run's scalars and pictures go. This base class writes nothing: for ranks other than 0."""

    def write(self, step: int, images_seen: int, values: Values) -> None:
        """Logs scalars, and tensors of shape (n,) as histograms; `images_seen` counts the real images so far."""

    def scalars(self, step: int) -> dict[str, float]:
        """Returns the scalars that were logged at this step."""
        return {}

    @contextmanager
    def untimed(self) -> Iterator[None]:
        """What is done meanwhile does not count in the throughput."""
        yield

    def picture(self, step: int, picture: np.ndarray) -> None:
        """Logs samples as a picture (h, w, 3) uint8."""

    def film(self, step: int, frames: Sequence[np.ndarray]) -> None:
        """Logs samples that move as frames (h, w, 3) uint8."""

    def text(self, name: str, text: str) -> None:
        """Logs Markdown."""

    def hyperparameters(self, config: Mapping[str, object], metrics: Sequence[str]) -> None:
        """Logs the run's row of TensorBoard's HParams tab. Its metrics are the scalars of these names."""


class RunLogger(Logger):
    """Writes from `step` on. Lines that an interrupted run logged after it are removed, so none appears twice.

    `images_seen` is the number of real images that the critic's updates have used until `step`.
    """

    def __init__(self, run: Path, step: int, images_seen: int = 0) -> None:
        self.run = run
        (run / "samples").mkdir(parents=True, exist_ok=True)
        self.metrics = run / "metrics.jsonl"
        kept = [f"{line}\n" for line, row in lines_and_rows(self.metrics) if row["step"] <= step]
        self.step, self.images_seen, self.time = step, images_seen, time.perf_counter()
        if kept or self.metrics.exists():
            replace_text(self.metrics, "".join(kept))
        self.events = EventFile(run, purge_step=step + 1)

    def write(self, step: int, images_seen: int, values: Values) -> None:
        tensors = {name: v for name, v in values.items() if isinstance(v, Tensor)}
        numbers = {name: v for name, v in values.items() if isinstance(v, int | float)}
        numbers |= self._throughput(step, images_seen)
        with log_os_errors("the line of metrics.jsonl", step):
            line = json.dumps({"step": step, "images_seen": images_seen} | numbers)
            append(self.metrics, f"{line}\n".encode())
        summaries = [scalar(name, value) for name, value in numbers.items()]
        for name, x in tensors.items():
            known = x[~x.isnan()].clamp(BINS[0], BINS[-1])  # TensorBoard raises an error if it is empty
            summaries += [histogram(name, known, BINS)] if len(known) else []
        self._log_events("TensorBoard's log", step, summaries)

    def scalars(self, step: int) -> dict[str, float]:
        found = [row for row in read_rows(self.metrics) if row["step"] == step]
        return {name: value for row in found for name, value in row.items()}

    def _log_events(self, what: str, step: int, summaries: Iterable[Any]) -> None:
        with log_os_errors(what, step):
            if self.events.size() > EVENT_FILE_BYTES:
                self.events = EventFile(self.run)
                files = sorted(self.run.glob("events.out.tfevents.*"), key=lambda file: file.stat().st_mtime_ns)
                for old in files[: 1 - EVENT_FILES]:
                    old.unlink(missing_ok=True)
            self.events.append(step, summaries)

    @contextmanager
    def untimed(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.time += time.perf_counter() - started

    def _throughput(self, step: int, images_seen: int) -> dict[str, float]:
        """Steps and real images a second since the last call, if there were any."""
        if step == self.step:
            return {}
        now = time.perf_counter()
        seconds = max(now - self.time, 1e-9)
        steps, images = step - self.step, images_seen - self.images_seen
        self.step, self.images_seen, self.time = step, images_seen, now
        return {"throughput/steps_per_second": steps / seconds, "throughput/images_per_second": images / seconds}

    def picture(self, step: int, picture: np.ndarray) -> None:
        """Writes samples/step_NNNNNNNN.png, and TensorBoard's image."""
        path = self.run / "samples" / f"step_{step:08d}.png"
        with log_os_errors("the picture", step), replacing(path, "wb", durable=False) as file:
            Image.fromarray(picture).save(file, "PNG")
        self._log_events("TensorBoard's picture", step, [image("samples", picture, dataformats="HWC")])

    def film(self, step: int, frames: Sequence[np.ndarray]) -> None:
        """Writes samples/step_NNNNNNNN.webp, and TensorBoard's moving image, a GIF."""
        path = self.run / "samples" / f"step_{step:08d}.webp"
        with log_os_errors("the film", step), replacing(path, "wb", durable=False) as file:
            file.write(encoded(frames, "webp", FPS))
        h, w, _ = frames[0].shape
        gif = Summary.Image(height=h, width=w, colorspace=3, encoded_image_string=encoded(frames, "gif", FPS))
        self._log_events("TensorBoard's film", step, [Summary(value=[Summary.Value(tag="film", image=gif)])])

    def text(self, name: str, text: str) -> None:
        self._log_events("TensorBoard's text", self.step, [as_text(name, text)])

    def hyperparameters(self, config: Mapping[str, object], metrics: Sequence[str]) -> None:
        plain = {key: v if isinstance(v, bool | int | float | str) else str(v) for key, v in config.items()}
        started, metric_names, _ = hparams(plain, dict.fromkeys(metrics, 0.0))  # the third says that the run has ended
        self._log_events("TensorBoard's hyperparameters", self.step, [started, metric_names])


def set_aside_later_lines(run: Path, step: int) -> None:
    """Copies the lines of metrics.jsonl after this step, of a future that is given up, to a file .later."""
    metrics = run / "metrics.jsonl"
    if later := [f"{line}\n" for line, row in lines_and_rows(metrics) if row["step"] > step]:
        replace_text(later_name(metrics), "".join(later))


def set_aside_later_samples(run: Path, step: int) -> None:
    """Renames the pictures of steps after this one, and what wgangp-sample wrote of them, to .later."""
    for path in list((run / "samples").glob("*step_*")):
        found = re.search(r"(?:^|_)step_(\d{8,12})", path.name)
        if found and int(found[1]) > step and not re.search(r"\.later(\.\d+)?$", path.name):
            path.rename(later_name(path))
