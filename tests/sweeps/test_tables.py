"""The tables and the page of a sweep, whatever its jobs' files hold."""

import csv
import json
import math
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from wgangp.machine.text import shown
from wgangp.metrics import objective
from wgangp.run_dir.lock import is_locked, locked
from wgangp.run_dir.record import has_record
from wgangp.run_dir.status import Status, write_status
from wgangp.sweeps.escape import csv_cell, markdown_cell, number
from wgangp.sweeps.jobs import (
    grouped,
    higher_is_better,
    median_interval,
    name_of_interval,
    read_job,
    read_jobs,
    swept_keys,
)
from wgangp.sweeps.plan import Plan, write_plan
from wgangp.sweeps.tables import origin, summarise_jobs


def write_job(sweep, number, overrides, scores, steps=10, error=None, monitor="eval/fid", **config):
    """A job's directory as of an older version, if there is no error; its last score is that after `steps`."""
    run = sweep / str(number)
    (run / ".hydra").mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(overrides), run / ".hydra" / "overrides.yaml")
    OmegaConf.save(OmegaConf.create({"steps": 10, "monitor": monitor} | config), run / ".hydra" / "config.yaml")
    rows = [{"step": steps * (i + 1) // len(scores), monitor: score} for i, score in enumerate(scores)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if error:
        write_status(run, Status("failed", steps, 10, reason=error))
    return run


def test_jobs_are_grouped_over_seeds_and_sorted(tmp_path):
    """Medians by hand; jobs without a score come last, and do not count."""
    for i, (weight, seed, score) in enumerate([(1, 0, 5.0), (1, 1, 7.0), (10, 0, 3.0), (10, 1, 4.0)]):
        write_job(tmp_path, i, [f"penalty.weight={weight}", f"seed={seed}", "steps=10"], [9.0, score])
    write_job(tmp_path, 4, ["penalty.weight=100", "seed=0", "steps=10"], [1.0], steps=3, error="it went wrong")
    jobs = read_jobs(tmp_path)
    assert swept_keys(jobs) == ["penalty.weight", "seed"]
    assert [job.status for job in jobs] == ["done"] * 4 + ["failed"] and jobs[4].reason == "it went wrong"
    groups = grouped(jobs, "fid")
    assert [group.values for group in groups] == [{"penalty.weight": w} for w in ("10", "1", "100")]
    assert groups[1].median("fid") == 6 and groups[1].interval("fid") == (5, 7)
    assert math.isnan(groups[2].median("fid")) and all(map(math.isnan, groups[2].interval("fid")))


def test_up_to_five_scores_have_a_range_and_no_interval():
    assert [name_of_interval(n) for n in (1, 5, 6)] == ["lowest to highest", "lowest to highest", "95 % interval"]
    assert median_interval([3.0, 1.0, 2.0, 9.0, 4.0]) == (1.0, 9.0)


def test_the_interval_of_a_median(tmp_path):
    """A resampled median of 21 distinct scores is at most the k-th if 11 of 21 draws are: a binomial probability."""
    for seed in range(21):
        write_job(tmp_path, seed, [f"seed={seed}", "steps=10"], [float(seed)])
    (group,) = grouped(read_jobs(tmp_path), "fid")

    def at_most(k):
        share = (k + 1) / 21
        return sum(math.comb(21, i) * share**i * (1 - share) ** (21 - i) for i in range(11, 22))

    low, high = next(k for k in range(21) if at_most(k) > 0.025), next(k for k in range(21) if at_most(k) > 0.975)
    assert group.median("fid") == 10 and group.interval("fid") == (low, high) == (6, 14)


def test_of_some_scores_the_highest_is_the_best(tmp_path):
    for i, score in enumerate([0.1, 0.3, 0.2]):
        write_job(tmp_path, i, [f"n_critic={i}"], [score], monitor="eval/recall")
    assert [group.values["n_critic"] for group in grouped(read_jobs(tmp_path), "recall")] == ["1", "2", "0"]
    assert all(
        objective.higher_is_better(n, ()) for n in ("recall", "eval/modes", "classifier_score", "validation/accuracy")
    )
    losses = ("fid", "critic/wasserstein", "eval/classifier_frechet", "ngram_js_4")
    assert not any(objective.higher_is_better(n, ()) for n in losses)


def test_a_running_job_is_told_from_a_dead_one(tmp_path):
    write_job(tmp_path, 0, ["seed=0"], [5.0], steps=5)
    assert read_jobs(tmp_path)[0].reason == "no status.json: the last logged step is 5 of 10"
    with locked(tmp_path / "0"):
        assert read_jobs(tmp_path)[0].status == "running"


def test_the_tables(call, tmp_path):
    for i, weight in enumerate(["0.01", "1", "100"]):
        for j, name in enumerate(["mlp", "<b>"]):
            write_job(tmp_path, 2 * i + j, [f"penalty.weight={weight}", f"critic={name}"], [8.0, float(i + j)])
    (tmp_path / "0" / "metrics.jsonl").open("a").write('{"step": 1')  # a line that a crash cut off
    code, text = call("summarize", f"sweep={tmp_path}")
    assert code == 0 and "| 0.01 | mlp | 0 |" in text
    lines = list(csv.reader((tmp_path / "summary.csv").open()))
    assert (
        lines[0] == ["job", "penalty.weight", "critic", "eval/fid", "status", "step", "seconds", "reason"]
        and len(lines) == 7
    )
    page = (tmp_path / "summary.html").read_text()
    assert page.count("data:image/png;base64,") == 3 and "&lt;b&gt;" in page and "<b>" not in page


def test_short_jobs_take_some_time_and_stopped_ones_have_a_step(call, tmp_path):
    run = write_job(tmp_path / "s", 0, ["seed=0", "n_critic=1"], [5.0])
    write_status(run, Status("done", 10, 10, seconds=3.0))
    run = write_job(tmp_path / "s", 1, ["seed=0", "n_critic=2"], [4.0], steps=6)
    write_status(run, Status("stopped", 7, 10, seconds=90.0))
    code, text = call("summarize", "sweep=s")
    assert code == 0 and "| 0.05 | 0 |" in text and "| 1.5 | 1 stopped after step 7 |" in text, text
    lines = list(csv.DictReader((tmp_path / "s" / "summary.csv").open()))
    assert [(line["step"], line["seconds"], line["status"]) for line in lines] == [
        ("10", "3.0", "done"),
        ("7", "90.0", "stopped"),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give sweep=...: "),
        (["swep=x"], "swep: there is no such key. Did you mean sweep?"),
        (["sweep=nowhere"], "sweep=nowhere: no jobs are there"),
        (["sweep={}", "objective=is"], "objective=is: no job has this scalar; there are eval/fid, step"),
    ],
)
def test_bad_input(arguments, message, call, tmp_path):
    write_job(tmp_path / "s", 0, ["seed=0"], [5.0])
    code, text = call("summarize", *(a.format(tmp_path / "s") for a in arguments))
    assert code == 1 and message in text and "Traceback" not in text


# ---- states: of status.json alone, or of the metrics where an older version wrote none


def test_a_job_is_done_only_if_its_status_says_so(tmp_path):
    """After a kill the metrics may be ahead of the last checkpoint."""
    run = write_job(tmp_path, 0, ["seed=0"], [1.0], steps=10)
    write_status(run, Status("running", 5, 10))
    (job,) = read_jobs(tmp_path)
    assert job.status == "failed" and job.reason == "its process died; the newest checkpoint is of step 5"
    assert math.isnan(job.last("fid"))
    write_status(run, Status("done", 10, 10, seconds=90))
    (job,) = read_jobs(tmp_path)
    assert (job.status, job.last("fid"), job.seconds) == ("done", 1.0, 90)


def test_a_log_cannot_forge_a_state(tmp_path):
    run = write_job(tmp_path, 0, ["seed=0"], [1.0], steps=5)
    (run / "train.log").write_text("[now][x][INFO] - pruned after step 5\n[now][x][ERROR] - forged\n")
    (job,) = read_jobs(tmp_path)
    assert job.status == "failed" and job.reason == "no status.json: the last logged step is 5 of 10"


def test_missing_jobs_are_counted(call, tmp_path):
    write_job(tmp_path / "s", 0, ["seed=0"], [1.0])
    write_plan(tmp_path / "s", Plan("2026-01-31 12:00", {str(i): [f"seed={i}"] for i in range(5)}))
    text = call("summarize", "sweep=s")[1]
    assert "5 jobs, 1 done, 4 not started; eval/fid, lower is better, best first" in text
    assert "4 jobs have not started: if the sweep was ended, give its command again with hydra.sweep.dir=s" in text
    write_plan(tmp_path / "s", Plan("2026-01-31 12:00", trials=30))
    assert "30 jobs, 1 done, 29 not started" in call("summarize", "sweep=s")[1]


# ---- objectives


@pytest.mark.parametrize("monitor", ["critic/wasserstein", "critic/loss", "validation/critic_loss", "generator/loss"])
def test_without_a_score_there_is_no_best(monitor, call, tmp_path):
    """The critic's own estimate scales with lambda: the jobs stay in their order, and the sweep says why."""
    for i, weight in enumerate([10, 1, 100]):
        write_job(tmp_path / "s", i, [f"penalty.weight={weight}"], [float(weight)], monitor=monitor)
    text = call("summarize", "sweep=s")[1]
    assert f"; {monitor}, in the jobs' order" in text and "so no job is the best" in text
    assert text.index("| 10 |") < text.index("| 1 |") < text.index("| 100 |")
    page = (tmp_path / "s" / "summary.html").read_text()
    assert 'class="best"' not in page and "is better" not in page


def test_the_direction_of_a_users_own_score_is_its_status(tmp_path):
    for i, score in enumerate([1.0, 3.0, 2.0]):
        run = write_job(tmp_path, i, [f"n_critic={i}"], [score], monitor="eval/sharpness")
        write_status(run, Status("done", 10, 10, monitor="eval/sharpness", higher_is_better=True))
    assert [group.values["n_critic"] for group in grouped(read_jobs(tmp_path), "eval/sharpness")] == ["1", "2", "0"]


def test_the_table_of_jobs_has_all_final_scores_and_names(call, tmp_path):
    run = write_job(tmp_path / "s", 0, ["seed=0"], [5.0], name="first")
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 10, "eval/recall": 0.5, "validation/accuracy": 0.25, "critic/loss": 1.0}) + "\n")
    write_job(tmp_path / "s", 1, ["seed=1"], [6.0], name="second")
    text = call("summarize", "sweep=s", "objective=fid")[1]
    head, *lines = csv.reader((tmp_path / "s" / "summary.csv").open())
    scores = ["fid", "eval/recall", "validation/accuracy"]
    assert head == ["job", "name", "seed", *scores, "status", "step", "seconds", "reason"]
    assert lines[0][:6] == ["0", "first", "0", "5.0", "0.5", "0.25"] and lines[1][:6] == [
        "1",
        "second",
        "1",
        "6.0",
        "",
        "",
    ]
    assert "| first, second | 5.5 |" in text


