"""Crashes, full disks, flipped bits and divergence: nothing is lost but the steps since the last checkpoint."""

import json
import os
import pkgutil
import random
import resource
import signal
import subprocess
import sys
import time
import weakref
from types import SimpleNamespace

import pytest
import torch
from conftest import PROCESSES, finished, small_trainer, start_command

from wgangp.app import training
from wgangp.machine.finite import Diverged, check_finite
from wgangp.models import mlp
from wgangp.observer import Observer
from wgangp.preflight import check_memory, checkpoint_bytes, step_fits
from wgangp.run_dir.checkpoint import (
    Checkpoints,
    all_checkpoints,
    load_checkpoint,
    load_newest,
    newest_checkpoint,
    save_checkpoint,
)
from wgangp.run_dir.status import Status, read_status, write_status
from wgangp.trainer import Trainer

SMALL = [
    "batch_size=16",
    "generator.width=8",
    "critic.width=8",
    "evaluation_samples=50",
    "sample_every=0",
    "lr_decay=none",
]
HEADER = {"config": "generator: {}", "shape": [2], "num_classes": 0}
KILLS = int(os.environ.get("WGANGP_TEST_KILLS", "3"))
RUN = [*SMALL, "log_every=2", "checkpoint_every=2", "evaluate_every=0", "hydra.run.dir=run"]


def start(*arguments, cwd, before=None):
    return start_command("train", *RUN, *arguments, cwd=cwd, before=before)


def wait_for(pattern, cwd, process, number=1):
    while len(list(cwd.glob(pattern))) < number:
        assert process.is_alive(), (cwd / "output").read_text()
        time.sleep(0.02)


def same(a, b):
    (_, one), (_, two) = load_newest(a), load_newest(b)
    return one["step"] == two["step"] and all(
        torch.equal(x, y)
        for part in ("generator", "critic", "ema")
        for x, y in zip(one[part].values(), two[part].values(), strict=True)
    )


def save(folder, steps):
    """Checkpoints of these steps, all kept."""
    checkpoints = Checkpoints(folder, len(steps), HEADER, "x", False)
    trainer = small_trainer()
    for step in steps:
        trainer.step = step
        checkpoints.save(step, trainer.state())
    return newest_checkpoint(folder)


@pytest.mark.parametrize("fault", ["flip", "cut"])
def test_every_damaged_byte_is_found_and_the_older_checkpoint_taken(fault, tmp_path):
    """100 random places each."""
    newest, rng = save(tmp_path, [1, 2]), random.Random(0)
    whole = newest.read_bytes()
    for _ in range(100):
        place = rng.randrange(len(whole))
        if fault == "flip":
            newest.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :])
        else:
            newest.write_bytes(whole[:place])
        with pytest.raises(ValueError, match=r"step_00000002\.pt is damaged"):
            load_checkpoint(newest)
        path, state = load_newest(tmp_path)
        assert path.name == "step_00000001.pt" and state["step"] == 1
    newest.write_bytes(whole)
    assert load_newest(tmp_path)[1]["step"] == 2


def test_a_damaged_checkpoint_is_set_aside_and_not_deleted(call, tmp_path):
    assert call("train", *RUN, "steps=6")[0] == 0
    newest = newest_checkpoint(tmp_path / "run")
    newest.write_bytes(newest.read_bytes()[:-500])
    code, text = call("sample", "run=run")
    assert code == 0 and "step_00000006.pt is damaged" in text and newest.exists()
    code, text = call("resume", "run=run", "steps=8")
    assert code == 0 and "set aside" in text and "resuming after step 4" in text
    assert newest.with_suffix(".damaged").stat().st_size > 0


def test_a_sound_checkpoint_is_not_set_aside_for_lack_of_memory(tmp_path, monkeypatch):
    def load(*arguments, **options):
        raise MemoryError

    newest = save(tmp_path, [1])
    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(MemoryError):
        load_newest(tmp_path, set_aside=True)
    assert newest.exists()


