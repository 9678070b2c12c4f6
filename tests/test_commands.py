"""The real commands at toy size: what they write, how they resume, what they say to bad input."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_command, start_command
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import wgangp
from wgangp.run_dir.checkpoint import load_checkpoint, newest_checkpoint

SMALL = ["n_critic=2", "batch_size=16", "generator.width=8", "critic.width=8", "evaluation_samples=200", "log_every=5"]
TAGS = {
    *["critic/loss", "critic/wasserstein", "critic/penalty", "critic/gradient_norm", "critic/real", "critic/fake"],
    *["critic/weight_gradient_norm", "generator/loss", "generator/weight_gradient_norm", "penalty/weight"],
    *["throughput/images_per_second", "throughput/steps_per_second"],
}

SCORES = {"eval/modes", "eval/high_quality", "eval/sliced_wasserstein"}


def digits(path, n=64, size=8):
    """A small labelled image dataset with a held-out part."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    labels = np.arange(n) % 4
    np.savez(path, images=images, labels=labels, test_images=images[:20], test_labels=labels[:20])
    return path


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_directory_has_all_that_the_contract_names(call, tmp_path):
    code, text = call("train", *SMALL, "steps=10", "sample_every=5", "checkpoint_every=5", "seed=3")
    assert code == 0, text
    (run,) = (tmp_path / "outputs" / "gaussians25").iterdir()
    assert "eval/modes = " in text and "eval/high_quality = " in text and str(run / "samples/step_00000010.png") in text
    assert {p.name for p in run.iterdir() if not p.name.startswith("events")} == {
        *(".hydra", ".lock", "train.log", "checkpoints", "samples", "metrics.jsonl", "evaluation.json"),
        "environment.json",
        "status.json",
    }
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == [
        *("best.json", "best.pt", "step_00000005.pt", "step_00000010.pt")
    ]
    assert Image.open(run / "samples" / "step_00000005.png").size == (700, 660)

    assert [row["step"] for row in rows(run)] == [5, 10]
    assert all(row["images_seen"] == row["step"] * 2 * 16 for row in rows(run))
    assert rows(run)[0].keys() >= TAGS and rows(run)[1].keys() >= SCORES

    scores = json.loads((run / "evaluation.json").read_text())
    assert scores["step"] == 10 and scores["metrics"].keys() == SCORES
    assert all(how["samples"] == 200 for how in scores["measured_with"].values())

    events = EventAccumulator(str(run), size_guidance={"histograms": 0}).Reload()
    assert set(events.Tags()["scalars"]) == {*TAGS, *SCORES}
    assert events.Tags()["histograms"] == ["critic/gradient_norms"] and events.Tags()["images"] == ["samples"]
    assert [e.step for e in events.Scalars("critic/loss")] == [5, 10]
    assert events.Scalars("critic/loss")[1].value == pytest.approx(rows(run)[1]["critic/loss"], rel=1e-6)
    shown = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    hparams = HParamsPluginData.FromString(shown).session_start_info.hparams
    assert hparams["generator"].string_value == "mlp_small" and hparams["steps"].number_value == 10


def images(path):
    return ["dataset=array", f"dataset.path={path}", "generator.width=4", "critic.width=4", "batch_size=8"]


DCGAN = ["generator=dcgan", "critic=dcgan"]


def test_images_log_the_held_out_loss_and_a_grid(call, tmp_path):
    code, text = call("train", *images(digits(tmp_path / "d.npz")), *DCGAN, "steps=2", "hydra.run.dir=run")
    assert code == 0, text
    assert np.isfinite(rows(tmp_path / "run")[0]["validation/critic_loss"])
    assert Image.open(tmp_path / "run/samples/step_00000002.png").size == (8 * 10 + 2, 8 * 10 + 2)


