"""Every figure is drawn from run directories, and shows what they hold."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from conftest import write_mnist
from PIL import Image

SCRIPT = Path(__file__).parents[1] / "scripts" / "figures.py"


@pytest.fixture
def figures(monkeypatch):
    spec = importlib.util.spec_from_file_location("figures", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def draw(*arguments):
        monkeypatch.setattr(sys, "argv", ["figures.py", *map(str, arguments)])
        module.main()

    module.draw = draw
    return module


def test_figures_of_points(call, figures):
    small = ["batch_size=16", "generator.width=8", "critic.width=8", "critic.depth=5", "steps=4", "log_every=2"]
    for run, penalty in (("gp", "wgan_gp"), ("clip", "weight_clipping")):
        assert call("train", *small, f"penalty={penalty}", f"hydra.run.dir={run}")[0] == 0
    for name in ("level_sets", "gradients", "curves", "samples"):
        figures.draw(name, "gp", "clip", "--out", f"{name}.png")
        assert Image.open(f"{name}.png").width > 300
    norms, weights = figures.layer_gradients(figures.Run("clip"))
    assert len(norms) == 6 and weights.abs().max() <= 0.01
    steps, minutes, values = figures.Run("gp").curve("critic/loss")
    assert steps == [2, 4] and 0 < minutes[0] < minutes[1]
    assert values == [json.loads(row)["critic/loss"] for row in Path("gp/metrics.jsonl").read_text().splitlines()]


def test_scores_are_by_option_the_best_first_and_the_default_is_marked(call, figures):
    small = ["batch_size=16", "generator.width=8", "critic.width=8", "critic.depth=2", "steps=2", "log_every=1"]
    for i, penalty in enumerate(["wgan_gp_toy", "wgan_gp_toy", "weight_clipping", "wgan_lp"]):
        assert call("train", *small, f"seed={i}", f"penalty={penalty}", f"hydra.run.dir=run_{i}")[0] == 0
        rows = [json.loads(row) for row in Path(f"run_{i}/metrics.jsonl").read_text().splitlines()]
        rows[-1]["eval/high_quality"] = [0.1, 0.3, 0.4, 0.0][i]
        Path(f"run_{i}/metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    figures.draw("scores", *(f"run_{i}" for i in range(4)), "--key", "eval/high_quality", "--out", "scores.png")
    assert Image.open("scores.png").width > 300
    runs = [figures.Run(f"run_{i}") for i in range(4)]
    names = [("weight_clipping", False), ("wgan_gp_toy", True), ("wgan_lp", False)]
    assert list(figures.ranked(runs, "eval/high_quality", "penalty")) == names
    assert next(iter(figures.ranked(runs, "eval/high_quality", "seed"))) == ("2", False)
    with pytest.raises(ValueError, match="no run has eval/fid"):
        figures.ranked(runs, "eval/fid", "penalty")
    assert figures.axis_label("eval/high_quality") == "eval/high_quality (higher is better)"
    assert figures.axis_label("eval/fid") == "eval/fid (lower is better)"
    assert figures.axis_label("critic/loss") == "critic/loss"


def test_the_gradient_at_the_last_layers_output_is_known(call, figures):
    """f is that output itself, so each of 2 x 256 samples has a gradient of 1 / 256."""
    small = ["batch_size=16", "generator.width=8", "critic.width=8", "steps=1", "hydra.run.dir=run"]
    assert call("train", *small)[0] == 0
    assert figures.layer_gradients(figures.Run("run"))[0][-1] == pytest.approx(1 / 256)
    assert torch.isfinite(torch.tensor(figures.layer_gradients(figures.Run("run"))[0])).all()


def test_the_critics_loss_on_held_out_images(call, figures, tmp_path):
    write_mnist(tmp_path / "MNIST" / "raw")
    small = ["batch_size=8", "generator.width=2", "critic.width=2", "steps=2", "log_every=1", "n_critic=1"]
    assert call("train", "dataset=mnist", f"dataset.root={tmp_path}", *small, "hydra.run.dir=run")[0] == 0
    figures.draw("critic_loss", "run", "--out", "loss.png")
    assert Image.open("loss.png").width > 300
    with pytest.raises(SystemExit, match="curves: run has no eval/fid"):
        figures.draw("curves", "run", "--key", "eval/fid")
