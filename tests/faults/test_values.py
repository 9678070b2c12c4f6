"""Wrong values of every numeric key: each is refused in one line that names the key."""

import copy
import math

import numpy as np
import pytest
import torch
from conftest import composed
from omegaconf import OmegaConf

from wgangp.app.build import build, make_dataset, make_trainer
from wgangp.app.checks import check
from wgangp.app.errors import one_line
from wgangp.app.paths import CONF
from wgangp.app.plain import plain
from wgangp.run_dir.record import flatten

CPU = torch.device("cpu")
NONSENSE = ["abc", math.nan, None, [1], {"a": 1}, True, ""]
SUSPECT = [-1, 0, math.inf, 2.5]  # some keys take some of them; no other error than ours may come
TOYS = ["steps=2", "batch_size=8", "n_critic=1", "generator.width=4", "critic.width=4", "evaluation_samples=20"]
IMAGES = [*TOYS, "dataset=array", "dataset.path=x.npz"]
TEXT = [*TOYS, "dataset=text", "dataset.path=lines.txt", "dataset.length=8", "dataset.held_out=10"]
RMSPROP = ["optimizer@generator_optimizer=rmsprop", "optimizer@critic_optimizer=rmsprop_torch"]
RUNS = {
    "points": [*TOYS, "penalty/schedule=adaptive"],
    "dcgan": [*IMAGES, "generator=dcgan", "critic=dcgan", "penalty=ct", *RMSPROP],
    "resnet": [*IMAGES, "penalty=sobolev", "generator.max_width=4"],
    "clipped": [*IMAGES, "generator=resnet_pyramid", "critic=resnet_pyramid", "penalty=weight_clipping"],
    "text": [*TEXT, "penalty=finite_difference", "penalty/schedule=linear"],
    "gru": [*TEXT, "critic=char_gru"],
    "attention": [*TEXT, "critic=char_attention"],
}


def refused(cfg, key, value, dataset):
    """The message, or None if the value is accepted: its parts are built, and take a step."""
    cfg = copy.deepcopy(cfg)
    OmegaConf.update(cfg, key, value, merge=False)
    try:
        check(cfg)
        if key.startswith("scores."):
            build(cfg.scores[key.split(".")[1]])
        else:
            trainer = make_trainer(cfg, make_dataset(cfg, CPU) if key.startswith("dataset.") else dataset, CPU)
            trainer.train_step()
    except (ValueError, OSError) as error:
        return str(error)
    return None


DATASETS = [file.stem for file in sorted((CONF / "dataset").glob("*.yaml"))]


@pytest.mark.parametrize("name", DATASETS)
def test_a_key_that_must_be_given_is_asked_for(name):
    cfg = composed(f"dataset={name}")
    if missing := OmegaConf.missing_keys(cfg):
        with pytest.raises(Exception) as raised:
            make_dataset(cfg, CPU)
        assert one_line(raised.value) == "".join(f"{key} is missing: give {key}=..." for key in missing)


@pytest.mark.parametrize("run", RUNS)
def test_nonsense_is_refused_in_one_line(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    np.savez("x.npz", images=images, labels=np.arange(20) % 4)
    (tmp_path / "lines.txt").write_text("\n".join(f"line {i}" for i in range(40)))
    cfg = composed(*RUNS[run])
    dataset = make_dataset(cfg, CPU)
    parts = ("generator", "critic", "penalty", "dataset.", *(["scores."] if run == "points" else []))
    for key, default in flatten(plain(cfg)).items():
        if type(default) not in (int, float) or not (run == "points" or key.startswith(parts)):
            continue
        for value in NONSENSE:
            message = refused(cfg, key, value, dataset)
            assert message and key.rpartition(".")[2] in message and "\n" not in message, f"{key}={value}: {message}"
        for value in SUSPECT:
            message = refused(cfg, key, value, dataset)
            assert message is None or "\n" not in message, f"{key}={value}: {message}"


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("penalty.weight=abc", "penalty.weight=abc: give a number"),
        ("penalty.weight=null", "penalty.weight=null: give a number"),
        ("generator_optimizer.lr=abc", "generator_optimizer.lr=abc: give a number above 0"),
        ("generator_optimizer.betas=0.9", "generator_optimizer.betas=0.9: give two numbers"),
        ("+steps=3", "+steps: this key is there already: write it without +"),
        ("~generator.width", "generator.width is missing: give generator.width=..."),
        ("threads=3000", "threads=3000: give a whole number from 1 to 1,024, or auto"),
        ("evaluation_samples=99999999999", "give a whole number of at least 1, at most 100,000,000"),
        ("seed=${oc.env:SEED}", "This is text: of the environment take ${oc.decode:${oc.env:NAME}}"),
        ("steps=1e3", "steps=1000.0: give a whole number of at least 1, below 2^53, such as 1000"),
        ("steps=", "steps=: give a whole number"),
        ("batch_size=2.5", "batch_size=2.5: give a whole number"),
        ("seed=-1", "seed=-1: give a whole number of at least 0"),
        ("n_critic=0", "n_critic=0: give a whole number of at least 1"),
        ("generator.nz=0", "generator.nz=0: give a whole number of at least 1"),
        ("class_weight=nan", "class_weight=nan: give a number"),
        ("deterministic=0", "deterministic=0: choose true, false"),
        ("lr_decay=foo", "lr_decay=foo: choose none, linear"),
        ("allow=numpy", "allow=numpy: give a list of names, as in allow=[numpy]"),
        ("allow=null", "allow=null: give a list"),
        ("monitor=null", "monitor=null: give the name of a scalar"),
        ("monitor=critic/wassertein", "Did you mean critic/wasserstein"),
        ("monitor=validation/critic_loss", "this run has no held-out data"),
        ("generator=", "generator"),
        ("generator=foo", "generator=foo: there is no such option"),
        ("penalty.points=nowhere", "points"),
        ("~dataset.n", "dataset.n: there is no such key. This dataset has no keys"),
        ("--hlep", "--hlep: there is no such option. Did you mean --help"),
    ],
)
def test_the_answer_says_what_to_give(typed, answer, call, tmp_path, monkeypatch):
    monkeypatch.setenv("SEED", "3")
    code, text = call("train", *TOYS, typed)
    assert code == 1 and answer in text and len(text.strip().splitlines()) == 1, text
    assert not list(tmp_path.iterdir())


def test_numbers_of_your_own_metric_are_yours():
    cfg = composed()
    OmegaConf.set_struct(cfg, False)
    cfg.scores.mine = {"_target_": "my_package.Spread", "radius": 0.5, "offset": -1}
    check(cfg)
    cfg.scores.mine._target_ = "wgangp.metrics.toy.Modes"
    with pytest.raises(ValueError, match=r"scores.mine.radius=0.5: give a whole number of at least 1"):
        check(cfg)
