"""Sweeps through the real commands: a job fails alone, a job that is done is not done again, the table says all."""

import json
import math
import os
import signal
import subprocess
import time
from contextlib import suppress

import numpy as np
import pytest
from conftest import finished, options, start_command
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf

from wgangp.app.hydra_run import number_among_jobs
from wgangp.app.paths import CONF
from wgangp.run_dir.status import Status, write_status
from wgangp.sweeps.jobs import read_jobs
from wgangp.sweeps.search import Study, load_optuna, storage

SMALL = ["steps=4", "batch_size=16", "generator.width=8", "critic.width=8", "evaluation_samples=100", "log_every=2"]
SMALL += ["sample_every=0", "scores.wasserstein1.samples=100"]
SWEEP = [*SMALL, "hydra.sweep.dir=sweep", "monitor=high_quality"]


def test_a_sweep_names_what_failed_and_is_gone_on_with(call, tmp_path):
    """A good job, one of a wrong value, and two that cannot be composed; then the same command again."""
    grid = ["penalty=wgan_gp,wgn_gp", "n_critic=1,0"]
    code, text = call("train", "-m", *SWEEP, *grid)
    assert code == 1 and "3 of 4 jobs failed: 1, 2, 3; for the reasons: wgangp-summarize sweep=sweep" in text
    assert "penalty=wgn_gp: there is no such option. Did you mean wgan_gp" in text
    _, text = call("train", "-m", *SMALL, "critic=char,char_gru", "critic.norm=layer", "hydra.sweep.dir=other")
    assert "critic.norm: the default critic has no such key. In a sweep over critic, write +critic.norm=..." in text
    finished = (tmp_path / "sweep" / "0" / "metrics.jsonl").stat().st_mtime_ns

    code, text = call("summarize", "sweep=sweep")
    assert code == 0 and "4 jobs, 1 done, 3 failed; eval/high_quality" not in text.splitlines()[-1]
    assert "* job 1 failed: n_critic=0: give a whole number of at least 1" in text
    assert "* job 3 failed: penalty=wgn_gp: there is no such option." in text
    assert {"summary.csv", "summary.md", "summary.html"} <= {p.name for p in (tmp_path / "sweep").iterdir()}

    assert call("train", "-m", *SWEEP, *grid)[0] == 1
    assert (tmp_path / "sweep" / "0" / "metrics.jsonl").stat().st_mtime_ns == finished
    code, text = call("train", "-m", *SWEEP, "penalty=r1,r2", "n_critic=1,2")
    assert code == 1 and "sweep/0 is of another sweep" in text


def test_a_misspelt_key_fails_each_job(call):
    code, text = call("train", "-m", *SWEEP, "generator.dmi=1,2")
    assert code == 1 and "job 1: generator.dmi: there is no such key." in text and "2 of 2 jobs failed" in text


def test_a_killed_sweep_is_completed(call, tmp_path):
    """The second job's process dies at once; the same command does that job alone, from its checkpoint."""
    assert call("train", "-m", *SWEEP, "seed=0,1")[0] == 0
    run, other = tmp_path / "sweep" / "1", tmp_path / "sweep" / "0"
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text(lines[0])  # as after a crash between the second and the last step
    (run / "checkpoints" / "step_00000004.pt").unlink()
    write_status(run, Status("running", 2, 4))
    before = (other / "metrics.jsonl").stat().st_mtime_ns
    code, text = call("train", "-m", *SWEEP, "seed=0,1")
    assert code == 0 and "1 of them done before" in text and (other / "metrics.jsonl").stat().st_mtime_ns == before
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [2, 4]


@pytest.mark.parametrize("launcher", [["joblib", "n_jobs=2"], ["submitit_local", "timeout_min=5"]])
def test_jobs_side_by_side(launcher, call, tmp_path):
    """In processes of their own: what fails is told all the same, and what is done is not done again."""
    name, option = launcher
    arguments = ["-m", *SWEEP, f"hydra/launcher={name}", f"hydra.launcher.{option}", "n_critic=1,0"]
    code, text = call("train", *arguments)
    assert code == 1 and "1 of 2 jobs failed: 1;" in text, text
    jobs = read_jobs(tmp_path / "sweep")
    assert [job.status for job in jobs] == ["done", "failed"]
    assert jobs[1].reason.startswith("n_critic=0: give a whole number")
    assert "1 of them done before" in call("train", *arguments)[1]


def test_a_preempted_job_is_submitted_again_and_goes_on(tmp_path):
    """SIGUSR2 is SLURM's word that it takes the machine back: the step is finished and saved, none is done twice."""
    options = [*SWEEP, "hydra/launcher=submitit_local", "steps=100", "checkpoint_every=5", "log_every=1", "seed=0"]
    process = start_command("train", "-m", *options, cwd=tmp_path, before=os.setsid)
    try:
        while not list(tmp_path.glob("sweep/0/checkpoints/step_*.pt")):
            assert process.is_alive(), (tmp_path / "output").read_text()
            time.sleep(0.05)
        (worker,) = subprocess.run(
            ["pgrep", "-g", str(process.pid), "-f", "submitit.core._submit"], capture_output=True, text=True
        ).stdout.split()
        os.kill(int(worker), signal.SIGUSR2)
        assert finished([process]) == [0], (tmp_path / "output").read_text()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert "resuming after step" in (tmp_path / "sweep/0/train.log").read_text()
    assert [row["step"] for row in read_jobs(tmp_path / "sweep")[0].rows] == list(range(1, 101))


