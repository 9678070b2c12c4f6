"""How sweeps start, end and go on: directories, locks, journals, signals."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from wgangp.run_dir.lock import is_locked, locked
from wgangp.run_dir.status import read_status
from wgangp.sweeps.jobs import read_jobs
from wgangp.sweeps.plan import Plan, PlannedJob, check_names, read_plan, set_aside, write_plan
from wgangp.sweeps.search import Study, StudyTrial, check_journal, importances, load_optuna, storage

SMALL = ["steps=2", "batch_size=16", "generator.width=8", "critic.width=8", "evaluation_samples=100", "log_every=1"]
SWEEP = [*SMALL, "sample_every=0", "hydra.sweep.dir=sweep", "monitor=high_quality"]
REFUSED = ["n_critic=0"]  # quick: no job trains


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


# ---- directories


def test_jobs_lie_where_the_user_wants_them(call, tmp_path):
    """`hydra.sweep.subdir` with a job's overrides, a value and its number; also of jobs that are refused."""
    subdir = "hydra.sweep.subdir=w_${penalty.weight}/n${hydra:job.num}_${seed}"
    code, text = call("train", "-m", *SWEEP, subdir, "penalty.weight=1,10", "seed=3")
    assert code == 0, text
    assert [job.id for job in read_jobs(tmp_path / "sweep")] == ["w_1/n0_3", "w_10/n1_3"]
    assert "2 of them done before" in call("train", "-m", *SWEEP, subdir, "penalty.weight=1,10", "seed=3")[1]
    text = call("summarize", "sweep=sweep")[1]
    assert "w_10/n1_3" in text and 'href="./w_10/n1_3/"' in (tmp_path / "sweep" / "summary.html").read_text()


@pytest.mark.parametrize(
    ("subdir", "message"),
    [
        ("same", "jobs 0 and 1 would share this directory"),
        ("s${seed}", "jobs 0 and 1 would share this directory"),
        ("../${penalty.weight}", "give a name below the sweep's directory"),
        ("/tmp/${penalty.weight}", "give a name below the sweep's directory"),
        (".hydra/${penalty.weight}", "give a name below the sweep's directory"),
    ],
)
def test_directories_that_jobs_cannot_have(subdir, message, call, tmp_path):
    code, text = call("train", "-m", *SWEEP, f"hydra.sweep.subdir={subdir}", "penalty.weight=1,10")
    assert code == 1 and message in text and names(tmp_path / "sweep") == []


def test_sweeps_that_start_together_have_directories_of_their_own(call, tmp_path):
    """The default name has the time in it: the second start within its unit takes another name."""
    for _ in range(3):
        call("train", "-m", *SMALL, *REFUSED, "hydra.sweep.dir='s_${now:%Y}'", "seed=0,1")
    (first, *_) = names(tmp_path)
    assert names(tmp_path) == [first, f"{first}-2", f"{first}-3"]
    assert all(names(tmp_path / name) == ["0", "1"] for name in names(tmp_path))


@pytest.mark.parametrize("name", ["2024_01_31", "a b, [1] = 'ö' \\\\ (x)", "007"])
def test_directories_of_any_name(name, call, tmp_path):
    quoted = name if name[0] in "02" else '"' + name + '"'
    call("train", "-m", *SMALL, *REFUSED, f"hydra.sweep.dir={quoted}", "seed=0,1")
    assert names(tmp_path) == [name] and names(tmp_path / name) == ["0", "1"]


