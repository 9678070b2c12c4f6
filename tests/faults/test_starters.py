"""Processes that start at the same moment on one run: each works, waits, or is refused in one line."""

import contextlib
import importlib
import json
import multiprocessing
import os
import shutil
import sys
import threading
import traceback

import pytest

from wgangp.app import hydra_run
from wgangp.run_dir.checkpoint import load_newest
from wgangp.run_dir.claim import Claim
from wgangp.run_dir.header import header_of
from wgangp.run_dir.lock import is_locked, locked
from wgangp.run_dir.record import read_record
from wgangp.run_dir.status import read_status

SMALL = ["batch_size=8", "generator.width=8", "critic.width=8", "evaluation_samples=50"]
SMALL += ["log_every=1", "checkpoint_every=1", "sample_every=0"]
PROCESSES = multiprocessing.get_context("fork")  # real processes, which need not import torch again


def run_in_process(barrier, folder, output, name, arguments):
    os.chdir(folder)
    with open(output, "w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        sys.argv = [f"wgangp-{name}", *arguments]
        barrier.wait()
        try:
            importlib.import_module(f"wgangp.{name}").main()
        except SystemExit as exit:
            print(exit.code)
            raise SystemExit(1 if exit.code else 0) from None
        except BaseException:
            traceback.print_exc()
            raise


def together(folder, *commands):
    """Returns (exit code, output) of each command; all begin at the same moment."""
    barrier, outputs = PROCESSES.Barrier(len(commands)), [folder / f"output_{i}" for i in range(len(commands))]
    processes = [
        PROCESSES.Process(target=run_in_process, args=(barrier, folder, output, name, arguments))
        for output, (name, *arguments) in zip(outputs, commands, strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [(p.exitcode, output.read_text()) for p, output in zip(processes, outputs, strict=True)]


def check_results(results):
    """At least one worked, and the others were refused in one line."""
    assert [code for code, _ in results if code == 0], results
    for code, text in results:
        assert code in (0, 1) and "Traceback" not in text, text
        assert code == 0 or "is in use by another" in text or "give a larger number of steps" in text, text


def check_run(run):
    """The run has the record of its own process, and each step once."""
    _, state = load_newest(run)
    record = read_record(run)
    given = dict(override.split("=") for override in record.overrides)
    assert header_of(state).config == record.config
    assert record.config["penalty"]["weight"] == float(given["penalty.weight"])
    assert record.config["steps"] == int(given["steps"])
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, state["step"] + 1))
    assert read_status(run).state == "done" and read_status(run).step == state["step"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    ((code, text),) = together(folder, ("train", *SMALL, "steps=3", "penalty.weight=1", "hydra.run.dir=run"))
    assert code == 0, text
    return folder / "run"


@pytest.mark.parametrize("command", ["train", "resume", "sweep"])
def test_three_starters_make_one_run(command, trained, tmp_path):
    """Each asks for something else; what is on record is what was trained."""
    run, several = tmp_path / "run", []
    for i in (4, 5, 6):
        ours = [f"steps={i}", f"penalty.weight={i}"]
        several += {
            "train": [("train", *SMALL, *ours, "hydra.run.dir=run")],
            "resume": [("resume", "run=run", *ours)],
            "sweep": [("train", "-m", *SMALL, *ours, "seed=0,1", "hydra.sweep.dir=run")],
        }[command]
    if command == "resume":
        shutil.copytree(trained, run)
    check_results(together(tmp_path, *several))
    for each in [run / "0", run / "1"] if command == "sweep" else [run]:
        check_run(each)


def test_scores_that_are_written_at_the_same_moment_are_all_there(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "evaluation.json").unlink()
    names = ("modes", "sliced_wasserstein", "wasserstein1")
    results = together(tmp_path, *[("evaluate", "run=run", "n=50", f"metrics=[{name}]") for name in names])
    assert all(code == 0 for code, _ in results), results
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())["metrics"]
    assert {f"eval/{name}" for name in names} <= found.keys()


def test_others_may_look_while_a_run_is_gone_on_with(trained, tmp_path):
    """The only checkpoint is replaced at each step."""
    shutil.copytree(trained, tmp_path / "run")
    resume = ("resume", "run=run", "steps=40", "penalty.weight=1", "keep_checkpoints=1")
    results = together(tmp_path, resume, ("sample", "run=run", "n=4"), ("evaluate", "run=run", "n=50"))
    assert all(code == 0 for code, _ in results), results
    check_run(tmp_path / "run")


def test_a_look_at_the_lock_refuses_nobody(tmp_path):
    """As by a summary at the moment when a job starts."""
    looking, looked = threading.Event(), threading.Event()

    def look():
        with locked(tmp_path):
            looking.set()
            looked.wait(0.1)

    thread = threading.Thread(target=look)
    thread.start()
    looking.wait()
    with locked(tmp_path):
        thread.join()


def test_the_record_of_a_resumed_run_is_read_under_its_lock(trained, tmp_path, call, monkeypatch):
    """Otherwise another process could go on with the run in between, and its changes were lost from the record."""
    shutil.copytree(trained, tmp_path / "run")
    original, seen = hydra_run.load_newest, []

    def noted(run):
        seen.append(is_locked(run))
        return original(run)

    monkeypatch.setattr(hydra_run, "load_newest", noted)
    assert call("resume", "run=run", "steps=4")[0] == 0 and seen == [True]


def test_a_refused_start_removes_nothing_of_another(tmp_path, call, monkeypatch):
    """The lock is removed by the one that holds it: a third starter must not lock a file that nobody else sees."""
    seen, original = [], Claim.release

    def released(claim):
        seen.append(is_locked(claim.run))
        original(claim)

    monkeypatch.setattr(Claim, "release", released)
    assert call("train", *SMALL, "conditional=true", "hydra.run.dir=run")[0] == 1 and seen == [True]
    assert not (tmp_path / "run").exists()
