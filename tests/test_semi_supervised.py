"""The classifier from few labels: its parts by their formulas, and what both methods share."""

import sys

import numpy as np
import pytest
import semi_supervised
import torch
from conftest import write_mnist
from semi_supervised import Classifier, Data, WeightNorm, feature_matching, first_of_each_class, gan_loss

from wgangp.app.build import build
from wgangp.app.compose import load_config


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(semi_supervised, "WIDTHS", (8, 6))
    monkeypatch.setattr(semi_supervised, "GENERATOR_WIDTH", 8)
    monkeypatch.setattr(semi_supervised, "BATCH", 4)


def two_classes(n=60):
    y = torch.arange(n) % 2
    x = torch.rand(n, 5, generator=torch.Generator().manual_seed(0)) + y[:, None]
    return Data(x, y, x, y, 2, images=False)


def test_the_first_logit_is_that_of_being_real():
    """exp(lse) / (1 + exp(lse)) is the probability of the k classes against a further logit of 0."""
    network = Classifier(5, 3).double().eval()
    out = network(torch.randn(4, 5, dtype=torch.float64))
    with_fake = torch.cat([out[:, 1:], torch.zeros(4, 1)], dim=1).softmax(1)
    torch.testing.assert_close(out[:, 0].sigmoid(), 1 - with_fake[:, -1])


def test_the_losses_by_hand():
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 1.0])
    by_hand = np.mean(np.log1p(np.exp([-2.0, 0.0]))) / 2 + np.mean(np.log1p(np.exp([-1.0, 1.0]))) / 2
    assert gan_loss(real, fake).item() == pytest.approx(by_hand, rel=1e-6)
    a, b = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[1.0, 1.0], [1.0, 3.0]])
    assert feature_matching(a, b) == ((2 - 1) ** 2 + (0 - 2) ** 2) / 2


def test_weight_normalisation_ignores_the_length_of_a_row():
    layer, x = WeightNorm(5, 3, learn_scale=False), torch.randn(4, 5)
    before = layer(x)
    with torch.no_grad():
        layer.weight[1] *= 7
    torch.testing.assert_close(layer(x), before)
    row = layer.weight[0] / layer.weight[0].norm()
    torch.testing.assert_close(before[:, 0], x @ row)


def test_the_first_weights_give_units_of_mean_0_and_variance_1():
    network, x = Classifier(5, 3), torch.randn(50, 5)
    network.initialise(x)
    std, mean = torch.std_mean(network.layers[0](x), dim=0, correction=0)
    torch.testing.assert_close(std, torch.ones(8))
    torch.testing.assert_close(mean, torch.zeros(8), atol=1e-5, rtol=0)


def test_labelled_samples_are_as_many_of_each_class():
    data = two_classes()
    assert data.y[first_of_each_class(data, 6)].tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match="--labels 7: give a multiple of the 2 classes"):
        first_of_each_class(data, 7)


def test_both_methods_see_the_same_labelled_batches_and_noise(monkeypatch):
    """Without the term of the GAN, they end with the same weights; another seed ends with others."""

    def trained(seed, gan):
        network = semi_supervised.train(two_classes(), 10, seed, 5, gan, build(load_config("penalty=none").penalty))
        return torch.cat([p.flatten() for p in network.parameters()])

    alone = trained(0, gan=False)
    assert not torch.equal(trained(0, gan=True), alone) and not torch.equal(trained(1, gan=False), alone)
    monkeypatch.setattr(semi_supervised, "gan_loss", lambda real, fake: torch.zeros(()))
    torch.testing.assert_close(trained(0, gan=True), alone, rtol=0, atol=0)


@pytest.mark.parametrize("penalty", ["wgan_lp", "weight_clipping", "gradient_normalisation", "spectral_norm"])
def test_penalties_of_conf_apply_to_the_classifier(penalty, monkeypatch):
    monkeypatch.setattr(semi_supervised, "EMA_DECAY", 0.0)
    data = two_classes()

    def trained(penalty):
        return semi_supervised.train(data, 10, 0, 3, True, build(load_config(f"penalty={penalty}").penalty))

    network = trained(penalty)
    assert not torch.equal(network.features(data.x), trained("none").features(data.x))
    if penalty == "weight_clipping":
        new = semi_supervised.Classifier(data.x.shape[1], data.num_classes)
        trained_ones = [name for name, p in new.named_parameters() if p.requires_grad]
        assert max(network.get_parameter(name).abs().max() for name in trained_ones) <= 0.01


def test_the_command(monkeypatch, tmp_path, capsys):
    """Runs whose scores are in the file are not repeated; the validation part is not in the training part."""
    write_mnist(tmp_path / "MNIST" / "raw", n=60)
    monkeypatch.chdir(tmp_path)
    command = ["semi_supervised.py", "dataset=mnist", f"dataset.root={tmp_path}", "--labels", "10", "--seeds", "0", "1"]
    monkeypatch.setattr(sys, "argv", [*command, "--steps", "2"])
    semi_supervised.main()
    first = capsys.readouterr().out
    assert "| 10 labels, with the GAN | 2 |" in first and (tmp_path / "few_labels.csv").read_text().count("\n") == 5
    monkeypatch.setattr(semi_supervised, "train", None)
    semi_supervised.main()
    assert capsys.readouterr().out == first

    cfg = load_config("dataset=mnist", f"dataset.root={tmp_path}", "seed=3")
    data = semi_supervised.load(cfg, validate=True, device=torch.device("cpu"))
    assert len(data.x) == 50 and len(data.test_x) == 10 and 0 <= data.x.min() < data.x.max() <= 1
    assert not (data.x[:, None] == data.test_x[None]).all(2).any()
    monkeypatch.setattr(sys, "argv", ["semi_supervised.py", "dataset=gaussians25"])
    with pytest.raises(SystemExit):
        semi_supervised.main()
    assert "no labels or no held-out part" in capsys.readouterr().err
