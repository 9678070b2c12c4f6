"""What a run writes down stays bounded, and nothing that is kept is lost."""

import json

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from wgangp.run_dir import logger


def test_tensorboards_files_are_bounded(tmp_path, monkeypatch):
    """The newest curves stay in TensorBoard, all of them in metrics.jsonl."""
    monkeypatch.setattr(logger, "EVENT_FILE_BYTES", 2000)
    monkeypatch.setattr(logger, "EVENT_FILES", 3)
    log = logger.RunLogger(tmp_path, 0, 1)
    for step in range(1, 201):
        log.write(step, {"critic/loss": -1.0 / step})
        log.writer.flush()
    log.close()
    files = list(tmp_path.glob("events*"))
    assert len(files) == 3 and all(file.stat().st_size < 3000 for file in files)
    read = EventAccumulator(str(tmp_path)).Reload()  # files of one second in the order of their names, so .10 before .9
    steps = sorted(event.step for event in read.Scalars("critic/loss"))
    assert steps == list(range(steps[0], 201)) and len(steps) > 20
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 201))


def test_training_goes_on_where_somebody_removes_the_files(tmp_path):
    log = logger.RunLogger(tmp_path, 0, 1)
    for file in tmp_path.glob("events*"):
        file.unlink()
    log.write(1, {"critic/loss": -1.0})
    log.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["step"] == 1
