"""What is trained can be read again, and only with data of its own kind."""

import importlib
import json
import re

import numpy as np
import pytest
from omegaconf import OmegaConf

from wgangp.app.recorded_data import located

SMALL = ("compile=false", "batch_size=8", "generator.width=4", "critic.width=4", "evaluation_samples=20", "log_every=2")

ALLOW = "allow=[own_parts]"


def train(call, *overrides):
    return call("train", "steps=2", *SMALL, *overrides, "hydra.run.dir=run")


def table(path, names, seed=0, classes=("a", "b")):
    rows = np.random.default_rng(seed).normal(size=(40, len(names)))
    lines = [",".join([*(f"{x:.4f}" for x in row), classes[i % 2]]) for i, row in enumerate(rows)]
    path.write_text("\n".join([",".join([*names, "kind"]), *lines]))
    return f"dataset.path={path}"


def test_signals_of_a_table_with_a_header_are_read_again(call, tmp_path):
    head, rows = ",".join(f"t{i}" for i in range(16)), np.random.default_rng(0).normal(size=(40, 16))
    np.savetxt(tmp_path / "signals.csv", rows, delimiter=",", header=head, comments="")
    given = ("dataset=table", f"dataset.path={tmp_path / 'signals.csv'}", "dataset.axes=nt")
    code, text = train(call, *given, "generator=mlp", "critic=mlp")
    assert code == 0, text
    code, text = call("sample", "run=run", "n=2", "format=npy", "out=x")
    assert code == 0 and np.load("x.npy").shape == (2, 16), text


@pytest.mark.parametrize("factor", [1e300, 1e-200])
def test_numbers_whose_spread_float64_does_not_hold_are_refused(call, tmp_path, factor):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(40, 2)) * factor)
    code, text = train(call, "dataset=table", f"dataset.path={tmp_path / 'x.npy'}")
    assert code == 1 and "the spread of column 0, 1 is too large or too small for float64" in text
    assert not (tmp_path / "run").exists()


def test_a_run_whose_checkpoints_could_not_be_read_does_not_start(call, tmp_path):
    code, text = train(call, "dataset=gaussians8", "critic.width=70000")
    assert code == 1 and "no checkpoint of this run could be read again: critic.width=70000 is above 65,536" in text
    assert not (tmp_path / "run").exists()


OWN = """
import numpy as np
import torch
from wgangp.data import Dataset
from wgangp.models import mlp


class Named(Dataset):
    shape, num_classes = (2,), 2

    def __init__(self, *, seed, device):
        self.class_names = tuple(np.array(["left", "right"]))

    def fetch(self, index, n):
        return (torch.arange(n) % 2,)

    def make(self, y):
        return torch.randn(len(y), 2) + y[:, None], y

    def describe(self):
        return np.array(["two points"])[0]


class Generator(mlp.Generator):
    def get_extra_state(self):
        return {"a": 1}

    def set_extra_state(self, state):
        pass
"""


def test_numbers_and_text_of_numpy_are_read_again(call, tmp_path, monkeypatch):
    (tmp_path / "own_parts.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    code, text = train(
        call, "dataset=gaussians8", "dataset._target_=own_parts.Named", "conditional=true", ALLOW, "monitor=critic/loss"
    )
    assert code == 0 and call("sample", "run=run", "n=2")[0] == 0, text