def test_a_directory_below_home(call, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    call("train", "-m", *SMALL, *REFUSED, "hydra.sweep.dir='~/s'", "seed=0,1")
    assert names(tmp_path / "home" / "s") == ["0", "1"]


def test_a_sweep_in_use_is_not_written_into(call, tmp_path):
    """Neither by a grid nor by a search: the first sweep's record stays its own."""
    (tmp_path / "sweep").mkdir()
    for swept in ("seed=0,1", "penalty.weight=interval(1,2)"):
        with locked(tmp_path / "sweep"):
            code, text = call("train", "-m", *SWEEP, swept)
        assert code == 1 and "is in use" in text
        assert [p.name for p in (tmp_path / "sweep").iterdir() if p.name != ".lock"] == []


def test_a_directory_that_cannot_be_made(call, tmp_path):
    (tmp_path / "file").write_text("")
    code, text = call("train", "-m", *SMALL, "hydra.sweep.dir=file/sweep", "seed=0,1")
    assert code == 1 and "give another hydra.sweep.dir" in text and "Traceback" not in text


def test_another_sweep_is_refused_before_anything_is_written(call, tmp_path):
    call("train", "-m", *SWEEP, *REFUSED, "seed=0,1")
    before = (tmp_path / "sweep" / "multirun.yaml").read_bytes(), (tmp_path / "sweep" / "sweep.json").read_bytes()
    for swept in ("seed=1,2", "penalty.weight=interval(1,2)"):
        code, text = call("train", "-m", *SWEEP, *REFUSED, swept)
        assert code == 1 and "is of another sweep" in text
    assert before == (
        (tmp_path / "sweep" / "multirun.yaml").read_bytes(),
        (tmp_path / "sweep" / "sweep.json").read_bytes(),
    )


# ---- going on


def test_a_job_that_was_resumed_to_more_steps_is_done(call, tmp_path):
    assert call("train", "-m", *SWEEP, "seed=0,1")[0] == 0
    assert call("resume", "run=sweep/1", "steps=4")[0] == 0
    code, text = call("train", "-m", *SWEEP, "seed=0,1")
    assert code == 0 and "2 jobs, 2 of them done before" in text
    (tmp_path / "sweep" / "sweep.json").unlink()  # as of an older version
    assert "2 of them done before" in call("train", "-m", *SWEEP, "seed=0,1")[1]
    (tmp_path / "sweep" / "0" / ".hydra" / "overrides.yaml").write_text("")  # and one bad job stops nothing
    assert "2 of them done before" in call("train", "-m", *SWEEP, "seed=0,1")[1]


def test_a_refused_job_has_its_reason_in_its_status(call, tmp_path):
    code, _ = call("train", "-m", *SWEEP, "penalty=wgn_gp,wgan_gp", *REFUSED)
    reasons = [read_status(tmp_path / "sweep" / str(i)).reason for i in (0, 1)]
    assert code == 1 and reasons[0].startswith("penalty=wgn_gp: there is no such option.")
    assert reasons[1].startswith("n_critic=0: give a whole number of at least 1")
    assert [job.overrides["penalty"] for job in read_jobs(tmp_path / "sweep")] == ["wgn_gp", "wgan_gp"]


# ---- searches


def test_a_search_needs_a_score(call, tmp_path):
    for monitor in ("critic/wasserstein", "validation/critic_loss"):
        code, text = call(
            "train", "-m", *SMALL, "hydra.sweep.dir=s", f"monitor={monitor}", "penalty.weight=interval(1,2)"
        )
        assert code == 1 and f"monitor={monitor}: a search needs a score" in text and not (tmp_path / "s").exists()


def test_a_pruned_trial_ends_its_job(call, tmp_path, monkeypatch):
    """The trial reaches the run as an argument, and the run's state reaches the study as status.json."""
    reports = []
    monkeypatch.setattr(StudyTrial, "report", lambda self, step, value: not reports.append((self.number, step)))
    options = [*SWEEP, "steps=9", "evaluate_every=2", "penalty.weight=interval(1,2)", "hydra.sweeper.trials=2"]
    code, text = call("train", "-m", *options)
    assert reports == [(0, 2), (1, 2)] and "2 of 2 trials ended" in text
    assert code == 1 and "no trial has a score of high_quality: give other intervals" in text
    assert [job.status for job in read_jobs(tmp_path / "sweep")] == ["pruned"] * 2
    kept = [path.name for path in (tmp_path / "sweep").glob("*/checkpoints/step_*.pt")]
    assert kept == ["step_00000002.pt"] * 2, "a step after the pruned one"
    study = load_optuna().load_study(**storage(tmp_path / "sweep" / "study.log"))
    assert [trial.state.name for trial in study.trials] == ["PRUNED"] * 2
    code, text = call("train", "-m", *SWEEP, "penalty.weight=interval(1,2)", "monitor=eval/modes")
    assert code == 1 and "is a search for monitor=high_quality" in text


def study_of(folder, n=3):
    study = Study(folder, OverridesParser.create().parse_overrides(["lr=interval(0,1)"]), "fid", False, 0)
    for trial in study.unfinished():
        study.skip(trial)
    for score in range(n):
        study.tell(study.ask(), score, pruned=False)
    return study


def test_a_cut_journal_is_repaired(tmp_path, caplog):
    study_of(tmp_path)
    file = tmp_path / "study.log"
    lines = file.read_bytes().splitlines(keepends=True)
    for cut in range(1, len(lines[-1])):
        file.write_bytes(b"".join(lines[:-1]) + lines[-1][:cut])
        check_journal(file, repair=True)
        assert file.read_bytes() == b"".join(lines[:-1])
    assert "study.log: the last line is cut, and removed" in caplog.text
    assert study_of(tmp_path, 1).finished() == 3  # the trial whose score was cut was done again


def test_a_search_goes_on_with_a_journal_cut_anywhere(tmp_path):
    study_of(tmp_path)
    whole = (tmp_path / "study.log").read_bytes()
    for cut in range(0, len(whole), 41):
        (tmp_path / "study.log").write_bytes(whole[:cut])
        assert 1 <= study_of(tmp_path, 1).finished() <= 4
        (tmp_path / "study.log").write_bytes(whole[:cut])
        assert all(note.startswith("no importances: ") for note in importances(tmp_path))


@pytest.mark.parametrize("line", [b"", b"{", b"\xff\xfe", b"[1]", b"[" * 100_000])
def test_a_damaged_journal_is_named(line, tmp_path, call):
    study_of(tmp_path)
    file = tmp_path / "study.log"
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([lines[0], line, *lines[2:], b""]))
    with pytest.raises(
        ValueError, match=r"study\.log is damaged in line 2: restore it, or give another hydra\.sweep\.dir"
    ):
        study_of(tmp_path)
    assert "study.log is damaged in line 2" in importances(tmp_path)[0]