# ---- files of strangers


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
BAD = {
    "empty": b"",
    "not UTF-8": b"\xff\xfe- seed=0\n",
    "no list": b"seed: 0\n",
    "no texts": b"- 1\n- [2]\n",
    "aliases": BOMB.encode(),
    "deep": b"[" * 300_000,
    "a tag": b"!!python/object/apply:os.system ['touch marker']\n",
    "huge numbers": b'{"step": 1e308, "eval/fid": 1e308, "seconds": 1e999}\\n{"step": -1e308, "eval/fid": 1e-308}\\n',
    "other types": b'{"step": [], "state": "done", "seconds": "x", "reason": {}, "monitor": 1, "command": {}}\\n',
    "binary": bytes(range(256)) * 100,
}


@pytest.mark.parametrize("place", [".hydra/config.yaml", "metrics.jsonl", "status.json", "environment.json", "samples"])
def test_folders_in_the_place_of_files_and_the_reverse(place, call, tmp_path):
    run = write_job(tmp_path / "s", 0, ["seed=0"], [5.0])
    write_job(tmp_path / "s", 1, ["seed=1"], [6.0])
    (run / place).unlink(missing_ok=True)
    (run / place).write_text("") if place == "samples" else (run / place).mkdir()
    code, text = call("summarize", "sweep=s")
    assert code == 0 and "2 jobs" in text and "Traceback" not in text


