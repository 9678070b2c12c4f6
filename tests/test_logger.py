"""What a run writes down stays bounded, and nothing that is kept is lost."""

import json
import logging
import math
import os
import sys

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from wgangp.app.training import lines_above_bar
from wgangp.run_dir import logger


def test_tensorboards_files_are_bounded(tmp_path, monkeypatch):
    """The newest curves stay in TensorBoard, all of them in metrics.jsonl."""
    monkeypatch.setattr(logger, "EVENT_FILE_BYTES", 2000)
    monkeypatch.setattr(logger, "EVENT_FILES", 3)
    log = logger.RunLogger(tmp_path, 0)
    for step in range(1, 201):
        log.write(step, 0, {"critic/loss": -1.0 / step})
    files = list(tmp_path.glob("events*"))
    assert len(files) == 3 and all(file.stat().st_size < 3000 for file in files)
    read = EventAccumulator(str(tmp_path)).Reload()
    steps = [event.step for event in read.Scalars("critic/loss")]
    assert steps == list(range(steps[0], 201)) and len(steps) > 20
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 201))


def test_training_goes_on_where_somebody_removes_the_files(tmp_path):
    log = logger.RunLogger(tmp_path, 0)
    for file in tmp_path.glob("events*"):
        file.unlink()
    log.write(1, 0, {"critic/loss": -1.0})
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["step"] == 1


def test_what_a_full_disk_cuts_off_is_removed_again(tmp_path, monkeypatch, caplog):
    """The disk takes ten bytes of each write, for a while: lines and events are whole or absent."""
    log, write = logger.RunLogger(tmp_path, 0), os.write
    for step in range(1, 10):
        if step % 3 == 0:
            monkeypatch.setattr(os, "write", lambda file, content: write(file, content[:10]))
        log.write(step, 0, {"critic/loss": -1.0, "critic/gradient_norms": torch.ones(3)})
        monkeypatch.setattr(os, "write", write)
    kept = [1, 2, 4, 5, 7, 8]
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == kept
    read = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in read.Scalars("critic/loss")] == kept
    assert [event.step for event in read.Histograms("critic/gradient_norms")][-1] == kept[-1]  # it keeps one
    assert "the line of metrics.jsonl of step 3 is lost: [Errno 28]" in caplog.text


def test_events_are_those_of_torchs_writer(tmp_path):
    values = {"critic/loss": -1.5, "critic/gradient_norms": torch.tensor([0.5, 1.0, -2.0])}
    logger.RunLogger(tmp_path / "ours", 0).write(7, 0, values)
    with SummaryWriter(str(tmp_path / "torchs")) as writer:
        writer.add_scalar("critic/loss", -1.5, 7)
        writer.add_histogram("critic/gradient_norms", values["critic/gradient_norms"], 7)
    ours, torchs = (EventAccumulator(str(tmp_path / name)).Reload() for name in ("ours", "torchs"))
    (a,), (b,) = ours.Scalars("critic/loss"), torchs.Scalars("critic/loss")
    assert (a.step, a.value) == (b.step, b.value)
    (a,), (b,) = ours.Histograms("critic/gradient_norms"), torchs.Histograms("critic/gradient_norms")
    assert a.step == b.step and a.histogram_value.bucket == pytest.approx(b.histogram_value.bucket)
    assert a.histogram_value.bucket_limit == pytest.approx(b.histogram_value.bucket_limit)


def test_a_resumed_run_hides_the_events_of_lost_steps(tmp_path):
    first = logger.RunLogger(tmp_path, 0)
    for step in (1, 2, 3):
        first.write(step, 0, {"critic/loss": float(step)})
    logger.RunLogger(tmp_path, 1).write(2, 0, {"critic/loss": 20.0})
    read = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in read.Scalars("critic/loss")] == [(1, 1.0), (2, 20.0)]


@pytest.mark.parametrize("step", [0, 1])
def test_a_restarted_run_hides_the_events_of_lost_steps(step, tmp_path):
    logger.RunLogger(tmp_path, 0).write(3, 0, {"critic/loss": 3.0})
    logger.RunLogger(tmp_path, step).write(2, 0, {"critic/loss": 20.0})
    read = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in read.Scalars("critic/loss")] == [(2, 20.0)]


def test_images_are_counted_over_a_change_of_the_batch(call, tmp_path):
    """Also where the run is stopped between two log steps."""
    options = ["dataset=gaussians8", "n_critic=2", "generator.width=8", "critic.width=8", "evaluation_samples=100"]
    assert call("train", *options, "steps=5", "log_every=2", "batch_size=8", "hydra.run.dir=run")[0] == 0
    assert call("resume", "run=run", "steps=8", "log_every=4", "batch_size=32")[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    counted = {row["step"]: row["images_seen"] for row in rows}
    assert counted == {2: 32, 4: 64, 5: 80, 8: 80 + 3 * 2 * 32}


@pytest.mark.parametrize("norms", [[math.inf] * 3, [math.nan] * 3, [1e30, 1.0], [math.nan, 2.0]])
def test_norms_that_no_histogram_has_room_for_do_not_end_the_run(norms, tmp_path):
    logger.RunLogger(tmp_path, 0).write(1, 0, {"critic/loss": 1.0, "critic/gradient_norms": torch.tensor(norms)})
    read = EventAccumulator(str(tmp_path)).Reload()
    known = sum(not math.isnan(norm) for norm in norms)
    assert [event.value for event in read.Scalars("critic/loss")] == [1.0]
    assert read.Tags()["histograms"] == (["critic/gradient_norms"] if known else [])
    assert not known or read.Histograms("critic/gradient_norms")[0].histogram_value.num == known


def test_scoring_and_drawing_do_not_count_in_the_throughput(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(logger.time, "perf_counter", lambda: now[0])
    log = logger.RunLogger(tmp_path, 0)
    now[0] = 2.0
    with log.untimed():
        now[0] = 100.0
    log.write(4, 32, {})
    (row,) = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert row["throughput/steps_per_second"] == 2
    assert row["throughput/images_per_second"] == 16


def test_above_the_bar_are_no_lines_for_the_file_alone(capsys, monkeypatch):
    root, log = logging.getLogger(), logging.getLogger("wgangp.some")
    monkeypatch.setattr(root, "handlers", [logging.StreamHandler(sys.stdout)])
    monkeypatch.setattr(logging.getLogger("wgangp"), "level", logging.DEBUG)
    with lines_above_bar():
        log.debug("for the file"), log.info("for all")
    assert capsys.readouterr().out == "for all\n"
