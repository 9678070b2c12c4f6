"""Scores of arrays, against closed forms."""

import math
import sys
from functools import cache

import numpy as np
import pytest
import torch
from conftest import array, composed
from torch.nn import functional as F

from wgangp.app.build import build
from wgangp.metrics.arrays import Spectrum, correlation_difference, kolmogorov_smirnov, log_ratio, power_spectrum
from wgangp.metrics.scores import choose
from wgangp.metrics.synthetic import TrainOnSynthetic, accuracy_of, trained

CPU = torch.device("cpu")
OPTIONS = {"size": None, "channels": None, "classes": None, "limit": None, "flip": False, "dequantise": False}
OPTIONS |= {"held_out": None, "seed": 0, "device": CPU}
rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def the_same_numbers(monkeypatch):
    """Whichever tests ran before."""
    monkeypatch.setattr(sys.modules[__name__], "rng", np.random.default_rng(0))


@pytest.fixture
def load(tmp_path):
    def load(x, labels=None, **options):
        np.savez(tmp_path / "x.npz", x=x, **({} if labels is None else {"labels": labels}))
        return array(path=str(tmp_path / "x.npz"), **(OPTIONS | options))

    return load


@cache
def catalogue():
    return {name: build(node) for name, node in composed().scores.items()}


def scored(name, samples, dataset, asked=None):
    return catalogue()[name](samples, asked, dataset, CPU)


def test_kolmogorov_smirnov_of_known_samples():
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    y = torch.tensor([[0.0, 1.0], [1.0, 1.0], [9.0, 1.0]])
    assert kolmogorov_smirnov(x, y).tolist() == pytest.approx([1 / 3, 1.0])
    assert kolmogorov_smirnov(x, x[[2, 0, 1, 3]]).tolist() == [0, 0]
    from scipy.stats import ks_2samp

    a, b = rng.normal(size=(500, 2)), rng.normal(0.3, 1.5, size=(301, 2))
    expected = [ks_2samp(a[:, i], b[:, i]).statistic for i in range(2)]
    assert kolmogorov_smirnov(torch.from_numpy(a), torch.from_numpy(b)).tolist() == pytest.approx(expected)


def test_correlation_difference_of_known_matrices():
    z = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0))
    x = torch.stack([z[:, 0], z[:, 1], torch.full((20_000,), 3.0)], 1)  # the constant column does not count
    y = torch.stack([z[:, 0], 0.6 * z[:, 0] + 0.8 * z[:, 1], x[:, 2]], 1)
    assert correlation_difference(100 * x + 5, y) == pytest.approx(0.6, abs=0.02)
    assert correlation_difference(x, x) == 0
    with pytest.raises(ValueError, match="fewer than two columns vary"):
        correlation_difference(x[:, 1:], x[:, 1:])


def test_correlations_of_many_columns_take_little_memory():
    x = torch.from_numpy(rng.normal(size=(3, 20_000))).float()  # 3.2 GB for the correlations of all
    assert correlation_difference(x, x) == 0


def test_a_column_that_collapses_does_not_improve_the_correlations():
    """It was left out, and with it the correlation that it had lost."""
    real = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    real[:, 1] = real[:, 0]
    collapsed = real.clone()
    collapsed[:, 0] = 1.0
    assert correlation_difference(collapsed, real) == pytest.approx(1 / 3, abs=0.03)  # of three pairs one has lost 1
    assert correlation_difference(real, collapsed) < 0.05  # constant in the data: no correlation to be kept


