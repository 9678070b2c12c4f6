"""How runs start: what a refused start leaves behind, and paths as users type and move them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_mnist
from hydra.core.override_parser.overrides_parser import OverridesParser

import wgangp
from wgangp.app.build import make_dataset
from wgangp.app.command_line import options_last
from wgangp.app.compose import load_config
from wgangp.app.plain import to_record
from wgangp.app.quoting import with_quoted_path
from wgangp.machine import device
from wgangp.run_dir.claim import Claim, remove_if_empty
from wgangp.run_dir.record import read_record
from wgangp.run_dir.status import Status, read_status, write_status
from wgangp.sweeps.jobs import read_job
from wgangp.trainer import Trainer
from wgangp.training_loop import TrainingLoop

SMALL = ["device=cpu", "steps=2", "batch_size=8", "generator=mlp", "critic=mlp", "generator.width=8", "critic.width=8"]
SMALL += ["n_critic=1", "sample_every=0", "evaluation_samples=100"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["batch_size=0"],
        ["name=a/b"],
        ["dataset=image_folder", "dataset.path=nowhere"],
        ["generator.width=0", "hydra.run.dir=new/run"],
        ["seed=9007199254740993", "hydra.run.dir=new/run"],
    ],
)
def test_a_refused_start_leaves_nothing_behind(arguments, call, tmp_path):
    code, text = call("train", *SMALL, *arguments)
    assert code == 1 and len(text.strip().splitlines()) == 1 and not list(tmp_path.iterdir()), text


def test_commands_never_remove_the_folder_in_which_they_start(call, tmp_path):
    for command in ("sample", "evaluate"):
        assert call(command, "run=nowhere")[0] == 1 and tmp_path.exists()


def test_only_empty_folders_below_the_working_directory_are_removed(tmp_path, monkeypatch):
    (tmp_path / "here" / "a" / "b").mkdir(parents=True)
    (tmp_path / "there" / "run").mkdir(parents=True)
    (tmp_path / "here" / "a" / "file").touch()
    monkeypatch.chdir(tmp_path / "here")
    for folder in ("a/b", "../there/run", "."):
        remove_if_empty((tmp_path / "here" / folder).resolve())
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        "here",
        "here/a",
        "here/a/file",
        "there",
    ]


def test_names_of_runs_are_created_not_tested_for(tmp_path):
    """Two starts with the same wanted name, neither of which has written anything yet."""
    first, second = (Claim(tmp_path / "run", may_rename=True) for _ in range(2))
    assert first.take() != second.take()
    second.release()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_refused_start_leaves_a_sound_runs_record(call, tmp_path):
    assert call("train", *SMALL, "hydra.run.dir=run")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    for change in (["steps=9", "generator.width=16"], [], ["steps=9", "n_critic=0"], ["steps=9", "dataset=mnist"]):
        assert call("train", *SMALL, *change, "hydra.run.dir=run")[0] == 1
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_run_is_resumed_from_another_folder_than_it_was_started_in(call, tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", images=np.zeros((20, 8, 8, 3), dtype=np.uint8))
    assert call("train", *SMALL, "dataset=array", "dataset.path=x.npz", "hydra.run.dir=0")[0] == 0
    assert read_record(tmp_path / "0").config["dataset"]["path"] == str(tmp_path / "x.npz")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    code, text = call("resume", "run=../0", "steps=3")
    assert code == 0, text


def test_a_run_is_resumed_from_its_best_checkpoint(call, tmp_path):
    """Checkpoints after it are kept under another name, and the log goes on after its step."""
    monitored = ["monitor=sliced_wasserstein", "evaluate_every=1", "checkpoint_every=1", "log_every=1"]
    toys = [*SMALL, "steps=6", "dataset=gaussians8", "generator=mlp_small", "critic=mlp_small"]
    assert call("train", *toys, *monitored, "keep_checkpoints=9", "hydra.run.dir=run")[0] == 0
    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "best.pt").write_bytes((checkpoints / "step_00000003.pt").read_bytes())
    code, text = call("resume", f"run={checkpoints / 'best.pt'}", "steps=5")
    assert code == 0 and "resuming after step 3 from" in text and "best.pt" in text, text
    assert {p.name for p in checkpoints.glob("*.later")} == {f"step_0000000{i}.pt.later" for i in (4, 5, 6)}
    assert read_status(tmp_path / "run").step == 5
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5]
    assert (
        "steps after 3 are given up" in text and (tmp_path / "run" / "metrics.jsonl.later").read_text().count("\n") == 3
    )


def test_an_earlier_checkpoint_has_the_overrides_and_choices_of_its_time(call, tmp_path):
    """Else the table of a sweep would show a weight that the network was never trained with."""
    assert call("train", *SMALL, "steps=2", "penalty.weight=0.3", "hydra.run.dir=sweep/0")[0] == 0
    assert call("resume", "run=sweep/0", "steps=4", "penalty=r1", "penalty.weight=3")[0] == 0
    assert call("resume", "run=sweep/0/checkpoints/step_00000002.pt", "steps=3")[0] == 0
    record, job = read_record(tmp_path / "sweep" / "0"), read_job(tmp_path / "sweep" / "0")
    assert job.overrides["penalty.weight"] == "0.3" and record.config["penalty"]["weight"] == 0.3
    assert "penalty" not in job.overrides and record.choices["penalty"] == "wgan_gp_toy"


def test_each_process_of_a_run_is_recorded(call, tmp_path):
    assert call("train", *SMALL, "steps=1", "hydra.run.dir=run")[0] == 0
    for steps in (2, 3):
        assert call("resume", "run=run", f"steps={steps}")[0] == 0
    last = json.loads((tmp_path / "run" / "environment.json").read_text())
    processes = [*last["earlier"], last]
    assert [process["after_step"] for process in processes] == [0, 1, 2]
    assert [process["command"][-1] for process in processes] == ["hydra.run.dir=run", "steps=2", "steps=3"]


def test_a_status_with_wrong_types_is_none(tmp_path):
    write_status(tmp_path, Status("done", step=4))
    assert read_status(tmp_path).step == 4
    for wrong in ('"step": "4"', '"seconds": "long"', '"monitor": 3', '"higher_is_better": null'):
        (tmp_path / "status.json").write_text(f'{{"state": "done", {wrong}}}')
        assert read_status(tmp_path) is None


def test_the_best_of_a_future_that_is_given_up_is_set_aside(call, tmp_path):
    monitored = ["dataset=gaussians8", "monitor=sliced_wasserstein", "hydra.run.dir=run"]
    assert call("train", *SMALL, *monitored, "steps=3", "checkpoint_every=1", "keep_checkpoints=9")[0] == 0
    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "best.pt").write_bytes(b"of step 3")
    (checkpoints / "best.json").write_text('{"step": 3, "monitor": "sliced_wasserstein", "value": 0.0}')
    assert call("resume", f"run={checkpoints / 'step_00000001.pt'}", "steps=4")[0] == 0
    assert (checkpoints / "best.pt.later").read_bytes() == b"of step 3"
    assert json.loads((checkpoints / "best.json").read_text())["step"] == 4  # 0.0 would never be beaten


def test_a_run_that_is_killed_while_its_last_scores_are_computed_loses_no_step(call, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(self):
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr("wgangp.observer.Observer.evaluate", killed)
        call("train", *SMALL, "steps=5", "evaluate_every=0", "hydra.run.dir=run")
    code, text = call("resume", "run=run")
    assert code == 0 and "resuming after step 5" in text, text
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["metrics"]


def test_a_run_that_was_killed_after_its_last_checkpoint_is_scored_again(call, tmp_path):
    options = [*SMALL, "steps=2", "dataset=gaussians8", "generator=mlp_small", "critic=mlp_small"]
    assert call("train", *options, "evaluation_samples=50", "hydra.run.dir=run")[0] == 0
    run = tmp_path / "run"
    expected = json.loads((run / "evaluation.json").read_text())
    (run / "evaluation.json").unlink()
    write_status(run, replace(read_status(run), state="running"))
    code, text = call("resume", "run=run")
    assert code == 0 and read_status(run).state == "done", text
    assert json.loads((run / "evaluation.json").read_text())["metrics"] == expected["metrics"] != {}


def test_a_resumed_run_keeps_the_precision_that_was_chosen_for_it(call, tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", images=np.zeros((20, 8, 8, 3), dtype=np.uint8))
    monkeypatch.setattr(device, "bfloat16_is_faster", lambda: True)
    small = [*SMALL, "dataset=array", "dataset.path=x.npz", "precision=auto", "hydra.run.dir=run"]
    _, first = call("train", *small)
    monkeypatch.setattr(device, "bfloat16_is_faster", lambda: False)
    _, second = call("resume", "run=run", "steps=3")
    _, third = call("resume", "run=run", "steps=4", "precision=float32")
    assert "bfloat16)" in first and "bfloat16)" in second and "float32)" in third, (first, second, third)


def test_a_run_that_went_back_is_resumed_with_its_random_numbers(call, tmp_path, monkeypatch):
    """Each rollback changes the seed, and the checkpoints after it say how many there were."""
    monkeypatch.setattr(Trainer, "train_step", diverging(Trainer.train_step, at=[3, 5]))
    options = [*SMALL, "steps=6", "checkpoint_every=1", "log_every=1", "on_divergence=rollback", "hydra.run.dir=run"]
    code, text = call("train", *options)
    assert code == 0 and text.count("Going back to the last checkpoint") == 2, text
    seeds = []
    monkeypatch.setattr(TrainingLoop, "fit", lambda loop: seeds.append((loop.trainer.seed, loop.trainer.rollbacks)))
    for policy in ("rollback", "stop"):
        call("resume", "run=run", "steps=8", f"on_divergence={policy}")
    assert seeds == [(0, 2)] * 2


def diverging(train_step, at):
    """Makes a weight NaN after each of these steps, once."""
    left = list(at)

    def wrapped(trainer):
        logs = train_step(trainer)
        if left and trainer.step == left[0]:
            trainer.critic_params[0].data.fill_(float("nan"))
            left.pop(0)
        return logs

    return wrapped


def test_an_adaptive_weight_begins_at_the_one_that_is_given_at_the_resumption(call, tmp_path):
    adaptive = ["penalty/schedule=adaptive", "penalty.schedule.rate=0.5"]
    assert call("train", *SMALL, *adaptive, "hydra.run.dir=run")[0] == 0
    assert call("resume", "run=run", "steps=3", "penalty.weight=3", "penalty.schedule.rate=1e-9")[0] == 0
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["penalty/weight"] == pytest.approx(3)


def test_a_folder_in_the_environment_may_be_below_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WGANGP_DATA", "~/data")
    cfg = load_config("dataset=mnist", "dataset.download=false")
    assert to_record(cfg)["dataset"]["root"] == str(tmp_path / "data")
    write_mnist(tmp_path / "data" / "MNIST" / "raw")
    assert len(make_dataset(cfg, torch.device("cpu"))) > 0


def test_names_of_files_may_be_numbers_in_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open("2024_01", "wb") as file:
        np.save(file, np.zeros((20, 3)))
    assert make_dataset(load_config("dataset=array", "dataset.path=2024_01"), torch.device("cpu")).shape == (3,)


@pytest.mark.parametrize(
    ("typed", "several", "read"),
    [
        ("dataset.path=2024", False, "dataset.path='2024'"),
        ("hydra.run.dir=2024_01_31", False, "hydra.run.dir='2024_01_31'"),
        ("dataset.path=~/a,2024", True, "dataset.path='/home/me/a','2024'"),
        ("dataset.path=daten/bücher.npz", False, "dataset.path='daten/bücher.npz'"),  # Hydra knows ASCII alone
        ("dataset.path=a,b", False, "dataset.path='a,b'"),
        ("dataset.path=choice(a,b)", True, "dataset.path=choice(a,b)"),
        ("seed=0,1", True, "seed=0,1"),
    ],
)
def test_paths_are_taken_as_they_are_typed(typed, several, read, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert with_quoted_path(typed, several) == read


def test_multirun_may_stand_between_other_arguments(call, tmp_path):
    code, text = call("train", "n_critic=0", "-m", "seed=0,1", "hydra.sweep.dir=sweep")
    assert code == 1 and "unrecognized" not in text and (tmp_path / "sweep" / "1").exists()


def test_a_batch_of_one_is_refused_if_batchnorm_has_no_variance(call, tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((20, 8, 8, 3), dtype=np.uint8))
    networks = ["generator=dcgan", "critic=dcgan", "generator.width=4", "critic.width=4", "generator.first_norm=units"]
    data = ["dataset=array", "dataset.path=x.npz", "device=cpu", "steps=2", "hydra.run.dir=run"]
    code, text = call("train", *data, *networks, "batch_size=1")
    assert code == 1 and "BatchNorm needs at least 2 samples" in text and not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["train", "resume", "sample", "evaluate", "summarize"])
def test_every_command_has_its_version(command, call):
    assert call(command, "--version") == (0, f"wgangp {wgangp.__version__}\n")


@pytest.mark.parametrize("name", ["sample", "evaluate"])
def test_a_run_without_its_key_is_named(name, call):
    assert call(name, "outputs/toy/1") == (1, "outputs/toy/1: give run=DIR")


@pytest.mark.parametrize("path", ["d\\x/t.csv", "a b\\", "a\\'b c", "it's\\\\'x", "x\\\\y z", "we\\ird", "\\"])
def test_paths_with_backslashes_and_quotes_are_as_typed(path):
    parsed = OverridesParser.create().parse_override(with_quoted_path(f"dataset.path={path}"))
    assert parsed.value() == path


@pytest.mark.parametrize(
    ("argument", "read"),
    [
        ("label=1.10", "1.10"),
        ("label=1e3", "1e3"),
        ("label=3", 3),
        ("label=1.5", 1.5),
        ("label=NaN", "NaN"),
        ("name=2024_01", "2024_01"),
        ("name=true", "true"),
        ("name=7", 7),
        ("label=.10", ".10"),
        ('dataset.columns=["a", 2024_01]', ["a", "2024_01"]),
        ("dataset.columns=[a,'x,1.10,y']", ["a", "x,1.10,y"]),
        ("dataset.columns=[2024_01,b,7]", ["2024_01", "b", 7]),
        ("dataset.classes=[1.10,1.0]", ["1.10", 1.0]),
        ("dataset.condition=2024_01", "2024_01"),
        ("dataset.condition=my file.npy", "my file.npy"),
        ("dataset.key=1e3", "1e3"),
        ("hydra.sweep.dir=c,d", "c,d"),
    ],
)
def test_names_that_look_like_numbers_are_as_typed(argument, read):
    """Hydra would make 1.1, 1000.0 and 202401 of them."""
    assert (
        OverridesParser.create()
        .parse_override(with_quoted_path(argument, several=argument.startswith("hydra.")))
        .value()
        == read
    )


def test_options_of_hydra_may_be_anywhere():
    given = ["a=1", "--config-dir", "there", "b=2", "-m", "--config-nam", "x", "~c"]
    assert options_last(given) == ["a=1", "b=2", "~c", "--config-dir", "there", "-m", "--config-nam", "x"]
    assert options_last(["a=1", "--info"]) == ["a=1", "--info"]
    assert options_last(["--info", "config", "a=1"]) == ["a=1", "--info", "config"]


def test_a_sweep_over_data_says_how_to_give_their_keys(call):
    code, text = call("train", "-m", "dataset=mnist,fashion_mnist", "dataset.limit=100", "steps=2")
    assert code == 1 and "In a sweep over dataset, write +dataset.limit=..." in text and text.count("\n") <= 1, text
    code, text = call("train", "-m", "generator=mlp,dcgan", "dataset=mnist", "stepz=2")
    assert code == 1 and "stepz: there is no such key. Did you mean steps?" in text, text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed=0,1"], "seed=0,1: these are several values: add -m for a sweep, or give a list, as in 'seed=[0,1]'"),
        (["penalty=none", "penalty.weight=1"], "penalty.weight: there is no such key. This penalty has no keys"),
    ],
)
def test_advice_is_not_what_was_typed(arguments, message, call):
    code, text = call("train", *arguments)
    assert code == 1 and message in text


def test_options_that_were_left_out_stay_left_out_when_a_run_is_resumed(call):
    """torch's optimizers have defaults of their own: a resumed run equals the uninterrupted one."""
    left_out = [f"~{part}_optimizer.{key}" for part in ("critic", "generator") for key in ("betas", "fused")]
    small = [*SMALL, "checkpoint_every=2", "evaluate_every=0", "lr_decay=none"]
    assert call("train", *small, *left_out, "steps=4", "hydra.run.dir=whole")[0] == 0
    assert call("train", *small, *left_out, "steps=2", "hydra.run.dir=parts")[0] == 0
    assert call("resume", "run=parts", "steps=4")[0] == 0
    whole, parts = (torch.load(f"{run}/checkpoints/step_00000004.pt") for run in ("whole", "parts"))
    assert all(torch.equal(parts["critic"][name], value) for name, value in whole["critic"].items())


