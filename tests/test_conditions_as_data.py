"""Runs with conditions that are numbers or pictures, by the commands: from the data file to samples."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import composed
from PIL import Image
from torch.nn import functional as F

import wgangp
from wgangp.api import make_trainer
from wgangp.app.build import make_dataset
from wgangp.app.sample_conditions import in_units
from wgangp.run_dir.checkpoint import load_checkpoint, newest_checkpoint
from wgangp.units import Conditions, Units, conditions_of

CPU = torch.device("cpu")

SMALL = ["batch_size=8", "generator=mlp", "critic=mlp", "generator.width=8", "critic.width=8", "generator.nz=4"]
SMALL += ["evaluation_samples=100", "device=cpu", "log_every=2", "checkpoint_every=2", "sample_every=2", "n_critic=2"]
SMALL += ["lr_decay=none", "generator_batch_multiple=2", "conditional=true"]
rng = np.random.default_rng(0)


def points():
    """2-d points whose mean is the condition."""
    y = rng.uniform((2, -50), (6, 50), (300, 2))
    np.savez("x.npz", x=y + rng.normal(0, (0.2, 5), y.shape), params=y, labels=np.arange(300) % 3)
    return ["dataset=array", "dataset.path=x.npz", "dataset.condition=params", "dataset.held_out=0.2"]


def table():
    y = rng.uniform(2, 6, (40, 2))
    rows = "".join(f"{a:.4f},{b:.4f},{a + b:.4f}\n" for a, b in y)
    Path("x.csv").write_text("slant,thickness,sum\n" + rows)
    return ["dataset=table", "dataset.path=x.csv", "dataset.condition=[thickness,slant]", "dataset.held_out=0.2"]


def pictures():
    """Pictures, and the same at half their size, in a file of their own."""
    small = rng.integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
    np.save("small.npy", small)
    np.save("x.npy", small.repeat(2, 1).repeat(2, 2))
    data = ["dataset=array", "dataset.path=x.npy", "dataset.condition=small.npy", "dataset.flip=true"]
    return [*data, "dataset.held_out=0.2", "content=l1", "generator=unet", "critic=resnet", "generator.norm=batch"]


def weights(run):
    state = load_checkpoint(newest_checkpoint(Path(run)))
    return [*state["generator"].values(), *state["critic"].values(), *state["ema"].values()]


def equal(run, other):
    return all(torch.equal(a, b) for a, b in zip(weights(run), weights(other), strict=True))


def npy(text):
    path = text.strip().splitlines()[-1]
    return np.load(path), np.load(path.replace(".npy", "_conditions.npy"))


def test_generated_numbers_follow_the_condition(call):
    """From the checkpoint alone: the data are gone."""
    options = ["batch_size=64", "steps=500", "n_critic=1", "generator.width=64", "critic.width=64", "ema_decay=0.9"]
    options += ["generator_optimizer.lr=0.002", "critic_optimizer.lr=0.002", "log_every=100", "sample_every=0"]
    options += ["penalty.weight=1", "generator.nz=2", "checkpoint_every=0"]
    code, text = call("train", *points(), *SMALL, *options, "generator_batch_multiple=1", "hydra.run.dir=run")
    assert code == 0 and "240 vectors of 2 columns" in text and "each with 2 numbers; 60 held out" in text, text
    code, text = call("evaluate", "run=run", "n=300", "metrics=[condition]")
    r2, ceiling = map(float, re.search(r"condition_r2 +([\d.]+) +real data ([\d.]+);", text).groups())
    assert code == 0 and ceiling > 0.9 and 0.6 < r2 < 1, text
    Path("x.npz").unlink()

    asked = rng.uniform((2.5, -40), (5.5, 40), (20, 2))
    np.save("asked.npy", asked)
    code, text = call("sample", "run=run", "condition=asked.npy", "n=400", "format=npy")
    x, y = npy(text)
    assert np.allclose(y, np.tile(asked, (20, 1)), atol=1e-4)
    means = x.reshape(20, 20, 2).mean(0)
    for i in range(2):
        assert np.corrcoef(means[:, i], asked[:, i])[0, 1] > 0.9

    _, text = call("sample", "run=run", "condition=[3,25]", "n=5", "format=npy")
    assert np.allclose(npy(text)[1], [[3, 25]] * 5, atol=1e-4) and "outside" not in text
    swept = ["condition=[3,99]", "sweep_condition=0", "n=2"]
    code, text = call("sample", "run=run", *swept, "format=npy")
    assert code == 0 and "outside the range seen in training: number 1 was from -" in text
    y = npy(text)[1]
    assert (
        y.shape == (16, 2) and np.allclose(y[:8], y[8:]) and (np.diff(y[:8, 0]) > 0).all() and np.allclose(y[:, 1], 99)
    )
    code, text = call("sample", "run=run", *swept)
    assert code == 1 and "cannot be seen in a picture: take format=npy or csv" in text
    for asked, said in (
        ("[3]", "is given 2 numbers: give as many, as in [4"),
        ("[3,x]", "give as many"),
        ("held_out", "x.npz"),
        ("none.npy", "no .npy file"),
    ):
        code, text = call("sample", "run=run", f"condition={asked}")
        assert code == 1 and said in text and text.count("\n") <= 1, text
    with pytest.raises(ValueError, match="give it numbers y"):
        wgangp.load_generator("run")(torch.zeros(1, 4))


@pytest.mark.parametrize("data", [table, pictures])
def test_a_run_is_resumed_drawn_scored_and_sampled_by_held_out_conditions(call, data, monkeypatch):
    options = [*SMALL, *data()]
    code, text = call("train", *options, "steps=4", "hydra.run.dir=whole", "debug=true")
    assert code == 0, text
    assert ("each with 2 numbers (thickness, slant)" if data is table else "each with pictures of 3x4x4") in text
    assert call("train", *options, "steps=2", "hydra.run.dir=parts")[0] == 0
    code, text = call("resume", "run=parts", "steps=4")
    assert code == 0 and equal("whole", "parts"), text
    monkeypatch.setattr("wgangp.data.splits.fits_on", lambda split, device: False)  # streamed, as if it were too large
    assert call("train", *options, "steps=4", "hydra.run.dir=streamed")[0] == 0 and equal("whole", "streamed")

    code, text = call("sample", "run=whole", "condition=held_out", "n=8", "format=npy", "debug=true")
    x, y = npy(text)
    if data is table:
        assert x.shape == (8, 1) and y.shape == (8, 2) and 2 <= y.min() <= y.max() <= 6
        assert call("sample", "run=whole", "sweep_condition=slant", "n=3", "format=csv", "out=s.csv")[0] == 0
        head, *lines = Path("s.csv").read_text().splitlines()
        slants = [float(line.split(",")[head.split(",").index("slant")]) for line in lines]
        assert len(slants) == 24 and slants == sorted(slants[:8]) * 3
        return
    assert x.shape == (8, 3, 8, 8) and {tuple(p.flat) for p in y} <= {tuple(p.flat) for p in np.load("small.npy")}
    assert '"validation/content"' in Path("whole/metrics.jsonl").read_text()
    with Image.open("whole/samples/step_00000004.png") as picture:
        drawn = np.asarray(picture)[28:]  # below the title: a condition, a generated and a real one in turn
    first, real = drawn[2:10, 2:10], drawn[2:10, 22:30]
    assert np.abs(first.astype(int) - real).max() <= 1 and np.ptp(first) > 0  # of which the condition is the half


def test_conditions_stay_with_their_samples_and_enter_the_content_term(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    networks = ["generator.width=4", "critic.width=4", "generator_batch_multiple=2", "batch_size=8", "device=cpu"]
    trainer = make_trainer(*pictures(), *networks, "conditional=true", "content_weight=7", "compile=false")
    pairs = [trainer.dataset.fetch(i, 8) for i in trainer.batch_indices(3)[trainer.n_critic :]]
    z, y, x = trainer.generator_inputs(pairs)
    assert len(z) == len(x) == 16 and x.min() >= -1 and trainer.condition_batches == 2
    torch.testing.assert_close(F.interpolate(y, scale_factor=2), x)  # flipped together, scaled alike
    fake = trainer.generator(z, y)
    torch.manual_seed(0)
    for trainer.content, difference in (("l1", (fake - x).abs().mean()), ("l2", (fake - x).square().mean())):
        content = trainer.generator_loss(z, y, x) - trainer.generator_loss(z, y)
        torch.testing.assert_close(content, 7 * difference)


def test_a_condition_that_is_not_asked_for_is_left_alone(call):
    code, text = call("train", *table(), *SMALL, "conditional=false", "steps=2", "hydra.run.dir=run")
    assert code == 0 and "conditional=false: the networks are not given the data's condition" in text
    code, text = call("sample", "run=run", "condition=[3,3]")
    assert code == 1 and "this run has no condition" in text


WRONG = {
    "another length": ({"x": np.ones((9, 2)), "y": np.ones((8, 2))}, [], "has 8 entries, and there are 9 samples"),
    "NaN": (
        {"x": np.ones((9, 2)), "y": np.full((9, 2), np.nan)},
        [],
        "dataset.condition=y has 18 numbers that are miss",
    ),
    "strings": ({"x": np.ones((9, 2)), "y": np.array(["a"] * 9)}, [], "has type <U1: give numbers, or make classes"),
    "no such array": ({"x": np.ones((9, 2))}, [], "dataset.condition=y: dataset.path=x.npz has no such array"),
    "axes": ({"x": np.ones((9, 2)), "y": np.ones((9, 1, 4, 4))}, [], "give numbers (n, k), or pictures with the axes"),
    "size": ({"x": np.ones((9, 1, 8, 8)), "y": np.ones((9, 1, 3, 8))}, ["generator=unet"], "by whole factors"),
    "labels": ({"x": np.ones((9, 2)), "y": np.ones(9), "z": np.ones(9, int)}, ["dataset.labels=z"], "not both"),
    "a list": ({"x": np.ones((9, 2)), "y": np.ones(9)}, ["dataset.condition=[x,y]"], "give the name of one array"),
    "held out": (
        {"x": np.ones((9, 2)), "y": np.ones(9), "test_x": np.ones((9, 2))},
        [],
        "either the training or the held-out samples lack conditions",
    ),
    "pictures to a mlp": ({"x": np.ones((9, 1, 8, 8)), "y": np.ones((9, 1, 4, 4))}, [], "generator=unet"),
    "text networks": (
        {"x": np.ones((9, 2)), "y": np.ones(9)},
        ["generator=char"],
        "takes no numbers as conditions: choose mlp,",
    ),
    "a generator without pictures": (
        {"x": np.ones((9, 1, 4, 4)), "y": np.ones((9, 1, 4, 4))},
        ["generator=char"],
        "generator: this network takes no pictures as conditions: choose unet",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_conditions_are_refused_in_one_line(call, case):
    arrays, more, said = WRONG[case]
    np.savez("x.npz", **arrays)
    another = any(option.startswith("generator=") for option in more)
    small = [option for option in SMALL if not (another and option.startswith("generator"))]
    data = ["dataset=array", "dataset.path=x.npz", "dataset.key=x", "dataset.condition=y", "dataset.axes=null"]
    code, text = call("train", *data, *small, "batch_size=4", "steps=1", *more)
    assert code == 1 and said in text, text
    assert len([line for line in text.splitlines() if "constant" not in line]) == 1, text


@pytest.mark.parametrize("scale", [1e-19, 1e-30, 1.0, 1e25])
def test_conditions_of_any_unit_are_written_in_seven_digits(scale):
    table = torch.tensor([[2 * scale, 3 * scale], [scale / 3, 0.0], [0.0, 0.0]], dtype=torch.float64)
    units = Units("standard", table, "nd", ("a", "constant"), "float64")
    known = Conditions(units, table[0], table[0], torch.zeros(1, 2))
    y = torch.tensor([[1.23456789, 0.0], [-2.0, 0.0]])
    expected = np.array([[2 + 1.23456789 / 3, 3], [2 - 2 / 3, 3]]) * scale
    np.testing.assert_allclose(in_units(y, known), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["content=l1"], "content=l1 compares G(z, y) with the sample that y belongs to"),
        (["generator=unet"], "generator=unet needs condition pictures: set dataset.condition"),
        (["dataset=mnist", "conditional=true", "generator.norm=none"], "set generator.condition=concat"),
        (["content=l3"], "content=l3: choose none, l1, l2"),
    ],
)
def test_options_without_a_condition_are_refused_in_one_line(call, options, said):
    code, text = call("train", *options, "device=cpu", "steps=1")
    assert code == 1 and said in text and text.count("\n") <= 1, text


def test_conditions_of_a_forged_header_are_refused():
    table = torch.stack([torch.zeros(2), torch.ones(2), torch.zeros(2)]).double()
    known = Conditions(Units("standard", table, "nd"), torch.zeros(2), torch.ones(2), torch.rand(5, 2))
    state = known.state()
    read = conditions_of(state)
    assert read.shape == (2,) and torch.equal(read.of(torch.tensor([5, 6])), known.examples[:2])
    for wrong in ({"low": [0.0]}, {"examples": torch.rand(5, 3)}, {"high": [0.0, float("nan")]}, {"units": None}):
        with pytest.raises(ValueError, match="its header has"):
            conditions_of(state | wrong)


def test_condition_pictures_out_of_range_do_not_wrap_around():
    units = Units("minmax", torch.tensor([[127.5], [127.5], [0.0]], dtype=torch.float64), "nchw")
    known = Conditions(units, torch.zeros(1), torch.full((1,), 255.0), torch.zeros(1, 1, 1, 1))
    assert in_units(torch.tensor([-1.2, 1.2]).view(2, 1, 1, 1), known).flatten().tolist() == [0, 255]


def test_pictures_of_networks_that_are_not_given_the_condition(call, tmp_path):
    rng = np.random.default_rng(0)
    np.savez("x.npz", x=rng.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8), p=rng.normal(size=(20, 2)))
    small = ["generator=dcgan", "critic=dcgan", "generator.width=8", "critic.width=8", "batch_size=8", "steps=1"]
    data = ["dataset=array", "dataset.path=x.npz", "dataset.key=x", "dataset.condition=p"]
    code, text = call("train", *data, *small, "hydra.run.dir=run")
    assert code == 0 and "cannot be drawn" not in text and list((tmp_path / "run" / "samples").glob("*.png"))


def test_masks_and_other_types_of_conditions(tmp_path, monkeypatch):
    """True and False are 1 and 0, not two levels of 256; held-out conditions are of the training ones' kind."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x, mask = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8), rng.random((40, 8, 8)) < 0.5
    np.savez("mask.npz", x=x, mask=mask)
    given = ["dataset=array", "dataset.path=mask.npz", "dataset.key=x", "dataset.condition=mask"]
    _, y = make_dataset(composed(*given), CPU).batch(0, 40)
    assert len(y.unique()) == 2 and y.unique().diff().item() == pytest.approx(2, rel=0.05)  # the deviation is 1
    np.savez("mixed.npz", x=x, coarse=x, test_x=x, test_coarse=x.astype(np.float32) / 255)
    with pytest.raises(ValueError, match="of their conditions some are uint8 and some float32"):
        make_dataset(composed(*given, "dataset.path=mixed.npz", "dataset.condition=coarse"), CPU)


def test_one_number_for_each_sample_is_asked_for_and_written(call, tmp_path):
    rng = np.random.default_rng(0)
    Path("t.csv").write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in rng.normal(size=(60, 2))))
    np.save("temp.npy", rng.random(60))
    small = ["generator.width=8", "critic.width=8", "batch_size=8", "steps=1", "sample_every=0", "hydra.run.dir=run"]
    data = ["dataset=table", "dataset.path=t.csv", "dataset.condition=temp.npy", "conditional=true"]
    assert call("train", *data, *small)[0] == 0
    for i, asked in enumerate([np.array(0.3), np.array([0.3, 0.6]), np.array([[0.3], [0.6]])]):
        np.save("asked.npy", asked)
        code, text = call("sample", "run=run", "format=csv", "n=2", "condition=asked.npy", f"out={i}.csv")
        assert code == 0, text
        head, *lines = Path(f"{i}.csv").read_text().splitlines()
        given = [float(line.split(",")[2]) for line in lines]
        assert head == "a,b,condition0" and given == pytest.approx(np.resize(asked, 2).tolist(), rel=1e-5)