@pytest.mark.parametrize("size", [(64,), (27,), (24, 40), (8, 10, 12)])
def test_the_spectrum_of_a_sine_is_one_line(size):
    longest = max(size)
    t = torch.arange(longest) / longest
    wave = (2 * math.pi * 3 * t).sin().view([longest if n == longest else 1 for n in size]).expand(*size)
    power = power_spectrum(torch.stack([wave, 2 * wave])[None])  # 3 waves along the longest axis, in two channels
    assert power.shape == (2, longest // 2) and (power.argmax(1) == 2).all()
    others = torch.arange(power.shape[1]) != 2
    assert (power[:, others] < 1e-6 * power[:, 2:3]).all()
    torch.testing.assert_close(power[1, 2], 4 * power[0, 2])


def test_the_spectrum_of_white_noise_is_flat_and_of_twice_the_noise_four_times_it(load):
    power = power_spectrum(torch.from_numpy(rng.normal(size=(4000, 2, 32))))
    assert (power / power.mean() - 1).abs().max() < 0.1  # the deviation of a real bin is sqrt(2 / 4000)
    data = load(rng.normal(size=(400, 2, 32)), axes="nct")
    result = scored("spectrum", 2 * data.reference()[0], data)
    assert result.values["spectrum_difference"] == pytest.approx(math.log(4), abs=1e-5)
    assert result.details["spectrum_difference"]["ratio"] == [4.0] * 16
    assert log_ratio(power, power).abs().max() == 0


def test_channels_without_variation_are_left_out_of_the_spectrum(load):
    x = rng.normal(size=(400, 3, 16))
    x[:, 1], x[:, 2] = 3.7, x[:, 2, :1]  # constant everywhere, and within each sample
    data = load(x, axes="nct")
    assert scored("spectrum", data.reference()[0], data).values == {"spectrum_difference": 0}
    data = load(x[:, 1:], axes="nct")
    with pytest.raises(ValueError, match="no channel varies"):
        scored("spectrum", data.reference()[0], data)


def test_scores_do_not_depend_on_the_units_of_a_column(load):
    x = rng.normal(size=(400, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 1]])
    fake = x[rng.permutation(400)] + 0.3 * rng.normal(size=x.shape)
    units = np.array([1.0, 1000.0, 0.01])
    for name in ("ks", "correlation", "sliced_wasserstein", "wasserstein1"):
        values = []
        for unit in (np.ones(3), units):
            values.append(scored(name, torch.from_numpy(fake * unit).float(), load(x * unit)).values)
        assert values[0] == pytest.approx(values[1], abs=1e-4), name


def test_the_floor_of_wasserstein_is_that_of_two_halves(load):
    data = load(rng.normal(size=(200, 4)))
    samples = data.reference()[0]
    result = scored("wasserstein1", samples, data)
    assert result.measured_with["samples"] == 100 and result.details["wasserstein1"]["floor"]["draws"] == 1
    moved = scored("wasserstein1", samples + 3, data)
    assert moved.values["wasserstein1"] > 2 * moved.details["wasserstein1"]["floor"]["mean"] > 0


def test_what_is_scored_by_default(load):
    labels = np.arange(40) % 2
    quick = {"sliced_wasserstein", "ks", "correlation"}
    for data, more in (
        (load(rng.normal(size=(40, 3))), set()),
        (load(rng.normal(size=(40, 2, 8)), axes="nct"), {"spectrum"}),
        (load(rng.normal(size=(40, 3, 8, 6)), labels, axes="nchw", held_out=0.2), {"spectrum"}),
    ):
        assert set(choose(catalogue(), data, None, only_quick=True)) == quick | more
    assert {"wasserstein1", "tstr"} < set(choose(catalogue(), data, None, only_quick=False))
    assert not Spectrum(10).suits(load(np.arange(40.0)[:, None]))
    pictures = load(rng.integers(0, 255, (40, 8, 8, 3)).astype("u1"))
    assert not {"ks", "spectrum", "sliced_wasserstein"} & set(choose(catalogue(), pictures, None, only_quick=False))


def test_train_on_synthetic_test_on_real(load):
    """Labels that say nothing make a classifier of chance; real ones reach the ceiling."""
    y = rng.integers(0, 2, 600)
    x = rng.normal(size=(600, 3)) + 4 * y[:, None]
    data = load(1000 * x, y, held_out=0.3)
    real, labels = data.reference("train")
    metric = TrainOnSynthetic(samples=1000, width=16, steps=100)
    good, bad = (metric(real, wanted, data, CPU) for wanted in (labels, labels[torch.randperm(len(labels))]))
    ceiling = good.details["tstr_accuracy"]["ceiling"]
    assert good.values["tstr_accuracy"] == ceiling > 0.97 and bad.values["tstr_accuracy"] < 0.8
    with pytest.raises(ValueError, match="conditional=true"):
        metric(real, None, data, CPU)
    before = torch.get_rng_state()
    classifier = trained(data.comparable(real), labels, 2, F.cross_entropy, 8, 10)
    assert (
        torch.equal(before, torch.get_rng_state()) and 0 <= accuracy_of(classifier, data.comparable(real), labels) <= 1
    )
