"""Distances and modes of points, against closed forms."""

import pytest
import torch
from scipy.stats import wasserstein_distance

from wgangp.metrics.toy import modes_found, wasserstein1


def test_wasserstein1_equals_the_sorted_matching_in_one_dimension():
    torch.manual_seed(0)
    x, y = torch.randn(500, 1), 0.3 + 2 * torch.randn(500, 1)
    assert wasserstein1(x, y) == pytest.approx(wasserstein_distance(x[:, 0].numpy(), y[:, 0].numpy()), rel=1e-6)


def test_wasserstein1_of_a_shifted_and_shuffled_copy_is_the_shift():
    torch.manual_seed(0)
    x = torch.randn(500, 2)
    y = x[torch.randperm(500)] + torch.tensor([3.0, 4.0])
    assert wasserstein1(x, y) == pytest.approx(5, rel=1e-6)
    assert wasserstein1(x, x.flip(0)) == 0


def test_modes_found_have_a_near_sample():
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    x = torch.tensor([[0.29, 0.0], [0.0, 0.31], [1.0, 0.2], [1.0, -0.1]])
    assert modes_found(x, centres, std=0.1) == (2, 0.75)
