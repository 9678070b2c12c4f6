"""Runs on your own arrays, by the commands: a table, signals, fields and volumes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import wgangp
from wgangp.run_dir.checkpoint import load_checkpoint, newest_checkpoint

SMALL = ["batch_size=8", "generator=mlp", "critic=mlp", "generator.width=8", "critic.width=8", "generator.nz=4"]
SMALL += ["n_critic=1", "evaluation_samples=100", "device=cpu", "log_every=2", "checkpoint_every=2", "sample_every=0"]
SMALL += ["lr_decay=none"]
rng = np.random.default_rng(0)


def table():
    rows = "".join(f"{a:.3f},{'low' if a < 5 else 'high'},7,{b:.5g}\n" for a, b in zip(*numbers(), strict=True))
    Path("x.csv").write_text("size,kind,same,price\n" + rows)
    return ["dataset=table", "dataset.path=x.csv", "dataset.labels=kind", "dataset.held_out=0.2", "conditional=true"]


def numbers():
    return rng.normal(5, 1, 60), rng.lognormal(10, 1, 60)


def signal():
    np.save("x.npy", (40 + rng.normal(size=(50, 24)).cumsum(1)).astype("f4"))
    return ["dataset=array", "dataset.path=x.npy", "dataset.axes=nt"]


def field():
    np.save("x.npy", rng.normal(-300, 9, size=(50, 6, 10, 3)))
    return ["dataset=array", "dataset.path=x.npy", "dataset.axes=nhwc", "dataset.scaling=minmax"]


def volume():
    np.save("x.npy", rng.lognormal(size=(50, 4, 5, 6)).astype("f4"))
    return ["dataset=array", "dataset.path=x.npy", "dataset.axes=ndhw", "dataset.scaling=log"]


KINDS = {  # what makes the file; shape of npy samples; scores
    "table": (table, (3,), {"sliced_wasserstein", "ks_mean", "ks_max", "correlation_difference"}),
    "signal": (signal, (24,), {"sliced_wasserstein", "ks_mean", "ks_max", "spectrum_difference"}),
    "field": (
        field,
        (6, 10, 3),
        {"sliced_wasserstein", "ks_mean", "ks_max", "correlation_difference", "spectrum_difference"},
    ),
    "volume": (volume, (4, 5, 6), {"sliced_wasserstein", "ks_mean", "ks_max", "spectrum_difference"}),
}


def weights(run):
    state = load_checkpoint(newest_checkpoint(Path(run)))
    return [*state["generator"].values(), *state["critic"].values(), *state["ema"].values()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_resumed_sampled_and_scored_in_the_units_of_its_data(call, kind):
    make, shape, scores = KINDS[kind]
    options = [*make(), *SMALL]
    code, text = call("train", *options, "steps=4", "hydra.run.dir=whole", "sample_every=4")
    assert code == 0, text
    assert "from " in text and f"scaling {'standard' if kind in ('table', 'signal') else ''}" in text
    assert all(f"eval/{score} = " in text for score in scores), text
    with Image.open("whole/samples/step_00000004.png") as picture:
        assert picture.mode == "RGB" and np.ptp(np.asarray(picture)) > 0
    assert call("train", *options, "steps=2", "hydra.run.dir=parts")[0] == 0
    code, text = call("resume", "run=parts", "steps=4")
    assert code == 0 and all(torch.equal(a, b) for a, b in zip(weights("whole"), weights("parts"), strict=True)), text

    code, text = call("sample", "run=whole", "format=npy", "n=7")
    assert code == 0, text
    x = np.load(text.strip().splitlines()[-1])
    assert x.shape == (7, *shape) and np.isfinite(x).all()
    samples = wgangp.Run("whole").samples(5)
    if kind == "table":
        assert (x[:, 1] == 7).all() and x[:, 2].max() > 1000  # a constant column, and prices
        assert np.load(text.strip().splitlines()[-1].replace(".npy", "_labels.npy")).tolist() == ["high", "low"] * 3 + [
            "high"
        ]
    else:
        low, high = {"signal": (0, 90), "field": (-350, -250), "volume": (0, 200)}[kind]
        assert low <= x.min() <= x.max() <= high and low <= samples.min() <= samples.max() <= high
    for more in ([], ["interpolate=true", "n=2"]):
        refused = kind == "table" and more  # rows of points show nothing
        assert call("sample", "run=whole", "n=4", *more)[0] == (1 if refused else 0)
    assert call("sample", "run=whole", "format=files")[0] == 1

    code, text = call("evaluate", "run=whole", "n=100")
    found = json.loads(Path("whole/evaluation.json").read_text())
    assert code == 0 and ("tstr_accuracy" in text) == (kind == "table") and "data against itself" in text, text
    assert all(f'"eval/{score}"' in json.dumps(found) for score in scores | {"wasserstein1"})


def test_training_scores_know_the_classes_that_were_asked_for(call):
    options = [*KINDS["table"][0](), *SMALL, "steps=2", "evaluate_every=1", "hydra.run.dir=run"]
    code, text = call("train", *options, "evaluate.metrics=[tstr]", "monitor=tstr_accuracy", "conditional=true")
    assert code == 0 and text.count("eval/tstr_accuracy ") == 3, text


def test_a_run_keeps_the_units_that_it_began_with(call):
    """A file with more samples has other units; the networks are trained on those of the first."""
    options = [*signal(), *SMALL, "hydra.run.dir=run"]
    assert call("train", *options, "steps=2")[0] == 0
    first = load_checkpoint(newest_checkpoint(Path("run")))["units"]
    np.save("x.npy", np.concatenate([np.load("x.npy"), np.full((9, 24), 1000, "f4")]))
    assert call("resume", "run=run", "steps=4")[0] == 0
    assert load_checkpoint(newest_checkpoint(Path("run")))["units"] == first


def test_tanh_goes_with_bounded_data_only(call):
    field()
    data = ["dataset=array", "dataset.path=x.npy", "dataset.axes=nhwc", *SMALL, "generator.output=tanh"]
    code, text = call("train", *data, "steps=1")
    assert code == 1 and "generator.output=tanh gives numbers in [-1, 1], and the data are not: choose auto" in text


def test_files_of_a_run_are_recorded_by_their_absolute_paths(call, tmp_path):
    for name in ("a", "b", "c"):
        np.save(f"{name}.npy", rng.normal(size=(20, 3)))
    data = ["dataset=table", "dataset.path=[a.npy,b.npy]", "dataset.held_out=c.npy", *SMALL]
    code, text = call("train", *data, "batch_size=8", "steps=1", "hydra.run.dir=run")
    assert code == 0 and "40 vectors of 3 columns" in text and "20 held out" in text
    dataset = wgangp.Run("run").record.config["dataset"]
    assert dataset["path"] == [str(tmp_path / "a.npy"), str(tmp_path / "b.npy")]
    assert dataset["held_out"] == str(tmp_path / "c.npy")
    assert call("evaluate", "run=run", "n=20", "metrics=[ks]")[0] == 0


def test_npy_of_points_text_and_pictures(call):
    Path("x.txt").write_text("ab cd\nbc\n" * 10)
    np.save("x.npy", rng.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8))
    toys = ["generator.width=8", "critic.width=8", "batch_size=8", "evaluation_samples=50", "steps=1", "sample_every=0"]
    text = ["dataset=text", "dataset.path=x.txt", "dataset.length=4", "dataset.held_out=2"]
    for data, dtype, shape in (
        (["dataset=gaussians8"], "float32", (5, 2)),
        (text, "<U4", (5,)),
        (["dataset=array", "dataset.path=x.npy", "generator=mlp", "critic=mlp"], "uint8", (5, 3, 8, 8)),
    ):
        code, out = call("train", *data, *toys, "device=cpu", f"hydra.run.dir={dtype}")
        assert code == 0, out
        x = np.load(call("sample", f"run={dtype}", "format=npy", "n=5")[1].strip().splitlines()[-1])
        assert x.shape == shape and x.dtype == dtype
