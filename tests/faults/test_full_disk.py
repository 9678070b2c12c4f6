"""A real file system that is filled and freed while a run trains: a small tmpfs, in a namespace of its own."""

import contextlib
import ctypes
import importlib
import json
import multiprocessing
import os
import random
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from wgangp.run_dir.checkpoint import all_checkpoints, load_newest
from wgangp.run_dir.status import read_status
from wgangp.trainer import Trainer

CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000
PROCESSES = multiprocessing.get_context("fork")
RUN, BALLAST, STEPS = Path("run"), Path("ballast"), 12
ROUNDS = int(os.environ.get("WGANGP_TEST_DISKS", "2"))
SMALL = ["batch_size=8", "generator.width=16", "critic.width=16", "evaluation_samples=50", "keep_checkpoints=2"]
SMALL += ["log_every=1", "checkpoint_every=3", "evaluate_every=4", "sample_every=5", "hydra.run.dir=run"]


def mount_small_disk(folder):
    """Raises OSError if this system does not let its users mount."""
    libc, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    if libc.mount(b"none", bytes(folder), b"tmpfs", 0, b"size=4m"):
        raise OSError(ctypes.get_errno(), "mount")
    os.chdir(folder)


def fill(left):
    """Leaves room for about `left` bytes."""
    BALLAST.unlink(missing_ok=True)
    with open(BALLAST, "wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while file.write(bytes(4096)) == 4096:
                pass
        file.truncate(max(0, file.tell() - left))


def command(name, *arguments):
    sys.argv = [f"wgangp-{name}", *arguments]
    try:
        importlib.import_module(f"wgangp.{name}").main()
    except SystemExit as exit:
        print(exit.code)
        return 1 if isinstance(exit.code, str) else exit.code or 0
    return 0


def look():
    """What a user finds in the run."""
    lines = (RUN / "metrics.jsonl").read_text()
    events = EventAccumulator(str(RUN)).Reload()
    scalars = events.Scalars("critic/loss") if "critic/loss" in events.Tags()["scalars"] else []
    return {
        "state": read_status(RUN).state,
        "logged": [json.loads(line)["step"] for line in lines.splitlines()],
        "whole": not lines or lines.endswith("\n"),
        "tensorboard": [event.step for event in scalars],
        "saved": load_newest(RUN)[1]["step"] if all_checkpoints(RUN) else 0,
        "partials": len(list(RUN.rglob("*.partial"))),
        "cut": [str(path) for path in RUN.glob("samples/*") if not path.read_bytes().endswith(b"IEND\xaeB`\x82")],
    }


def trains_on_small_disk(folder, seed, stays_full, found):
    mount_small_disk(folder)
    rng, original = random.Random(seed), Trainer.train_step

    def step(self):
        logs = original(self)
        act = rng.choice(["nothing", "free", "full", "nearly full"])
        if self.step >= STEPS - 2:
            act = "full" if stays_full else "free"
        if act == "free":
            BALLAST.unlink(missing_ok=True)
        elif act != "nothing":
            fill(0 if act == "full" else rng.randrange(100_000))
        return logs

    with open(found / "output", "w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        Trainer.train_step = step
        code = command("train", f"steps={STEPS}", *SMALL)
        trained = look() | {"code": code}
        BALLAST.unlink(missing_ok=True)
        Trainer.train_step = original
        code = command("resume", "run=run", f"steps={STEPS + 2}") if trained["saved"] else 0
        (found / "found.json").write_text(json.dumps([trained, look() | {"code": code}]))


def in_process(target, *arguments):
    process = PROCESSES.Process(target=target, args=arguments)
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="namespaces are Linux's")
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_disk_that_is_filled_and_freed_at_random_moments(seed, tmp_path):
    """Every second disk is full at the end, too."""
    (disk := tmp_path / "disk").mkdir()
    if in_process(mount_small_disk, disk):
        pytest.skip("mounts are not allowed here")
    stays_full = seed % 2 == 1
    code = in_process(trains_on_small_disk, disk, seed, stays_full, tmp_path)
    output = (tmp_path / "output").read_text()
    assert code == 0 and "Traceback" not in output, output
    trained, resumed = json.loads((tmp_path / "found.json").read_text())
    for found in (trained, resumed):
        assert found["whole"] and found["logged"] == sorted(set(found["logged"])) and not found["partials"], found
        assert not found["cut"]
    if stays_full:  # success is not claimed without the last checkpoint
        assert (trained["code"], trained["state"]) == ((0, "done") if trained["saved"] == STEPS else (1, "failed"))
    else:
        assert trained["code"] == 0 and trained["state"] == "done" and trained["saved"] == STEPS, output
        assert trained["logged"][-1] == trained["tensorboard"][-1] == STEPS, trained
    if trained["saved"]:
        assert resumed["code"] == 0 and resumed["state"] == "done" and resumed["saved"] == STEPS + 2, output
        assert resumed["logged"][-1] == STEPS + 2