def test_a_journal_of_other_content_does_not_stop_the_table(tmp_path):
    for record in ({}, {"op_code": 99}, {"op_code": 4, "worker_id": 1}, {"op_code": "x", "worker_id": []}):
        (tmp_path / "study.log").write_text(json.dumps(record) + "\n")
        assert importances(tmp_path)[0].startswith("no importances: ")


def test_a_journal_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "other").write_text("")
    (tmp_path / "study.log").symlink_to(tmp_path / "other")
    with pytest.raises(ValueError, match="is a link"):
        study_of(tmp_path)
    assert (tmp_path / "other").read_text() == ""


def test_a_stale_lock_of_the_journal_expires(tmp_path, monkeypatch):
    """Optuna's lock is a link; one with a relative path was taken for a living one for ever."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep").mkdir()
    os.symlink("sweep/study.log", "sweep/study.log.lock")
    start = time.monotonic()
    study_of(tmp_path.joinpath("sweep").relative_to(tmp_path))
    assert time.monotonic() - start < 20


def test_a_trial_whose_number_was_cut_from_the_journal_takes_another_directory(call, tmp_path):
    options = [*SWEEP, "penalty.weight=interval(1,2)"]
    assert call("train", "-m", *options, "hydra.sweeper.trials=1")[0] == 0
    (tmp_path / "sweep" / "study.log").unlink()
    code, text = call("train", "-m", *options, "hydra.sweeper.trials=1")
    assert code == 1 and "is of another sweep" in text
    study = Study(tmp_path / "sweep", [], "high_quality", True, 0)  # a journal of which all trials were cut
    assert study.finished() == 0
    before = (tmp_path / "sweep" / "0" / "metrics.jsonl").read_bytes()
    assert call("train", "-m", *options, "hydra.sweeper.trials=1")[0] == 0
    assert names(tmp_path / "sweep") == ["0", "1"]
    assert (tmp_path / "sweep" / "0" / "metrics.jsonl").read_bytes() == before


# ---- comparisons

METHODS = "{lp: {penalty: wgan_lp, n_critic: 1}, none: {penalty: none, critic_optimizer.lr: 1e-5}}"
COMPARISON = [
    *("hydra.sweeper._target_=hydra_plugins.wgangp_comparison.Comparison", f"+hydra.sweeper.methods={METHODS}"),
    *("+hydra.sweeper.seeds=3", "hydra.sweeper.trials=2", "n_critic=2", "seed=10"),
    "+hydra.sweeper.params={critic_optimizer.lr: 'interval(1e-4,1e-3)', generator_optimizer.lr: 'interval(1e-4,1e-3)'}",
]


def test_methods_are_compared_at_their_best(call, tmp_path):
    """Each method is searched in the same way, then judged by seeds that the search did not see, never pruned."""
    command = ["train", "-m", *SWEEP, *COMPARISON]
    code, text = call(*command)
    assert code == 0 and "each method at its best: wgangp-summarize sweep=sweep/seeds" in text, text
    for method in ("lp", "none"):
        searched, judged = (
            read_jobs(tmp_path / "sweep" / "search" / method),
            read_jobs(tmp_path / "sweep" / "seeds" / method),
        )
        assert [job.overrides["seed"] for job in searched] == ["10"] * 2
        assert [job.overrides["seed"] for job in judged] == ["11", "12", "13"]
        best = max(searched, key=lambda job: job.last("high_quality"))
        assert all(job.overrides | {"seed": "10"} == best.overrides and job.name == method for job in judged)
        assert all(job.overrides["n_critic"] == "2" for job in searched)  # typed: wins over the method's
    lp, none = (read_jobs(tmp_path / "sweep" / "search" / method) for method in ("lp", "none"))
    assert {job.overrides["critic_optimizer.lr"] for job in none} == {"1e-05"}  # the method's: wins over params
    assert {job.overrides["critic_optimizer.lr"] for job in lp}.isdisjoint({"1e-05"})
    code, text = call("summarize", "sweep=sweep/seeds")
    assert code == 0 and "6 jobs, 6 done" in text and "| lp |" in text
    done = {file: file.read_bytes() for file in (tmp_path / "sweep").rglob("metrics.jsonl")}
    assert call(*command)[0] == 0  # nothing is repeated
    assert done == {file: file.read_bytes() for file in (tmp_path / "sweep").rglob("metrics.jsonl")}
    code, text = call(*command, "dataset=gaussians8")
    assert code == 1 and text.count("is of another sweep") == 2 and "2 of 2 methods failed: lp, none" in text, text


def test_seeds_of_values_that_are_no_longer_the_best_are_kept(tmp_path):
    """More trials were asked for, and have found others."""
    judged, earlier = tmp_path / "seeds" / "r1", tmp_path / "earlier"
    for i, value in enumerate((1, 1, 2, 3)):
        set_aside(judged, earlier, [[f"penalty.weight={value}", f"seed={seed}"] for seed in range(i)])
        judged.mkdir(parents=True, exist_ok=True)
        write_plan(judged, Plan("now", {"0": [f"penalty.weight={value}", "seed=0"]}))
    kept = [read_plan(earlier / name).jobs["0"][0] for name in ("r1", "r1-2")]
    assert kept == ["penalty.weight=1", "penalty.weight=2"] and len(list(earlier.iterdir())) == 2


def test_a_method_that_fails_does_not_stop_the_others(call, tmp_path):
    methods = "+hydra.sweeper.methods={bad: {penalty: nosuch}, none: {penalty: none}}"
    options = [o for o in COMPARISON if "methods=" not in o and "trials=" not in o and "seeds=" not in o]
    few = [methods, "+hydra.sweeper.seeds=1", "hydra.sweeper.trials=1"]
    code, text = call("train", "-m", *SWEEP, *options, *few)
    assert code == 1 and text.splitlines()[-1] == "1 of 2 methods failed: bad", text
    assert [job.status for job in read_jobs(tmp_path / "sweep" / "seeds" / "none")] == ["done"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("hydra.sweeper.trials=0", "hydra.sweeper.trials=0: give a whole number of at least 1"),
        ("hydra.sweeper.trials=2.5", "hydra.sweeper.trials=2.5: give a whole number"),
        ("++hydra.sweeper.seeds=abc", "hydra.sweeper.seeds=abc: give a whole number"),
        ("++hydra.sweeper.methods=null", "hydra.sweeper.methods: give at least one"),
    ],
)
def test_numbers_of_a_comparison_are_checked_first(call, tmp_path, given, told):
    code, text = call("train", "-m", *SWEEP, *COMPARISON, given)
    assert code == 1 and told in text and not list(tmp_path.glob("sweep/*/*/*")), text


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("penalty.weight=interval(100,1)", "penalty.weight=interval(100,1): "),
        ("penalty.weight=glob(*)", "penalty.weight=glob(*) has no value"),
        ("experiment=glob(laptop/*)", "experiment=glob(laptop/*) has no value"),
        ("seed=0,0", "jobs 0 and 1 are the same"),
    ],
)
def test_values_that_make_no_sweep(call, tmp_path, override, told):
    code, text = call("train", "-m", *SWEEP, override)
    assert code == 1 and told in text, text
    assert "no value" not in told or not any(tmp_path.glob("*/*"))


# ---- signals


def test_a_terminated_sweep_ends_its_workers(tmp_path):
    """SIGTERM to the sweep alone: its workers finish their steps and save, and nothing trains on."""
    options = [*SWEEP, "steps=100000", "compile=false", "log_every=0", "checkpoint_every=20", "seed=0,1,2,3"]
    command = [sys.executable, "-m", "wgangp.train", "-m", *options, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    log = open(tmp_path / "log", "w")  # noqa: SIM115
    process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    runs = [tmp_path / "sweep" / str(i) for i in range(4)]
    try:
        while sum(any(run.glob("checkpoints/step_*.pt")) for run in runs) < 2:
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 143, (tmp_path / "log").read_text()
        assert not any(is_locked(run) for run in runs)
        assert [read_status(run).state for run in runs[:2]] == ["stopped"] * 2
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        log.close()


@pytest.mark.parametrize("subdir", [[], ["hydra.sweep.subdir=job_${hydra.job.num}"]])
def test_a_trial_that_had_ended_when_its_search_was_killed_is_taken_over(call, tmp_path, monkeypatch, subdir):
    """A scheduler kills a search while the trial that is done is told to the study."""
    search = [*SWEEP, "penalty.weight=interval(1,2)", "hydra.sweeper.trials=2", *subdir]

    def killed(self, trial, score, pruned):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Study, "tell", killed)
        assert call("train", "-m", *search)[0] != 0
    code, text = call("train", "-m", *search)
    jobs = read_jobs(tmp_path / "sweep")
    assert code == 0 and len(jobs) == 2 and len({job.overrides["penalty.weight"] for job in jobs}) == 2, text


def test_names_that_no_disk_takes_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"makes a name of 300 bytes for job 0, and disks take 255"):
        check_names([PlannedJob(0, "y" * 300, ["name=y"])])