def test_jobs_side_by_side_take_the_gpus_in_turn(monkeypatch):
    hydra = {"mode": RunMode.MULTIRUN, "job": {"num": 5}, "runtime": {"choices": {"hydra/launcher": "joblib"}}}
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(HydraConfig, "get", lambda: OmegaConf.create(hydra))
    assert number_among_jobs() == 5
    hydra["runtime"]["choices"]["hydra/launcher"] = "basic"
    assert number_among_jobs() is None


LIKE_WGAN_GP = (
    "wgan_lp",
    "r1",
    "r2",
    "r1_r2",
    "zero_centred_line",
    "dragan",
    "wgan_div",
    "max_gp",
    "linf_hinge",
    "none",
)
STUDIES = {
    "penalties": [
        *("hydra.sweeper.trials=1", "hydra.sweeper.seeds=1"),
        *(f"~hydra.sweeper.methods.{name}" for name in LIKE_WGAN_GP),
    ],
    "adaptive": ["hydra.sweeper.trials=1", "hydra.sweeper.seeds=1", "~hydra.sweeper.methods.default"],
    "penalty_weight": ["seed=0", "penalty.weight=1,10"],
    "n_critic": ["seed=0"],
    "seeds": [],
    "architectures": ["seed=0", "dataset=array", "dataset.path=x.npy", "generator=mlp", "monitor=critic/wasserstein"],
    "optuna": ["hydra.sweeper.trials=2", "monitor=wasserstein1"],
    "paper_collapse": [
        *("hydra.sweeper.trials=1", "hydra.sweeper.seeds=1", "evaluate.metrics=[modes]"),
        *("~hydra.sweeper.methods.wgan_gp", "~hydra.sweeper.methods.standard"),
    ],
}


@pytest.mark.parametrize("name", options("sweep"))
def test_every_ready_study_runs(name, call):
    """One step of each of the first seed's jobs, one after the other in this process."""
    narrowed = STUDIES[name]
    np.save("x.npy", np.zeros((16, 8, 8, 3), dtype=np.uint8))
    code, text = call("train", f"sweep={name}", *SWEEP, "steps=1", *narrowed)
    assert code == 0, text


def test_a_job_of_a_study_is_gone_on_with_alone(call, tmp_path):
    assert call("train", "sweep=seeds", "seed=0,1", *SWEEP)[0] == 0
    code, text = call("resume", "run=sweep/1", "steps=6")
    assert code == 0 and "resuming after step 4" in text and not (tmp_path / "outputs").exists()
    assert [read_jobs(tmp_path / "sweep")[i].rows[-1]["step"] for i in (0, 1)] == [4, 6]


def test_the_study_of_penalties_has_them_all():
    study = OmegaConf.load(CONF / "sweep" / "penalties.yaml")
    own = {"wgan_gp_toy", "wgan_gp_gan_toy", "wgan_gp_gan_mnist"}  # the same with a weight for points
    assert {method.penalty for method in study.hydra.sweeper.methods.values()} == {*options("penalty")} - own


SEARCH = [
    "penalty.weight=tag(log,interval(0.1,10))",
    "n_critic=choice(1,2)",
    "generator_optimizer.lr=interval(1e-4,1e-3)",
]


def test_a_search_goes_on_where_it_stopped(call, tmp_path):
    """Each trial is a job of its own number; values are within their bounds; the table says what matters."""
    options = [*SWEEP, "steps=2", "log_every=1", *SEARCH]
    code, text = call("train", "-m", *options, "hydra.sweeper.trials=3")
    assert code == 0 and "best: job " in text
    code, text = call("train", "-m", *options, "hydra.sweeper.trials=5")
    assert code == 0 and text.count("run directory") == 2
    jobs = read_jobs(tmp_path / "sweep")
    assert [job.directory.name for job in jobs] == list("01234")
    assert all(0.1 <= float(job.overrides["penalty.weight"]) <= 10 for job in jobs)
    assert {job.overrides["n_critic"] for job in jobs} <= {"1", "2"}
    assert len({job.overrides["generator_optimizer.lr"] for job in jobs}) == 5
    assert "of the objective's variation" in call("summarize", "sweep=sweep")[1].lower()


def test_a_search_learns_from_trials_that_diverge(call, tmp_path):
    """They are pruned, to Optuna, and told in the table. The search has failed if all trials are so."""
    options = [*SWEEP, "steps=20", "log_every=1", "generator_optimizer.lr=tag(log,interval(1e30,1e31))"]
    code, text = call("train", "-m", *options, "hydra.sweeper.trials=2")
    assert code == 1 and "no trial has a score of high_quality: give other intervals" in text
    study = load_optuna().load_study(**storage(tmp_path / "sweep" / "study.log"))
    assert [trial.state.name for trial in study.trials] == ["PRUNED"] * 2
    assert "job 1 failed: step 2: " in call("summarize", "sweep=sweep")[1]


def test_hopeless_trials_are_pruned(tmp_path):
    """Six trials whose scores are their learning rates: when the last one reports the worst, it should end."""
    overrides = OverridesParser.create().parse_overrides(["lr=interval(0,1)", "steps=3"])
    study = Study(tmp_path, overrides, "fid", False, 0)
    for score in (0.1, 0.2, 0.3, 0.4, 0.5, 0.9):
        trial = study.ask()
        assert trial.overrides[0].startswith("lr=0.") and trial.overrides[1] == "steps=3"
        assert not trial.report(1, math.nan)  # a log step without the score
        assert trial.report(1, score) == (score == 0.9)
        assert study.tell(trial, score, pruned=score == 0.9)
    assert not study.tell(study.ask(), math.nan, pruned=False)
    assert study.finished() == 6
    Study(tmp_path, overrides, "fid", False, 0).ask()  # and its process is killed
    again = Study(tmp_path, overrides, "fid", False, 0).ask()
    assert again.overrides[0] == f"lr={study.study.trials[-1].params['lr']}"
