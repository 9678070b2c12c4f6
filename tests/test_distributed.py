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
from conftest import run_command

from wgangp.checkpoint import load_checkpoint, newest_checkpoint

SMALL = ["batch_size=16", "log_every=5", "evaluation_samples=250", "sample_every=0", "hydra.run.dir=run"]
# Adam divides a gradient by its own size, be it a rounding error around zero; with a larger epsilon it does not.
EPS = ["+generator_optimizer.eps=1e-3", "+critic_optimizer.eps=1e-3"]
MLP = [*SMALL, *EPS, "generator.width=16", "critic.width=16", "generator.depth=2", "critic.depth=2", "lr_decay=none"]


def torchrun(*arguments, cwd, ranks=2, check=True, name="train"):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    result = subprocess.run(
        [*command, "-m", f"wgangp.{name}", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert not check or result.returncode == 0, result.stderr + result.stdout
    return result


def weights(folder):
    state = load_checkpoint(newest_checkpoint(folder / "run"))
    return [tensor for part in ("generator", "critic", "ema") for tensor in state[part].values()]


def assert_close(a, b, tolerance=1e-6):
    for x, y in zip(weights(a), weights(b), strict=True):
        torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "options",
    [
        ["dataset=gaussians8", "penalty/schedule=adaptive", "penalty.schedule.rate=0.1"],
        ["dataset=array", "dataset.path=x.npz", "dataset.flip=true", "generator=mlp", "critic=mlp", "conditional=true"],
    ],
    ids=["points", "images"],
)
def test_two_ranks_train_as_one(options, tmp_path):
    """The weights after 20 steps, the losses, and the scores of samples that both ranks made."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        rng = np.random.default_rng(0)
        np.savez(folder / "x.npz", images=rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8), labels=np.arange(40) % 4)
    run_command("train", *MLP, *options, "steps=20", cwd=one)
    torchrun(*MLP, *options, "steps=20", cwd=two)
    assert_close(one, two)
    logs = [[json.loads(line) for line in (f / "run" / "metrics.jsonl").read_text().splitlines()] for f in (one, two)]
    assert [row["step"] for row in logs[1]] == [5, 10, 15, 20]
    for name in logs[0][-1].keys() - {"throughput/steps_per_second", "throughput/images_per_second"}:
        assert logs[0][-1][name] == pytest.approx(logs[1][-1][name], rel=1e-3, abs=1e-4), name


def test_resuming_with_another_number_of_ranks(tmp_path):
    whole, fewer, more = (tmp_path / name for name in ("whole", "fewer", "more"))
    for folder in (whole, fewer, more):
        folder.mkdir()
    run_command("train", *MLP, "steps=16", cwd=whole)
    for folder, ranks in ((fewer, (2, 1)), (more, (1, 2))):
        for n, steps in zip(ranks, (8, 16), strict=True):
            torchrun(*MLP, f"steps={steps}", cwd=folder, ranks=n)
        assert_close(whole, folder)


def test_only_the_main_rank_writes_and_speaks(tmp_path):
    done = torchrun(*MLP, "steps=6", cwd=tmp_path)
    assert done.stdout.count("training gaussians25") == 1
    (events,) = (tmp_path / "run").glob("events*")
    one = run_command("evaluate", "run=run", "n=450", "metrics=[modes]", cwd=tmp_path).stdout
    assert torchrun("run=run", "n=450", "metrics=[modes]", cwd=tmp_path, name="evaluate").stdout == one
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
    assert events.stat().st_size > 0 and not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["batch_size=15"], "batch_size=15 does not divide among 2 processes"),
        (["-m", "seed=0,1"], "torchrun trains one run"),
        (["sync_batchnorm=true"], "sync_batchnorm=true needs CUDA"),
    ],
)
def test_bad_input_is_told_in_a_line(arguments, message, tmp_path):
    done = torchrun(*MLP, "steps=2", *arguments, cwd=tmp_path, check=False)
    assert done.returncode != 0 and message in done.stdout + done.stderr
    assert 'File "' not in done.stdout


def run_in_which_a_rank_dies(arguments, rank, cwd, restarts=0):
    """Its exit code; the rank is killed after the first checkpoint."""
    torch_run = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts)]
    process = subprocess.Popen(
        [sys.executable, "-m", *torch_run, "-m", "wgangp.train", *MLP, *arguments],
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        while not list(cwd.rglob("checkpoints/step_*.pt")):
            assert process.poll() is None
            time.sleep(0.1)
        workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        os.kill(int(workers[rank]), signal.SIGKILL)
        return process.wait(timeout=60)
    finally:
        process.kill()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_dies_stops_the_other_and_the_checkpoint_is_sound(rank, tmp_path):
    assert run_in_which_a_rank_dies(["steps=1000000", "checkpoint_every=5"], rank, tmp_path) != 0
    assert load_checkpoint(newest_checkpoint(tmp_path / "run"))["step"] >= 5


def test_restarted_by_torchrun_a_run_goes_on_in_its_directory(tmp_path):
    """The directory is named by the time at which the run began, not by that of the restart."""
    named = "hydra.run.dir=outputs/${oc.env:WGANGP_STARTED}"  # as the default does
    arguments = ["steps=500", "checkpoint_every=5", named]
    assert run_in_which_a_rank_dies(arguments, 1, tmp_path, restarts=1) == 0
    (run,) = (tmp_path / "outputs").iterdir()
    assert "resuming after step" in (run / "train.log").read_text()
    assert load_checkpoint(newest_checkpoint(run))["step"] == 500