def test_a_network_whose_state_no_checkpoint_holds_does_not_start(call, tmp_path, monkeypatch):
    (tmp_path / "own_parts.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    code, text = train(call, "dataset=gaussians8", "generator._target_=own_parts.Generator", ALLOW)
    assert code == 1 and "_extra_state of its generator is a dict: only tensors can be kept" in text, text
    assert not (tmp_path / "run").exists()


def test_a_large_seed_of_an_architecture_is_no_size(call, tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((40, 32, 32, 3), np.uint8))
    small = ("generator.filters=[1]", "critic.filters=[1]", "architecture_seed=100000", "n_critic=1", "batch_size=4")
    given = ("experiment=paper/random_architecture", "dataset=array", f"dataset.path={tmp_path / 'x.npz'}")
    code, text = call("train", "steps=1", "compile=false", "evaluation_samples=8", *given, *small, "hydra.run.dir=run")
    assert code == 0, text
    assert call("sample", "run=run", "n=2")[0] == 0


@pytest.mark.parametrize(
    ("names", "classes", "conditional", "answer"),
    [
        (
            ("b", "a"),
            ("a", "b"),
            False,
            "the data have columns b, a, and the run was trained with a, b: give",
        ),
        (("a", "b", "c"), ("a", "b"), False, "the data have columns a, b, c, and the run was trained with a, b"),
        (("a", "b"), ("a", "c"), True, "the data have classes a, c, and the run was trained with a, b: give"),
    ],
)
def test_a_run_goes_with_data_of_its_own_kind(call, tmp_path, names, classes, conditional, answer):
    kind = ("dataset=table", "dataset.labels=kind", f"conditional={str(conditional).lower()}")
    code, text = train(call, *kind, table(tmp_path / "a.csv", ("a", "b")))
    assert code == 0, text
    other = table(tmp_path / "other.csv", names, classes=classes)
    for command in (("evaluate", "n=20"), ("resume", "steps=3")):
        code, text = call(command[0], "run=run", *command[1:], other)
        assert code == 1 and answer in text, text
        code, text = call(command[0], "run=run", *command[1:], table(tmp_path / "more.csv", ("a", "b"), seed=1))
        assert code == 0, text


@pytest.mark.parametrize("pixels", [True, False])
def test_pixels_and_numbers_of_one_shape_are_not_exchanged(call, tmp_path, pixels):
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.save("pixels.npy", x)
    np.save("numbers.npy", x * 0.5)
    own, other = ("pixels.npy", "numbers.npy") if pixels else ("numbers.npy", "pixels.npy")
    networks = ("generator=dcgan", "critic=dcgan")
    code, text = train(call, "dataset=array", "dataset.axes=nhw", f"dataset.path={own}", *networks)
    assert code == 0, text
    for command in (("evaluate", "n=20"), ("resume", "steps=3")):
        code, text = call(command[0], "run=run", *command[1:], f"dataset.path={other}")
        kinds = ["pixels, points or text", "arrays of numbers, which are scaled"]
        here, there = reversed(kinds) if pixels else kinds
        assert code == 1 and f"the data are {here}, and the run was trained with {there}" in text, text


def test_a_held_out_share_of_evaluation_is_a_number(call, tmp_path):
    code, text = train(call, "dataset=table", "dataset.labels=kind", table(tmp_path / "a.csv", ("a", "b")))
    assert code == 0, text
    code, text = call("evaluate", "run=run", "n=20", "dataset.held_out=0.25", "metrics=[ks]")
    assert code == 0, text


def test_a_data_folder_of_the_environment_is_not_that_of_a_recorded_run(tmp_path):
    folder = {"path": "/stranger", "cache": "/stranger/cache"}
    hub = {"_target_": "wgangp.data.sources.huggingface", "name": "name", "path": None, "download": True}
    given = OmegaConf.create({"path": None, "root": "/mine"})
    assert located(OmegaConf.create(folder), given, tmp_path).cache == str(tmp_path / "cache")
    assert located(OmegaConf.create(hub), given, tmp_path).download is False
    digits = located(OmegaConf.create({"root": "/stranger", "download": True}), given, tmp_path)
    assert digits.root == "/mine" and digits.download is True


def test_a_resumed_run_keeps_its_scaling(call, tmp_path):
    train(call, "dataset=table", "dataset.labels=kind", table(tmp_path / "a.csv", ("a", "b")))
    code, text = call("resume", "run=run", "steps=3", "dataset.scaling=minmax")
    assert code == 1 and re.search("the data have scaling minmax, and the run was trained with standard", text)


def test_scores_of_large_numbers_depend_on_the_generator(call, tmp_path):
    """Of time stamps, float32 has only steps of 128 seconds."""
    np.save(tmp_path / "x.npy", 1.7e9 + np.random.default_rng(0).normal(0, 10, (500, 2)))
    train(call, "dataset=table", f"dataset.path={tmp_path / 'x.npy'}", "lr_decay=none")
    code, text = call("evaluate", "run=run", "n=500", "metrics=[ks,sliced_wasserstein]")
    assert code == 0, text
    scores = json.loads((tmp_path / "run" / "evaluation.json").read_text())["metrics"]
    assert scores["eval/ks_max"] > 0.1 and scores["eval/sliced_wasserstein"] > 0.1, scores


def test_an_empty_class_is_refused(call, tmp_path):
    given = ("dataset=table", "dataset.labels=kind", table(tmp_path / "a.csv", ("a", "b"), classes=("a", " ")))
    code, text = train(call, *given)
    assert code == 1 and "row 2 has no class in the column kind: fill it in" in text


def test_a_missing_class_of_a_parquet_file_is_refused(call, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    rows = {"a": [1.0, 2.0, 3.0], "kind": ["x", None, "y"]}
    importlib.import_module("pyarrow.parquet").write_table(pyarrow.table(rows), tmp_path / "x.parquet")
    code, text = train(call, "dataset=table", "dataset.labels=kind", f"dataset.path={tmp_path / 'x.parquet'}")
    assert code == 1 and "row 2 has no class in the column kind" in text


def test_a_run_keeps_its_conditions(call, tmp_path):
    given = ("dataset=table", "dataset.columns=[a,b]", "conditional=true", table(tmp_path / "x.csv", [*"abcd"]))
    code, text = train(call, *given, "dataset.condition=[c,d]")
    assert code == 0, text
    code, text = call("resume", "run=run", "steps=3", "dataset.condition=[d,c]")
    assert code == 1 and "the data have conditions d, c, and the run was trained with c, d" in text


def test_a_run_keeps_its_characters(call, tmp_path):
    for name, letters in (("a", "abcde"), ("b", "vwxyz")):
        (tmp_path / f"{name}.txt").write_text("".join(f"{letters[i % 5]}{letters[i % 3]}\n" for i in range(60)))
    given = ("dataset=text", "dataset.length=4", "dataset.held_out=8", "generator.blocks=1", "critic.blocks=1")
    code, text = train(call, *given, f"dataset.path={tmp_path / 'a.txt'}")
    assert code == 0, text
    for command in (("resume", "steps=3"), ("evaluate", "n=20")):
        code, text = call(command[0], "run=run", *command[1:], f"dataset.path={tmp_path / 'b.txt'}")
        assert code == 1 and "and the run was trained with" in text and "characters" in text, text