def test_a_folder_without_permission_is_a_failed_job():
    """As another user than root, who may read everything."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    run = write_job(folder, 0, ["seed=0"], [5.0])
    run.chmod(0)
    try:
        if os.geteuid() == 0:
            os.seteuid(65534)
        assert not has_record(run) and not is_locked(run) and read_job(run).status == "failed"
    finally:
        os.seteuid(os.getuid())
        run.chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.parametrize("file", ["overrides.yaml", "config.yaml", "metrics.jsonl", "status.json", "environment.json"])
def test_bad_files_do_not_stop_the_table(file, call, tmp_path):
    """A job for each kind of content, and a sound one."""
    for i, content in enumerate(BAD.values()):
        run = write_job(tmp_path / "s", i, ["seed=0"], [5.0])
        (run / (f".hydra/{file}" if file in ("overrides.yaml", "config.yaml") else file)).write_bytes(content)
    write_job(tmp_path / "s", 99, ["seed=1"], [6.0])
    start = time.monotonic()
    code, text = call("summarize", "sweep=s")
    assert code == 0 and f"{len(BAD) + 1} jobs" in text and time.monotonic() - start < 60
    assert not (tmp_path / "marker").exists()
    *bad, sound = csv.DictReader((tmp_path / "s" / "summary.csv").open())
    assert sound["status"] == "done" and sound["eval/fid"] == "6.0"
    if file == "overrides.yaml":
        assert all(line["status"] == "failed" and "overrides.yaml" in line["reason"] for line in bad)


def test_interpolations_are_never_resolved(call, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "abracadabra")
    secret = "${oc.env:SECRET}"
    write_job(tmp_path / "s", 0, [f"seed={secret}", "a=${oc.env:SECRET}"], [5.0], name=secret, monitor="eval/fid")
    write_job(tmp_path / "s", 1, ["seed=1"], [5.0], name="\\x24{oc.env:SECRET}")
    code, text = call("summarize", "sweep=s")
    written = "".join((tmp_path / "s" / f"summary.{kind}").read_text() for kind in ("csv", "md", "html"))
    assert code == 0 and "abracadabra" not in text + written and "${oc.env:SECRET}" in text


@pytest.mark.parametrize("file", ["metrics.jsonl", ".hydra/config.yaml", ".hydra/overrides.yaml", "status.json"])
def test_pipes_and_devices_are_not_read(file, call, tmp_path):
    run = write_job(tmp_path / "s", 0, ["seed=0"], [5.0])
    (run / file).unlink(missing_ok=True)
    if file == "status.json":
        (run / file).symlink_to("/dev/null")
    else:
        os.mkfifo(run / file)
    assert call("summarize", "sweep=s")[0] == 0


def test_links_out_of_the_sweep_are_neither_shown_nor_written(call, tmp_path):
    run, secret = write_job(tmp_path / "s", 0, ["seed=0"], [5.0]), tmp_path / "secret.png"
    Image.new("RGB", (4, 4), "red").save(secret)
    before = secret.read_bytes()
    (run / "samples").mkdir()
    (run / "samples" / "step_00000010.png").symlink_to(secret)
    for kind in ("csv", "md", "html"):
        (tmp_path / "s" / f"summary.{kind}").symlink_to(secret)
    assert call("summarize", "sweep=s")[0] == 0
    assert secret.read_bytes() == before and "Samples" not in (tmp_path / "s" / "summary.html").read_text()


def test_a_sweep_that_cannot_be_written_into_is_shown(call, tmp_path, monkeypatch):
    def refuse(path, text):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("wgangp.summarize.replace_text", refuse)
    write_job(tmp_path / "s", 0, ["seed=0"], [5.0])
    code, text = call("summarize", "sweep=s")
    assert code == 1 and "| 5 |" in text and "s cannot be written into (Permission denied): copy the sweep" in text


HOSTILE = "<img src=x onerror=alert(1)>|\x1b]0;title\x07\x1b[31m\u202e=1+2"


def test_hostile_names_stay_text_everywhere(call, tmp_path):
    """In overrides, names, reasons, monitors, directories and environments."""
    run = write_job(tmp_path / "s", "javascript:alert(1)<b>", [f"{HOSTILE}={HOSTILE}"], [5.0], name=HOSTILE)
    write_job(tmp_path / "s", "\x1b[31m=cmd|", ["n_critic=2"], [6.0], error=HOSTILE)
    (run / "environment.json").write_text(json.dumps({"command": [HOSTILE, 1], "commit": HOSTILE}))
    code, text = call("summarize", "sweep=s")
    assert code == 0 and "\x1b" not in text and "\x07" not in text and "\u202e" not in text
    page, table = ((tmp_path / "s" / f"summary.{kind}").read_text() for kind in ("html", "md"))
    assert "<img src=x" not in page and "<b>" not in page and 'href="./javascript%3Aalert%281%29%3Cb%3E/"' in page
    assert "<img src=x" not in table and all(
        len(re.findall(r"(?<!\\)\|", line)) == 9 for line in table.splitlines() if line[:1] == "|"
    )
    for line in csv.reader((tmp_path / "s" / "summary.csv").open()):
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in line)


@given(st.text())
def test_escaped_text_is_one_harmless_line(text):
    assert shown(text).isprintable() and shown(shown(text)) == shown(text)
    assert not re.search(r"(?<!\\)(\\\\)*\|", markdown_cell(text)) and "<" not in markdown_cell(text)
    cell = csv_cell(text)
    assert cell[:1] not in ("=", "@") and (cell[:1] not in ("+", "-") or number(cell) is not None)


def test_negative_numbers_stay_numbers():
    assert [csv_cell(text) for text in ("-0.5", "+1", "=1", "-x", "@a")] == ["-0.5", "+1", "'=1", "'-x", "'@a"]


# ---- the page


def test_the_page(call, tmp_path):
    """Numbers to the right, the direction, where it comes from, links to the jobs, and the best three jobs' samples."""
    for i in range(5):
        run = write_job(tmp_path / "s", i, [f"n_critic={i}"], [float(i)])
        (run / "samples").mkdir()
        Image.new("RGB", (4, 4)).save(run / "samples" / "step_00000010.png")
        environment = {"command": ["wgangp-train", "-m", "n_critic=0,1,2,3,4"], "commit": "0123abc"}
        (run / "environment.json").write_text(json.dumps(environment))
    write_plan(tmp_path / "s", Plan("2026-01-31 12:00", {str(i): [f"n_critic={i}"] for i in range(5)}))
    call("summarize", "sweep=s")
    page = (tmp_path / "s" / "summary.html").read_text()
    for part in (
        "n_critic=0,1,2,3,4",
        "0123abc",
        "2026-01-31 12:00",
        "lower is better",
        '<td class="n">4</td>',
        'href="./4/"',
    ):
        assert part in page, part
    assert page.count("<figcaption>") == 3 and re.findall(r"<figcaption>job (\d)", page) == ["0", "1", "2"]
    assert page.count("data:image/png;base64,") == 2 + 3