def test_a_checkpoint_of_an_older_version_is_not_called_damaged(tmp_path):
    """It has no checksum: it is passed over, and keeps its name."""
    newest = save(tmp_path, [1, 2])
    torch.save(torch.load(newest, weights_only=True), newest)
    with pytest.raises(ValueError, match="of a version before checkpoints had a checksum"):
        load_checkpoint(newest)
    assert load_newest(tmp_path, set_aside=True)[0].name == "step_00000001.pt" and newest.exists()


def test_checkpoints_open_with_torch_alone(tmp_path):
    """The seal at the end does not hinder other programs."""
    assert torch.load(save(tmp_path, [3]), weights_only=True)["step"] == 3


# In the order of a checkpoint's life: opened, half written, written, synchronised, renamed.
MOMENTS = ["builtins.open", "torch.save", "os.fsync", "os.replace", "wgangp.run_dir.files.sync_folder"]


def save_and_die(folder, moment, after):
    owner, _, name = moment.rpartition(".")
    original = pkgutil.resolve_name(moment)

    def killed(*arguments, **options):
        if name == "open" and not str(arguments[0]).endswith(".partial"):
            return original(*arguments, **options)
        if after:
            original(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    trainer = small_trainer()
    trainer.step = 2
    checkpoints = Checkpoints(folder, 3, HEADER, "x", False)
    setattr(pkgutil.resolve_name(owner), name, killed)
    checkpoints.save(2, trainer.state())


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_moment_of_writing_leaves_a_sound_checkpoint(moment, after, tmp_path):
    """The process kills itself before or after that call of its second checkpoint."""
    save(tmp_path, [1])
    process = PROCESSES.Process(target=save_and_die, args=(tmp_path, moment, after))
    process.start()
    assert finished([process]) == [-signal.SIGKILL]
    renamed = (moment, after) in [("os.replace", True)] or moment == "wgangp.run_dir.files.sync_folder"
    assert load_newest(tmp_path)[1]["step"] == (2 if renamed else 1)


def test_killed_at_random_moments_a_run_ends_as_the_undisturbed_one(tmp_path):
    """Never is more lost than the steps of one checkpoint interval."""
    length = [f"steps={30 * KILLS}", "keep_checkpoints=1"]
    disturbed, whole, rng = tmp_path / "disturbed", tmp_path / "whole", random.Random(1)
    disturbed.mkdir(), whole.mkdir()
    assert finished([start(*length, cwd=whole)]) == [0]
    for _ in range(KILLS):
        process = start(*length, cwd=disturbed)
        before = max([load_newest(disturbed / "run")[1]["step"]] if (disturbed / "run/checkpoints").exists() else [0])
        try:
            while process.is_alive():
                found = all_checkpoints(disturbed / "run")
                if found and int(found[-1].stem[5:]) >= min(before + 4, 30 * KILLS):
                    break
                time.sleep(0.01)
            time.sleep(0.1 * rng.random())
        finally:
            process.kill()
            process.join()
        lines = (disturbed / "run" / "metrics.jsonl").read_text().splitlines()
        logged = max([json.loads(line)["step"] for line in lines if line.endswith("}")], default=0)
        assert load_newest(disturbed / "run")[1]["step"] >= max(before, logged - 2)
    finished([start(*length, cwd=disturbed)])
    assert same(disturbed / "run", whole / "run")


def test_a_run_without_its_last_checkpoint_is_not_done(tmp_path):
    """Files may not grow beyond 20 kB: no checkpoint fits. The run goes on to its end, and its exit code says so."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    (code,) = finished([start("steps=6", "generator.width=64", cwd=tmp_path, before=limit)])
    text = (tmp_path / "output").read_text()
    assert code == 1, text
    assert "step_00000002.pt cannot be written, and is left out until the next time" in text and "Traceback" not in text
    assert "the last checkpoint, of step 6, cannot be written" in text
    assert read_status(tmp_path / "run").state == "failed"
    assert not list((tmp_path / "run" / "checkpoints").glob("*.partial"))


def test_a_disk_that_is_full_for_a_while_costs_nothing_but_what_was_due(call, tmp_path, monkeypatch):
    """It is full while the last checkpoint is written, and free again a moment later."""
    calls = []

    def save(path, state):
        calls.append(path.name)
        if calls.count("step_00000004.pt") == 1 and path.name == "step_00000004.pt":
            raise OSError(28, "No space left on device")
        save_checkpoint(path, state)

    monkeypatch.setattr("wgangp.run_dir.checkpoint.save_checkpoint", save)
    code, text = call("train", *RUN, "steps=4")
    assert code == 0 and "No space left on device" in text
    assert newest_checkpoint(tmp_path / "run").name == "step_00000004.pt"
    assert read_status(tmp_path / "run").state == "done"


def test_the_older_checkpoint_survives_a_full_disk(tmp_path, monkeypatch, caplog):
    newest = save(tmp_path, [1])

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    save(tmp_path, [2])
    assert newest_checkpoint(tmp_path) == newest and "No space left on device" in caplog.text
    monkeypatch.undo()
    assert save(tmp_path, [3]).name == "step_00000003.pt"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"value": "x", "monitor": "x"}', "[" * 10**5])
def test_strange_files_among_the_checkpoints_are_passed_over(content, tmp_path):
    newest = save(tmp_path, [1, 2])
    for name in ("step_final.pt", "step_00000002 (1).pt", "step_99.pt", "step_00000009.pt.bak", "Step_00000009.pt"):
        (newest.parent / name).write_text("?")
    (newest.parent / "step_00000007.pt").mkdir()
    (newest.parent / "best.json").write_text(content)
    assert newest_checkpoint(tmp_path) == newest and load_newest(tmp_path)[1]["step"] == 2
    Checkpoints(tmp_path, 2, HEADER, "x", False).save_if_best(2, {"x": 1.0}, small_trainer().state)
    assert json.loads((newest.parent / "best.json").read_text())["value"] == 1.0


def test_sigusr1_saves_and_goes_on(tmp_path):
    process = start("steps=1000000", "checkpoint_every=0", cwd=tmp_path)
    try:
        wait_for("run/metrics.jsonl", tmp_path, process)
        while not (tmp_path / "run" / "metrics.jsonl").read_text():
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGUSR1)
        wait_for("run/checkpoints/step_*.pt", tmp_path, process)
        size = (tmp_path / "run" / "metrics.jsonl").stat().st_size
        deadline = time.time() + 30
        while (tmp_path / "run" / "metrics.jsonl").stat().st_size == size:
            assert process.is_alive() and time.time() < deadline
            time.sleep(0.05)
    finally:
        process.kill()


@pytest.mark.parametrize("monitor", ["eval/modes", "critic/gradient_norm"])
def test_a_run_that_was_killed_before_its_end_was_reported_is_finished(monitor, call, tmp_path):
    run = tmp_path / "run"
    assert call("train", *RUN, "steps=4", "sample_every=2", f"monitor={monitor}")[0] == 0
    metrics = (run / "metrics.jsonl").read_text()
    value = read_status(run).value
    write_status(run, Status("running", step=4, steps=4))
    (run / "evaluation.json").unlink()
    (run / "samples" / "step_00000004.png").unlink()
    code, text = call("resume", "run=run")
    assert code == 0 and read_status(run).state == "done", text
    assert (run / "evaluation.json").exists() and (run / "samples" / "step_00000004.png").exists()
    assert (run / "metrics.jsonl").read_text() == metrics and read_status(run).value == value
    code, text = call("resume", "run=run")
    assert code == 1 and "give a larger number of steps" in text


@pytest.mark.parametrize("streams", ["2>/dev/full | head -1", ">&- 2>&-"])
def test_closed_and_full_streams_do_not_end_a_run(streams, tmp_path):
    command = " ".join([sys.executable, "-m", "wgangp.train", *RUN, "steps=4", streams])
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert read_status(tmp_path / "run").state == "done"
    assert newest_checkpoint(tmp_path / "run").name == "step_00000004.pt"


@pytest.mark.parametrize("size", ["x", "0", "-1", "1.5", "2"])
def test_a_wrong_world_size_is_named(size, call, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", size)
    code, text = call("resume", "run=run")
    assert code == 1 and f"WORLD_SIZE={size}" in text and "Traceback" not in text


class TestDivergence:
    def test_numbers_that_are_not_finite_are_never_the_best(self, call, tmp_path, monkeypatch):
        """The critic's, at a step that is scored and neither logged nor saved."""
        original = Trainer.train_step

        def diverging(self):
            logs = original(self)
            if self.step == 3:
                self.critic_params[0].data.fill_(float("nan"))
            return logs

        monkeypatch.setattr(Trainer, "train_step", diverging)
        code, _ = call("train", *RUN, "steps=8", "evaluate_every=3", "log_every=0", "checkpoint_every=0")
        assert code == 1 and not (tmp_path / "run" / "checkpoints" / "best.pt").exists()

    def test_what_is_not_finite_is_named(self):
        trainer = small_trainer()
        logs, networks = trainer.train_step(), {"critic": trainer.critic, "generator": trainer.generator}
        optimizers = trainer.optimizers
        check_finite(1, logs, networks, optimizers, {})
        with torch.no_grad():
            trainer.critic.output.weight[0, 0] = float("nan")
        named = r"step 1: 1 of \d+ tensors .* first critic\.output\.weight; .* critic/loss -1\.5"
        with pytest.raises(Diverged, match=named):
            check_finite(1, logs, networks, optimizers, {"critic/loss": -1.5})
        with pytest.raises(Diverged, match="first critic/loss"):
            check_finite(1, logs | {"critic/loss": torch.tensor(float("inf"))}, networks, optimizers, {})

    def test_averages_of_batchnorm_are_looked_at(self):
        network = torch.nn.BatchNorm1d(3)
        network.running_mean.fill_(-float("inf"))
        with pytest.raises(Diverged, match=r"first critic\.running_mean"):
            check_finite(1, {}, {"critic": network}, [], {})
        network.running_mean.zero_()
        network.running_var.fill_(float("inf"))
        with pytest.raises(Diverged, match=r"first critic\.running_var"):
            check_finite(1, {}, {"critic": network}, [], {})

    def test_masks_of_attention_may_be_infinite(self):
        network = torch.nn.Linear(2, 2)
        network.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1))
        network.register_buffer("phase", torch.ones(2, dtype=torch.complex64))
        check_finite(1, {}, {"critic": network}, [], {})

    def test_a_run_that_diverges_stops_with_a_line_and_keeps_its_last_good_checkpoint(self, call, tmp_path):
        code, text = call("train", *RUN, "steps=2000", "critic_optimizer.lr=1e30")
        assert code == 1 and "tensors are not finite, first" in text and "Traceback" not in text
        for path in all_checkpoints(tmp_path / "run"):
            assert all(t.isfinite().all() for t in load_checkpoint(path)["critic"].values())

    def test_a_rollback_goes_on_from_the_last_checkpoint_with_other_numbers(self, call, tmp_path, monkeypatch):
        original, seeds = Trainer.train_step, []

        def diverging(self):
            logs = original(self)
            seeds.append((self.rollbacks, self.step))
            if self.step == 7 and self.rollbacks == 0:
                self.critic_params[0].data.fill_(float("nan"))
            return logs

        monkeypatch.setattr(Trainer, "train_step", diverging)
        code, text = call("train", *RUN, "steps=10", "on_divergence=rollback")
        assert code == 0 and "step 8: " in text and "Going back to the last checkpoint" in text
        assert seeds == [(0, i) for i in range(1, 9)] + [(1, i) for i in range(7, 11)]

    def test_a_rollback_frees_the_run_before_it(self, call, monkeypatch):
        """On a GPU two runs would not fit, and the second would be refused."""
        original, trainers, alive = training.prepare, [], []

        def prepared(*args):
            alive.append(sum(trainer() is not None for trainer in trainers))
            found = original(*args)
            trainers.append(weakref.ref(found.trainer))
            return found

        monkeypatch.setattr(training, "prepare", prepared)
        options = ["steps=2000", "critic_optimizer.lr=1e30", "on_divergence=rollback", "rollbacks=2"]
        code, text = call("train", *RUN, *options)
        assert code == 1 and alive == [0, 0, 0] and "Going back to the start, as there is no checkpoint" in text

    def test_a_run_that_is_asked_to_end_does_not_roll_back(self, call, monkeypatch):
        """A scheduler kills it a little later, whatever it has begun again."""
        monkeypatch.setattr("wgangp.machine.signals.StopSignals.stop", lambda self: True)
        options = ["steps=2000", "critic_optimizer.lr=1e30", "generator_optimizer.lr=1e30", "on_divergence=rollback"]
        original = Trainer.train_step

        def diverging(self):
            logs = original(self)
            self.critic_params[0].data.fill_(float("nan"))
            return logs

        monkeypatch.setattr(Trainer, "train_step", diverging)
        code, text = call("train", *RUN, *options)
        assert code == 1 and "step 1: " in text and "Going back" not in text

    def test_rollbacks_are_bounded(self, call):
        code, text = call(
            "train", *RUN, "steps=2000", "critic_optimizer.lr=1e30", "on_divergence=rollback", "rollbacks=2"
        )
        assert code == 1 and text.count("Going back to the ") == 2