def test_a_run_goes_on_with_a_penalty_that_has_no_schedule(call):
    assert call("train", *SMALL, "steps=1", "hydra.run.dir=run")[0] == 0
    code, text = call("resume", "run=run", "steps=2", "penalty=none")
    assert code == 0 and "resuming with penalty._target_=wgangp.penalties" in text


def test_a_run_does_not_go_on_with_another_dataset(call):
    assert call("train", *SMALL, "steps=1", "hydra.run.dir=run")[0] == 0
    code, text = call("train", *SMALL, "dataset=gaussians8", "steps=2", "hydra.run.dir=run")
    assert code == 1 and "has a run on gaussians25: start one on gaussians8 in another directory" in text


def test_scores_of_another_checkpoint_are_kept(call):
    assert call("train", *SMALL, "steps=4", "checkpoint_every=2", "hydra.run.dir=run")[0] == 0
    scores = Path("run/evaluation.json").read_text()
    code, text = call("evaluate", "run=run/checkpoints/step_00000002.pt", "n=100", "metrics=[modes]")
    assert code == 0 and json.loads(Path("run/evaluation_step_00000004.json").read_text()) == json.loads(scores), text
    assert call("evaluate", "run=run", "n=100", "metrics=[modes]")[0] == 0
    assert json.loads(Path("run/evaluation.json").read_text())["metrics"].keys() >= json.loads(scores)["metrics"].keys()


def test_hydras_own_folder_leaves_no_second_directory(call):
    code, text = call("train", *SMALL, "steps=1", "hydra.output_subdir=.hydra")
    assert code == 0, text
    (run,) = (
        Path("outputs/gaussians25").iterdir() if Path("outputs/gaussians25").exists() else Path("outputs").glob("*/*")
    )
    assert (run / ".hydra" / "config.yaml").exists()