def test_whole_keys_have_whole_ticks():
    from matplotlib.figure import Figure

    from wgangp.sweeps.figures import set_ticks

    axes = Figure().add_subplot()
    axes.plot([1, 2, 5, 10], [0, 0, 0, 0])
    set_ticks(axes, "x", [1, 2, 5, 10])
    assert axes.get_xscale() == "log" and list(axes.xaxis.get_major_locator()()) == [1, 2, 5, 10]
    assert [axes.xaxis.get_major_formatter()(x) for x in (1, 10)] == ["1", "10"]
    many = [float(x) for x in range(3, 23)]
    axes = Figure().add_subplot()
    axes.plot(many, many)
    set_ticks(axes, "x", many)
    assert all(tick == int(tick) for tick in axes.xaxis.get_major_locator()())


def test_trials_that_differ_in_a_late_digit_are_no_seeds_of_one_another(tmp_path):
    for i, rate in enumerate(("1.2340123e-4", "1.2339951e-4")):
        write_job(tmp_path, i, [f"lr={rate}", "seed=0"], [1.0 + i])
    jobs = read_jobs(tmp_path)
    assert len(grouped(jobs, "fid")) == 2
    assert [line[0] for line in summarise_jobs(tmp_path, jobs, "fid", []).lines] == ["0.0001234", "0.0001234"]


def test_the_direction_of_an_own_score_is_the_recorded_one_under_both_its_names(tmp_path):
    for i in range(2):
        run = write_job(tmp_path, i, [f"seed={i}"], [1.0 + i], monitor="eval/own")
        write_status(run, Status("done", 10, 10, monitor="eval/own", higher_is_better=True, value=1.0 + i))
    jobs = read_jobs(tmp_path)
    assert higher_is_better(jobs, "own") and higher_is_better(jobs, "eval/own")


def test_a_recorded_direction_wins_over_that_of_our_score_of_the_same_name(tmp_path):
    run = write_job(tmp_path, 0, ["seed=0"], [1.0], monitor="eval/recall")
    write_status(run, Status("done", 10, 10, monitor="eval/recall", higher_is_better=False, value=1.0))
    assert not higher_is_better(read_jobs(tmp_path), "eval/recall")


def test_a_pipe_in_place_of_a_jobs_environment_does_not_stop_the_table(tmp_path):
    os.mkfifo(write_job(tmp_path, 0, ["seed=0"], [1.0]) / "environment.json")
    assert "command" not in origin(tmp_path, read_jobs(tmp_path))