class TestPreflight:
    def test_the_environment_is_recorded(self, call, tmp_path):
        assert call("train", *RUN, "steps=2")[0] == 0
        content = json.loads((tmp_path / "run" / "environment.json").read_text())
        assert torch.__version__.startswith(content["packages"]["torch"]) and content["device"] == "cpu"
        assert content["command"][1:] == [*RUN, "steps=2"]

    def test_a_checkpoint_is_about_as_large_as_said(self, tmp_path):
        trainer = small_trainer(
            critic=mlp.Critic(shape=(2,), num_classes=0, width=256, depth=3, spectral=False, condition="auto")
        )
        trainer.train_step()
        save_checkpoint(tmp_path / "x.pt", trainer.state())
        assert checkpoint_bytes(trainer) == pytest.approx((tmp_path / "x.pt").stat().st_size, rel=0.1)

    def test_too_small_a_disk_is_told_before_the_first_step(self, call, monkeypatch):
        monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
        code, text = call("train", *RUN, "steps=2")
        assert code == 1 and "0 MB left, and 5 checkpoints need" in text and "Traceback" not in text

    def test_the_largest_batch_that_fits_is_named(self, monkeypatch):
        """A device of memory for ten images, simulated."""
        monkeypatch.setattr("wgangp.preflight.step_fits", lambda trainer: trainer.batch_size <= 10)

        def trainer(n):
            return SimpleNamespace(device=torch.device("cuda"), batch_size=n)

        check_memory(trainer(10), trainer)
        with pytest.raises(ValueError, match="batch_size=64 does not fit into the device's memory; 8 does"):
            check_memory(trainer(64), trainer)

    def test_a_step_and_what_is_measured_beside_it_must_fit(self, monkeypatch):
        """A step of 6 and a log step of 3, on devices of 10 and 9; afterwards the trainer is as it was."""
        needs = {"train_step": 6, "measure": 3, "picture": 2}
        used, highest, free = 0, 0, 10

        def allocate(function):
            def run(*arguments):
                nonlocal highest
                highest = max(highest, used + needs[function.__name__])
                return function(*arguments)

            return run

        def reset():
            nonlocal highest
            highest = used

        for name, fake in {
            "empty_cache": lambda: None,
            "mem_get_info": lambda device: (free, 100),
            "reset_peak_memory_stats": reset,
            "memory_reserved": lambda: used,
            "max_memory_reserved": lambda: highest,
        }.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        for kind, name in ((Trainer, "train_step"), (Observer, "measure"), (Observer, "picture")):
            monkeypatch.setattr(kind, name, allocate(getattr(kind, name)))
        tried, plain = small_trainer(), small_trainer()
        assert step_fits(tried)
        free = 9
        assert not step_fits(tried) and tried.step == 0
        tried.train_step(), plain.train_step()
        assert all(torch.equal(a, b) for a, b in zip(tried.critic_params, plain.critic_params, strict=True))
