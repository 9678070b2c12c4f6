"""Whether generators obey numeric conditions, against closed forms."""

from functools import cache

import numpy as np
import pytest
import torch
from conftest import composed

from wgangp.app.build import build, make_dataset
from wgangp.metrics.conditions import r_squared
from wgangp.metrics.scores import choose

CPU = torch.device("cpu")
N = 600


@cache
def catalogue():
    return {name: build(node) for name, node in composed().scores.items()}


def test_r_squared_of_known_numbers():
    y = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    assert r_squared(y, y)[0] == 1 and r_squared(y, y)[1].isnan()
    assert r_squared(torch.full((3, 2), 2.0), y)[0] == 0  # the mean, whatever was asked for
    assert r_squared(y.flip(0), y)[0] == pytest.approx(1 - 8 / 2)


@pytest.mark.parametrize("kind", ["signals", "pictures"])
def test_samples_that_obey_score_as_real_ones_and_others_lower(kind, tmp_path):
    rng = np.random.default_rng(0)
    y = rng.uniform(-1, 1, (N, 2))
    if kind == "signals":  # a sine whose amplitude and mean are asked for
        x = (y[:, :1] * np.sin(np.arange(16)) + y[:, 1:] + rng.normal(0, 0.05, (N, 16)))[:, None]
    else:  # brightness of both halves
        x = (127 + 100 * y).repeat(4, axis=1)[:, None].repeat(8, axis=1).astype(np.uint8)
    np.savez(tmp_path / "x.npz", x=x, y=np.c_[y, np.ones(N)], test_x=x[:1], test_y=np.ones((1, 3)))
    data = make_dataset(composed("dataset=array", f"dataset.path={tmp_path / 'x.npz'}", "dataset.condition=y"), CPU)
    metrics = choose(catalogue(), data, ["condition"], only_quick=False)
    samples, asked = data.reference("train", N)[0], data.training_conditions(N)

    def r2(asked):
        return metrics["condition"](samples, asked, data, CPU)

    obeyed, ignored = r2(asked), r2(asked[torch.randperm(N, generator=torch.Generator().manual_seed(0))])
    ceiling = obeyed.details["condition_r2"]["ceiling"]
    assert 0.95 < ceiling < 1 and 0.95 < obeyed.values["condition_r2"] < 1 and ignored.values["condition_r2"] < 0
    half = asked.clone()
    half[:, 1] = half[:, 1].flip(0)  # the second number alone is ignored
    by_name = r2(half).details["condition_r2"]["numbers"]
    assert by_name["0"]["value"] > 0.9 > 0 > by_name["1"]["value"] and "2" not in by_name  # a constant
    with pytest.raises(ValueError, match="needs a run with conditional=true"):
        r2(None)