@pytest.mark.parametrize("conditional", ["true", "false"])
def test_sampling(call, tmp_path, conditional):
    data = images(digits(tmp_path / "d.npz"))
    call("train", *data, *DCGAN, "steps=2", "hydra.run.dir=run", f"conditional={conditional}")
    grids = ((182, 70), (32, 70)) if conditional == "true" else ((82, 82), (32, 22))  # a row for each of 4 classes
    sizes = (([], grids[0]), (["n=3", "interpolate=true"], (82, 32)), (["n=5", "seed=7"], grids[1]))
    for options, size in sizes:
        code, text = call("sample", "run=run", *options)
        assert code == 0 and Image.open(text.strip()).size == size
    label = ["label=2"] if conditional == "true" else []
    code, text = call("sample", "run=run", "format=files", "n=5", "out=faces", *label)
    assert code == 0 and sorted(p.name for p in Path("faces").iterdir()) == [f"00000{i}.png" for i in range(5)]

    generator = wgangp.load_generator("run")
    assert not generator.training and generator.nz == 128
    z, y = torch.randn(6, 128), torch.arange(6) % 4
    x = generator(z, y)
    assert x.shape == (6, 3, 8, 8) and x.abs().max() <= 1
    assert not torch.equal(x, wgangp.load_generator("run", ema=False)(z, y))
    one_by_one = [wgangp.load_generator("run", batchnorm="running")(z[:k], y[:k])[0] for k in (1, 6)]
    torch.testing.assert_close(*one_by_one)  # with running averages the others do not matter


def test_text_from_training_to_samples_and_scores(call, tmp_path):
    lines = [f"{'a' * (i % 7)}{chr(98 + i % 5)} {i}" for i in range(200)]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    small = ["dataset.length=8", "dataset.held_out=20", "generator.width=8", "critic.width=8", "batch_size=8"]
    code, text = call("train", "dataset=text", "dataset.path=lines.txt", *small, "steps=3", "hydra.run.dir=run")
    assert code == 0, text
    assert {f"eval/ngram_js_{n}" for n in (1, 2, 3, 4)} <= rows(Path("run"))[-1].keys()
    assert Image.open("run/samples/step_00000003.png").size[1] > 32 * 8  # 32 lines
    code, text = call("sample", "run=run", "n=5", "format=files")
    samples = Path(text.strip()).read_text(encoding="utf-8").splitlines()
    assert code == 0 and len(samples) == 5 and all(len(line) == 8 for line in samples)
    assert call("sample", "run=run", "n=5")[0] == 0 and Path("run/samples/seed_0_step_00000003_n_5.png").exists()
    assert call("evaluate", "run=run", "n=50")[0] == 0


@pytest.mark.parametrize(("score", "best_of"), [("high_quality", max), ("wasserstein1", min)])
def test_the_best_checkpoint_is_kept_by_the_monitored_score(call, score, best_of):
    """Also over a resumption, and by a score's short name."""
    monitored = ["evaluate_every=2", f"monitor={score}", "keep_checkpoints=1", "evaluate.metrics=[modes,wasserstein1]"]
    assert (
        call("train", *SMALL, *monitored, "steps=6", "checkpoint_every=2", "hydra.run.dir=run", "log_every=2")[0] == 0
    )
    assert call("resume", "run=run", "steps=12")[0] == 0
    run = Path("run")
    scores = {row["step"]: row[f"eval/{score}"] for row in rows(run)}
    assert len(scores) == 6 and len(set(scores.values())) > 1
    best = best_of(scores, key=scores.get)  # the first of equals
    told = json.loads((run / "checkpoints" / "best.json").read_text())
    assert told == {"step": best, "monitor": score, "value": scores[best]}
    assert load_checkpoint(run / "checkpoints" / "best.pt")["step"] == best
    code, text = call("sample", "run=run/checkpoints/best.pt", "seed=5")
    assert code == 0 and Path(text.strip()) == run / "samples" / f"seed_5_step_{best:08d}_n_64.png"


def test_a_monitor_that_the_run_has_not_is_told(call):
    """Before the first step, and nothing is left behind."""
    for monitor, message in (
        ("fid", "this run does not compute it"),
        ("high_qality", "there is no such score. Did you mean high_quality?"),
    ):
        code, text = call("train", *SMALL, "steps=2", f"monitor={monitor}", "hydra.run.dir=run")
        assert code == 1 and f"monitor={monitor}: {message}" in text and not Path("run").exists()


def test_profile_traces_the_steps_asked_for(call, tmp_path):
    code, text = call("train", *SMALL, "steps=6", "profile=true", "profile_steps=[3,4]")
    (trace,) = tmp_path.glob("outputs/gaussians25/*/profile/*.json")
    assert code == 0 and f"trace: {trace}" in text
    names = [event.get("name", "") for event in json.loads(trace.read_text())["traceEvents"]]
    assert {"ProfilerStep#2", "ProfilerStep#3"} == {name for name in names if name.startswith("ProfilerStep")}
    assert names.count("aten::_fused_adam_") == 2 * 3  # two critic updates and one of the generator each
    code, text = call("train", *SMALL, "steps=2", "profile=true", "hydra.run.dir=short")
    assert code == 0 and "no trace: the run ended before step 21" in text


