"""The official samplers: centres, spreads, ranges and order."""

import math

import pytest
import torch

from wgangp.data.toy import gaussians8, gaussians25, swissroll
from wgangp.machine.seeds import seed_step

CPU = {"seed": 0, "device": torch.device("cpu")}


def test_gaussians8():
    data = gaussians8(**CPU)
    torch.manual_seed(0)
    x, y = data.batch(0, 40_000)
    mode = torch.cdist(x, data.centres).argmin(1)
    assert data.shape == (2,) and not y.any()
    torch.testing.assert_close(data.centres.norm(dim=1), torch.full((8,), 2 / 1.414))
    assert data.std == pytest.approx(0.02 / 1.414)
    assert torch.bincount(mode, minlength=8).float().std() / 5000 < 0.05
    assert (x - data.centres[mode]).std().item() == pytest.approx(data.std, rel=0.02)


def test_gaussians25_is_a_fixed_set_in_a_fixed_order():
    data = gaussians25(**CPU)
    x, _ = data.batch(0, 100_000)
    mode = torch.cdist(x, data.centres).argmin(1)
    assert torch.bincount(mode).tolist() == [4000] * 25
    assert data.centres.max().item() == pytest.approx(4 / 2.828)
    assert (x - data.centres[mode]).std().item() == pytest.approx(0.05 / 2.828, rel=0.01)
    assert torch.equal(data.batch(3, 256)[0], x[768:1024])
    assert torch.equal(data.batch(1, 60_000)[0], torch.cat([x[60_000:], x[:20_000]]))  # again from the start
    assert mode[:100].unique().numel() > 15  # shuffled


def test_swissroll_lies_on_its_curve():
    """x = t cos t, z = t sin t with t in [1.5 pi, 4.5 pi], noise 0.25, all / 7.5."""
    torch.manual_seed(0)
    x, _ = (data := swissroll(**CPU)).batch(0, 5000)
    t = torch.linspace(1.5 * math.pi, 4.5 * math.pi, 20_000)
    curve = torch.stack([t * t.cos(), t * t.sin()], 1) / 7.5
    distance = torch.cdist(x, curve).min(1).values
    assert distance.square().mean().sqrt().item() == pytest.approx(0.25 / 7.5, rel=0.05)  # across the curve only
    assert len(data.centres) == 0 and data.held_out(0, 3) is None


@pytest.mark.parametrize("data", [gaussians8, gaussians25, swissroll])
def test_batches_are_functions_of_seed_and_step(data):
    data = data(**CPU)
    batches = []
    for _ in range(2):
        seed_step(5, 17)
        batches.append(data.batch(4, 32)[0])
    assert torch.equal(*batches) and batches[0].shape == (32, 2)
