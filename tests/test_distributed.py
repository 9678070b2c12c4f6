"""Two processes of torchrun train as one does, and ranks stay in step; gloo, on the CPU."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import finished, on_two_ranks, rank_environments, small_trainer, start_ranks

from wgangp.machine import distributed
from wgangp.run_dir.checkpoint import load_checkpoint, newest_checkpoint

SMALL = ["batch_size=16", "log_every=5", "evaluation_samples=250", "sample_every=0"]
# Adam divides a gradient by its own size, be it a rounding error around zero; with a larger epsilon it does not.
EPS = ["+generator_optimizer.eps=1e-3", "+critic_optimizer.eps=1e-3"]
MLP = [*SMALL, *EPS, "generator.width=16", "critic.width=16", "generator.depth=2", "critic.depth=2", "lr_decay=none"]

IMAGES = ["dataset=array", "dataset.path=x.npz", "generator=mlp", "critic=mlp"]


def train_by_ranks(*arguments, cwd):
    processes = start_ranks("train", *MLP, *arguments, cwd=cwd)
    assert finished(processes) == [0, 0], [(cwd / f"output_{i}").read_text() for i in range(2)]


def weights(run):
    state = load_checkpoint(newest_checkpoint(run))
    return [tensor for part in ("generator", "critic", "ema") for tensor in state[part].values()]


def assert_close(a, b, tolerance=1e-6):
    for x, y in zip(weights(a), weights(b), strict=True):
        torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "options",
    [
        ["dataset=gaussians8", "penalty/schedule=adaptive", "penalty.schedule.rate=0.1"],
        [
            *IMAGES,
            "dataset.flip=true",
            "conditional=true",
            "augment=[color,translation,cutout]",
            "dataset.held_out=0.4",
        ],
    ],
    ids=["points", "images"],
)
def test_two_ranks_train_as_one(options, call, tmp_path):
    """The weights after 20 steps, the losses, and the scores of samples that both ranks made."""
    rng = np.random.default_rng(0)
    np.savez("x.npz", images=rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8), labels=np.arange(40) % 4)
    assert call("train", *MLP, *options, "steps=20", "hydra.run.dir=one")[0] == 0
    train_by_ranks(*options, "steps=20", "hydra.run.dir=two", cwd=tmp_path)
    one, two = tmp_path / "one", tmp_path / "two"
    assert_close(one, two)
    logs = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (one, two)]
    assert [row["step"] for row in logs[1]] == [5, 10, 15, 20]
    for name in logs[0][-1].keys() - {"throughput/steps_per_second", "throughput/images_per_second"}:
        assert logs[0][-1][name] == pytest.approx(logs[1][-1][name], rel=1e-3, abs=1e-4), name


def train_and_compare():
    trainer = small_trainer()
    for _ in range(20):
        trainer.train_step()
    mine = torch.cat([p.detach().flatten() for p in (*trainer.critic_params, *trainer.generator_params)])
    one, two = distributed.gather({distributed.RANK: mine}).values()
    assert torch.equal(one, two)


def test_ranks_stay_bit_identical():
    on_two_ranks(train_and_compare)


def test_resuming_with_another_number_of_ranks(call, tmp_path):
    """From one to two, and from two to one."""
    assert call("train", *MLP, "steps=16", "hydra.run.dir=whole")[0] == 0
    assert call("train", *MLP, "steps=8", "hydra.run.dir=more")[0] == 0
    train_by_ranks("steps=16", "hydra.run.dir=more", cwd=tmp_path)
    train_by_ranks("steps=8", "hydra.run.dir=fewer", cwd=tmp_path)
    assert call("train", *MLP, "steps=16", "hydra.run.dir=fewer")[0] == 0
    assert_close(tmp_path / "whole", tmp_path / "more")
    assert_close(tmp_path / "whole", tmp_path / "fewer")


def test_only_the_main_rank_writes_and_speaks(call, tmp_path):
    train_by_ranks("steps=6", "hydra.run.dir=run", cwd=tmp_path)
    main, other = ((tmp_path / f"output_{i}").read_text() for i in range(2))
    assert main.count("training gaussians25") == 1 and not other.strip()
    (events,) = (tmp_path / "run").glob("events*")
    _, one = call("evaluate", "run=run", "n=450", "metrics=[modes]")
    assert finished(start_ranks("evaluate", "run=run", "n=450", "metrics=[modes]", cwd=tmp_path)) == [0, 0]
    main, other = ((tmp_path / f"output_{i}").read_text() for i in range(2))
    assert main == one and not other.strip()
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
    assert events.stat().st_size > 0 and not (tmp_path / "outputs").exists()


def test_a_batch_that_does_not_divide_is_told_in_a_line(tmp_path):
    assert finished(start_ranks("train", *MLP, "steps=2", "batch_size=15", cwd=tmp_path)) == [1, 1]
    for output in ("output_0", "output_1"):
        text = (tmp_path / output).read_text()
        assert "batch_size=15: give a multiple of 2, the number of processes" in text and "Traceback" not in text


@pytest.mark.parametrize(
    ("ranks", "arguments", "message"),
    [("2", ["-m", "seed=0,1"], "torchrun trains one run"), ("1", ["sync_batchnorm=true"], "needs CUDA")],
)
def test_what_ranks_cannot_do_is_told_in_a_line(ranks, arguments, message, call, monkeypatch):
    for name, value in (rank_environments()[0] | {"WORLD_SIZE": ranks}).items():
        monkeypatch.setenv(name, value)
    code, text = call("train", *MLP, *arguments)
    assert code == 1 and message in text and "Traceback" not in text


def wait_for_a_checkpoint(folder, running):
    deadline = time.monotonic() + 120
    while not list(folder.rglob("checkpoints/step_*.pt")):
        assert running() and time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("rank", [0, 1], ids=["main", "other"])
def test_a_rank_that_dies_stops_the_other_and_the_checkpoint_is_sound(rank, tmp_path):
    """The other ends by itself: nobody kills it, as torchrun would."""
    processes = start_ranks("train", *MLP, "steps=1000000", "checkpoint_every=5", "hydra.run.dir=run", cwd=tmp_path)
    try:
        wait_for_a_checkpoint(tmp_path, processes[rank].is_alive)
    finally:
        processes[rank].kill()
    codes = finished(processes, timeout=60)
    assert codes[rank] == -signal.SIGKILL and codes[1 - rank] == 1, codes
    assert load_checkpoint(newest_checkpoint(tmp_path / "run"))["step"] >= 5


def test_restarted_by_torchrun_a_run_goes_on_in_its_directory(tmp_path):
    """The directory is named by the time at which the run began, not by that of the restart."""
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    arguments = [*MLP, "steps=150", "checkpoint_every=5"]
    with subprocess.Popen(
        [sys.executable, "-m", *torchrun, "-m", "wgangp.train", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            wait_for_a_checkpoint(tmp_path, lambda: process.poll() is None)
            workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
            os.kill(int(workers[1]), signal.SIGKILL)
            text, _ = process.communicate(timeout=200)
        finally:
            process.kill()
    assert process.returncode == 0 and text.count("training gaussians25") == 2, text
    (run,) = (path.parent for path in (tmp_path / "outputs").glob("*/*/.hydra"))
    assert "resuming after step" in (run / "train.log").read_text()
    assert load_checkpoint(newest_checkpoint(run))["step"] == 150
