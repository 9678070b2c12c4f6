"""A real file system that is filled and freed while a run trains: a small tmpfs, in a namespace of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MOUNTED = 'mount -t tmpfs -o size=2m none "$0" && cd "$0" && exec "$@"'
SMALL = ["batch_size=8", "generator.width=16", "critic.width=16", "evaluation_samples=50", "keep_checkpoints=2"]
SMALL += ["log_every=1", "checkpoint_every=3", "evaluate_every=4", "sample_every=5", "hydra.run.dir=run"]
STEPS, ROUNDS = 12, 3

PROGRAM = f"""
import json, os, random, shutil, sys
from pathlib import Path
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wgangp import resume, train
from wgangp.run_dir.checkpoint import all_checkpoints, load_newest
from wgangp.run_dir.status import read_status
from wgangp.trainer import Trainer

original, ballast, run = Trainer.train_step, Path("ballast"), Path("run")

def fill(left):
    ballast.unlink(missing_ok=True)
    with open(ballast, "wb", buffering=0) as file:
        for size in (65536, 512):
            try:
                while file.write(bytes(size)) == size: pass
            except OSError: pass
        file.truncate(max(0, file.tell() - left))

def command(main, *arguments):
    sys.argv = ["wgangp", *arguments]
    try:
        main()
    except SystemExit as exit:
        return exit.code
    return 0

def steps_logged():
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]

for seed in range({ROUNDS}):
    rng, stays_full = random.Random(seed), seed % 3 == 2
    def step(self):
        logs = original(self)
        act = rng.choice(["nothing", "free", "full", "nearly full"])
        if self.step >= {STEPS} - 2:
            act = "full" if stays_full else "free"
        if act == "free": ballast.unlink(missing_ok=True)
        if act == "full": fill(0)
        if act == "nearly full": fill(rng.randrange(100_000))
        return logs
    Trainer.train_step = step
    shutil.rmtree(run, ignore_errors=True)
    code = command(train.main, "steps={STEPS}", *{SMALL!r})
    lines = (run / "metrics.jsonl").read_bytes()
    events = EventAccumulator(str(run))
    events.Reload()
    scalars = events.Scalars("critic/loss") if "critic/loss" in events.Tags()["scalars"] else []
    saved = [load_newest(run)[1]["step"]] if all_checkpoints(run) else []
    found = dict(code=code, state=read_status(run).state, whole=lines[-1:] in (b"", b"\\n"), logged=steps_logged())
    found |= dict(saved=saved, tensorboard=[event.step for event in scalars], stays_full=stays_full)
    found |= dict(partials=len(list(run.rglob("*.partial"))))
    ballast.unlink(missing_ok=True)
    Trainer.train_step = original
    found["resumed"] = command(resume.main, "run=run", "steps={STEPS + 2}") if saved else 0
    found["logged_then"] = steps_logged()
    print("FOUND", json.dumps(found), flush=True)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="namespaces are Linux's")
def test_a_disk_that_is_filled_and_freed_at_random_moments(tmp_path):
    (tmp_path / "disk").mkdir()
    mounted = ["unshare", "-rm", "bash", "-c", MOUNTED, str(tmp_path / "disk")]
    if subprocess.run([*mounted, "true"], capture_output=True).returncode:
        pytest.skip("mounts are not allowed here")
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parents[2]}:{os.environ.get('PYTHONPATH', '')}"}
    program = subprocess.run(
        [*mounted, sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=600, env=environment
    )
    rounds = [json.loads(line[6:]) for line in program.stdout.splitlines() if line.startswith("FOUND ")]
    assert len(rounds) == ROUNDS, program.stdout + program.stderr
    assert "Traceback" not in program.stdout + program.stderr
    for found in rounds:
        assert found["whole"] and found["partials"] == 0 and found["resumed"] == 0, found
        if found["stays_full"]:  # not a word of success without the last checkpoint
            assert (found["code"], found["state"]) == ((0, "done") if STEPS in found["saved"] else (1, "failed")), found
        else:
            assert found["code"] == 0 and found["state"] == "done" and found["saved"] == [STEPS], found
            assert found["logged"][-1] == STEPS and found["tensorboard"][-1] == STEPS, found
        assert not found["saved"] or found["logged_then"][-1] == STEPS + 2