def test_the_same_seed_gives_the_same_samples(call, tmp_path):
    call("train", *SMALL, "steps=2", "hydra.run.dir=run")
    for out, seed in (("a.png", 0), ("b.png", 0), ("c.png", 1)):
        assert call("sample", "run=run", f"out={out}", f"seed={seed}")[0] == 0
    a, b, c = (Path(f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


LOGGED = ("critic/loss", "critic/gradient_norm", "generator/loss", "eval/high_quality")


def assert_same_run(a, b):
    """Weights, average, optimizer state and logged losses, bit for bit."""
    one, two = (load_checkpoint(newest_checkpoint(run)) for run in (a, b))
    one.pop("config"), two.pop("config")
    flat = [torch.utils._pytree.tree_flatten(state)[0] for state in (one, two)]
    assert len(flat[0]) == len(flat[1]) > 30
    for x, y in zip(*flat, strict=True):
        assert torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
    for row, other in zip(rows(a), rows(b), strict=True):
        assert [row.get(k) for k in ("step", *LOGGED)] == [other.get(k) for k in ("step", *LOGGED)]


RESUMABLE = [*SMALL, "steps=40", "evaluate_every=10", "checkpoint_every=7", "keep_checkpoints=2", "sample_every=0"]
STOPS = int(os.environ.get("WGANGP_TEST_STOPS", "6"))


def test_stopped_at_random_moments_equals_uninterrupted(call, tmp_path):
    """SIGINT and SIGTERM at other times in each session, wherever the run then is; each time resumed to the end."""
    assert call("train", *RESUMABLE, "hydra.run.dir=whole")[0] == 0
    random.seed(seed := time.time_ns())
    print("seed", seed)
    for i in range(STOPS):
        number = (signal.SIGINT, signal.SIGTERM)[i % 2]
        for attempt in range(20):
            run = tmp_path / f"stopped_{i}_{attempt}"
            with signal_at_random(run, random.randrange(35), number):
                code, text = call("train", *RESUMABLE, f"hydra.run.dir={run}")
            if "stopped after step" in text:
                break  # else it was through before the signal came
        assert code == 128 + number and f"wgangp-resume run={run}" in text
        code, text = call("resume", f"run={run}")
        assert code == 0 and "resuming after step" in text, text
        assert_same_run(tmp_path / "whole", run)


@contextmanager
def signal_at_random(run, step, number):
    """Sends the signal at a random moment after the run has logged `step`; one that comes too late does no harm."""
    over = threading.Event()

    def send():
        path = run / "metrics.jsonl"
        while not (path.exists() and len(path.read_text().splitlines()) > step // 5):
            if over.wait(0.001):
                return
        time.sleep(random.random() * 0.01)
        os.kill(os.getpid(), number)

    before = signal.signal(number, lambda *arguments: None)
    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(number, before)


def test_resume_takes_overrides_and_says_so(call, tmp_path):
    call("train", *SMALL, "steps=5", "hydra.run.dir=run", "critic_optimizer.betas=[0,0.9]")
    code, text = call("resume", "run=run")
    assert code == 1 and "step 5 of 5" in text
    code, text = call("resume", "run=run", "steps=8", "critic_optimizer.betas=[0.5,0.9]")
    assert code == 0 and "resuming with steps=8 (it was 5)" in text and "betas" in text
    code, text = call("resume", "run=run", "steps=9", "compile=auto", "+epochs=3")
    assert code == 1 and "+epochs=3: nothing reads this key" in text
    record = Path("run/.hydra/config.yaml").read_text()
    for options, lacking in (
        (["optimizer@critic_optimizer=rmsprop"], "it lacks square_avg, which RMSProp"),
        (["+critic_optimizer.amsgrad=true"], "it lacks max_exp_avg_sq, which Adam"),
    ):
        code, text = call("resume", "run=run", "steps=9", *options)
        assert code == 1 and "critic_optimizer does not fit the configured one" in text and lacking in text, text
        assert Path("run/.hydra/config.yaml").read_text() == record
    state = load_checkpoint(newest_checkpoint(tmp_path / "run"))
    assert state["step"] == 8 and state["critic_optimizer"]["param_groups"][0]["betas"] == (0.5, 0.9)
    assert len(list((tmp_path / "run").glob("events*"))) >= 2 and [r["step"] for r in rows(tmp_path / "run")] == [5, 8]
    Path("run/.hydra/config.yaml").write_text("{{{")
    assert call("resume", "run=run", "steps=9")[0] == 0  # the checkpoint has all of it
    assert Path("run/.hydra/config.yaml").read_text() == record.replace("steps: 8", "steps: 9")


def test_a_second_ctrl_c_leaves_at_once(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "wgangp.train", *SMALL, "critic.width=1024", "n_critic=10000", "compile=false"],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert any(line.startswith("training") for line in process.stdout)
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        assert any("Send it again to end at once" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == -signal.SIGINT
    finally:
        process.kill()


def test_a_second_run_in_the_same_directory_is_refused(call, tmp_path):
    first = start_command("train", *SMALL, "steps=100000", "hydra.run.dir=run", cwd=tmp_path)
    try:
        while not (tmp_path / "run" / "metrics.jsonl").exists():
            assert first.is_alive(), (tmp_path / "output").read_text()
            time.sleep(0.02)
        code, text = call("train", *SMALL, "steps=2", "hydra.run.dir=run")
        assert code == 1 and "is in use by another run" in text
    finally:
        first.kill()
        first.join()
    assert call("train", *SMALL, "steps=2", "hydra.run.dir=run")[0] == 0  # the dead hold nothing


def test_a_sweep_goes_on_after_a_failing_job(call, tmp_path):
    code, text = call("train", "-m", *SMALL, "steps=2", "n_critic=1,0,2")
    assert code == 1 and "n_critic=0: give a whole number of at least 1" in text
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert [(sweep / str(i) / "evaluation.json").exists() for i in range(3)] == [True, False, True]


BAD = [
    (["steps=3", "n_critc=5"], "n_critc: there is no such key. Did you mean n_critic"),
    (["generator.dmi=3"], "generator.dmi: there is no such key."),
    (["generator={width:8,dpth:2}"], "generator.dpth: there is no such key. Did you mean generator.depth"),
    (["generator=dcgan", "generator.nrom=batch"], "Did you mean generator.norm"),
    (["dataset=gausians25"], "dataset=gausians25: there is no such option. Did you mean gaussians25"),
    (["experiment=mnist"], "experiment=mnist: there is no such option. Did you mean laptop/mnist or paper/mnist?"),
    (["experiment=laptop/mnits"], "experiment=laptop/mnits: there is no such option. Did you mean laptop/mnist?"),
    (
        ["optimizer@critic_optimizer=adan"],
        "optimizer@critic_optimizer=adan: there is no such option. Did you mean adam?",
    ),
    (["+dataset=mnist"], "+dataset=mnist: write it without +, for this group has a choice already"),
    (["datset=mnist"], "datset: there is no such key. Did you mean dataset?"),
    (
        ["optimizer=adam"],
        "optimizer: there is no such key. Did you mean optimizer@generator_optimizer or optimizer@critic_optimizer?",
    ),
    (["critic_optimizer=adam"], "critic_optimizer=adam: its options are chosen by optimizer@critic_optimizer=adam"),
    (["critic=char", "critic.norm=layer"], "critic.norm: there is no such key. Choose from critic.blocks,"),
    (["lambda_gp=10"], "lambda_gp: there is no such key. Did you mean penalty.weight?"),
    (["generator.lr=1e-3"], "generator.lr: there is no such key. Did you mean generator_optimizer.lr?"),
    (["dataset.batch_size=8"], "dataset.batch_size: there is no such key. Did you mean batch_size?"),
    (["penalty.lambda=10"], "penalty.lambda: there is no such key. Did you mean penalty.weight?"),
    (["lamda=10"], "lamda: there is no such key. Did you mean penalty.weight?"),
    (["learningrate=1"], "Did you mean generator_optimizer.lr and critic_optimizer.lr?"),
    (["dataset=nonsense"], "there is no such option. Choose from array, celeba, cifar10, fashion_mnist,"),
    (["colour=red"], "colour: there is no such key. wgangp-train --help lists all."),
    (["+generator.dim=3"], "generator.dim: wgangp.models.mlp.Generator has no such option. Leave it out"),
    (
        ["critic_optimizer._target_=torch.optim.SGD"],
        "critic_optimizer.betas: torch.optim.SGD has no such option. Leave",
    ),
    (["+epochs=3"], "+epochs=3: nothing reads this key. Leave it out, or name it elsewhere, as ${epochs}"),
    (["-steps=5"], "-steps=5: there is no such option. Keys are written without -: steps=5"),
    (["scores=null"], "scores=null: set its keys one by one, scores.KEY=VALUE"),
    (["evaluate=fid"], "evaluate=fid: set its keys one by one, evaluate.KEY=VALUE"),
    (["n_critic=0"], "n_critic=0: give a whole number of at least 1"),
    (["~seed"], "~seed: this key cannot be left out"),
    (["~generator_optimizer"], "~generator_optimizer: this key cannot be left out"),
    (["loss=null"], "loss=null: choose least_squares, standard, wasserstein"),
    (["allow={a:1}"], "allow={a:1}: give a value of the default's kind"),
    (["scores.modes.samples=-3"], "scores.modes.samples=-3: give a whole number of at least 1"),
    (["steps=many"], "steps=many: give a whole number of at least 1"),
    (["mnist"], "mnist: give key=value, or group=option"),
    (["profile_steps=[5]"], "profile_steps=[5]: give the first (2 or later) and the last step"),
    (["precision=float16"], "precision=float16: choose auto, float32, tf32, bfloat16"),
    (["critic_optimizer.fused=abc"], "critic_optimizer.fused=abc: choose true or false"),
    (["name=[1]"], "name=[1]: give a name, or null"),
    (["penalty.points={a:1}"], "penalty.points is {'a': 1}: choose interpolates, real, fake"),
    (["+scores.mine._target_=wgangp.penalties.NoPenalty"], "scores.mine is a NoPenalty: make it a subclass of"),
    (["critic_optimizer.lr=-1"], "critic_optimizer.lr=-1: give a number above 0"),
    (["ema_decay=1.5"], "ema_decay=1.5: give a number from 0 to below 1"),
    (["penalty.points=nowhere"], "penalty.points is 'nowhere': choose interpolates, real, fake"),
    (["device=cuda:99"], "device=cuda:99"),
    (["device=[cpu]"], "device=['cpu']: give auto, cpu, cuda"),
    (["hydra.run.dir="], "hydra.run.dir=: give a path"),
    (["dataset=mnist", 'dataset.root=""'], 'dataset.root="": give a path'),
    (["augment=null"], "augment=null: give a list of names, as in augment=[NAME]"),
    (["augment=[null]"], "augment=[None]: give a list of names, as in augment=[NAME]"),
    (["penalty=schedule/linear"], "penalty is a partial, and no wgangp.penalties.Penalty: choose another one"),
    (["penalty.power=inf"], "penalty.norm is 2, penalty.power inf: they must be >= 1"),
    (["--config-name=mine"], "there is no configuration mine: give the folder that yours is in by --config-dir=DIR"),
    (["experiment=laptop/table,laptop/signals"], "laptop/signals: these are several values: add -m for a sweep"),
    (["conditional=true"], "conditional=true needs labels, and this dataset has none"),
    (["generator=dcgan"], "dcgan is for data with channels and 1 to 3 axes, and the data is (2,)"),
    (["dataset=array", "dataset.path=absent.npz"], "absent.npz"),
    ([*images("d.npz"), *DCGAN, "critic.norm=batch", "dataset.size=16"], "use critic.norm=layer"),
    ([*images("d.npz"), *DCGAN, "batch_size=65"], "larger than the dataset (64 images"),
    ([*images("d.npz"), *DCGAN, "dataset.size=4"], "dcgan halves an axis longer than 4, and the data is (3, 4, 4)"),
    (
        [*images("d.npz"), "generator=resnet", "dataset.size=4"],
        "halves an axis longer than 4, and the data is (3, 4, 4)",
    ),
    ([*images("damaged.npz"), *DCGAN], "damaged.npz"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(a[-1:]) for a, _ in BAD])
def test_bad_input_gets_one_clear_line(call, arguments, message):
    digits("d.npz")
    Path("damaged.npz").write_bytes(Path("d.npz").read_bytes()[:500])
    code, text = call("train", "steps=20", *SMALL, *arguments)
    lines = [line for line in text.splitlines() if line and not line.startswith(("run directory", "training"))]
    assert code == 1 and "Traceback" not in text
    assert message in lines[-1] and len([line for line in lines if "step/s" not in line]) == 1, text


def test_a_configuration_that_does_not_build_on_ours_is_refused(call):
    Path("mine.yaml").write_text("steps: 2\n")
    code, text = call("train", "--config-dir=.", "--config-name=mine", "hydra.run.dir=run")
    assert code == 1 and len(text.strip().splitlines()) == 1
    assert "the configuration has no key " in text and "begin your own with `defaults: [train, _self_]`" in text


def test_an_unknown_key_of_the_scores_is_pointed_to_their_own_help(call):
    code, text = call("evaluate", "run=x", "colour=red")
    assert code == 1 and text.strip() == "colour: there is no such key. wgangp-evaluate --help lists all."


def test_runs_that_are_none_are_refused(call, tmp_path):
    Path("empty").mkdir()
    for arguments in (["run=nowhere"], ["run=empty"]):
        for name in ("resume", "sample"):
            code, text = call(name, *arguments)
            assert code == 1 and arguments[0] in text and len(text.strip().splitlines()) == 1, text
    assert call("resume")[0] == 1
    call("train", *SMALL, "steps=2", "hydra.run.dir=run")
    assert "critic does not fit" in call("resume", "run=run", "steps=4", "critic.width=9")[1]
    newest_checkpoint(Path("run")).write_bytes(b"PK\x03\x04 nonsense")
    code, text = call("sample", "run=run")
    assert code == 1 and "step_00000002.pt is damaged or no checkpoint" in text and "is sound" in text
    assert "label=3" in call("sample", f"run={tmp_path / 'run'}", "label=3")[1] or code == 1


def test_debug_shows_the_traceback(call):
    assert "Traceback" in call("train", "n_critic=0", "debug=true")[1]


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["n_critc=1"], ["n_critic=0"]])
def test_help_and_configuration_errors_need_no_torch(tmp_path, arguments):
    program = (
        f"import sys; sys.argv[1:] = {arguments!r}\nimport wgangp.train\n"
        "try: wgangp.train.main()\nexcept SystemExit: pass\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True).returncode == 0


def test_help_may_be_cut_short(tmp_path):
    program = f"{sys.executable} -m wgangp.train --help | head -n 1"
    result = subprocess.run(program, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout.count("\n") == 1 and result.stderr == ""


@pytest.mark.parametrize("name", ["train", "resume", "sample"])
def test_python_dash_m_from_any_folder(tmp_path, name):
    assert f"wgangp-{name}" in run_command(name, "--help", cwd=tmp_path).stdout


def test_shell_completion_completes_keys(tmp_path):
    line = "wgangp-train n_cri"
    result = run_command(
        "train", "-sc", "query=bash", cwd=tmp_path, COMP_LINE=line, COMP_POINT=str(len(line)), COMP_CWORD="1"
    )
    assert "n_critic=" in result.stdout


def test_pictures_of_a_future_that_is_given_up_are_set_aside(call, tmp_path):
    """Else a sweep's page would show them as the run's last samples."""
    options = ["sample_every=2", "checkpoint_every=2", "hydra.run.dir=run"]
    assert call("train", *SMALL, "steps=6", *options)[0] == 0
    for step in (2, 6):
        assert call("sample", f"run=run/checkpoints/step_0000000{step}.pt", "n=4", "format=npy")[0] == 0
    assert call("resume", "run=run/checkpoints/step_00000002.pt", "steps=4", "seed=5")[0] == 0
    names = sorted(path.name for path in (tmp_path / "run" / "samples").iterdir())
    assert [name for name in names if name.endswith(".png")] == ["step_00000002.png", "step_00000004.png"]
    given_up = ["seed_0_step_00000006_n_4.npy", "step_00000004.png", "step_00000006.png"]
    assert [name for name in names if name.endswith(".later")] == [f"{name}.later" for name in given_up]
    assert "seed_0_step_00000002_n_4.npy" in names


def test_a_snapshot_of_hard_links_neither_changes_nor_ends_the_log(call, tmp_path):
    """As `cp -al` and rsnapshot make them."""
    assert call("train", *SMALL, "steps=2", "log_every=1", "hydra.run.dir=run")[0] == 0
    for name in ("metrics.jsonl", "train.log"):
        (tmp_path / name).hardlink_to(tmp_path / "run" / name)
    before = (tmp_path / "metrics.jsonl").read_text()
    code, text = call("resume", "run=run", "steps=4")
    assert code == 0 and "is lost" not in text and [row["step"] for row in rows(tmp_path / "run")] == [1, 2, 3, 4]
    assert (tmp_path / "metrics.jsonl").read_text() == before
