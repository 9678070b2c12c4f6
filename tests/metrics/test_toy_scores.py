"""Distances and modes of points, against closed forms, with their floor and ceiling."""

import math

import pytest
import torch
from conftest import Points
from scipy.stats import wasserstein_distance

from wgangp.data.toy import gaussians8, gaussians25, swissroll
from wgangp.metrics.reference import Once
from wgangp.metrics.toy import Modes, Wasserstein1, modes_found, sliced_wasserstein, wasserstein1

CPU = torch.device("cpu")


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


def test_sliced_wasserstein_of_a_shifted_copy_is_the_mean_projected_shift():
    """2 / pi of the shift in the plane; on a line it is the distance itself."""
    torch.manual_seed(0)
    x = torch.randn(500, 2)
    y = x[torch.randperm(500)] + torch.tensor([3.0, 4.0])
    assert sliced_wasserstein(x, y, 2000) == pytest.approx(5 * 2 / math.pi, rel=0.03)
    assert sliced_wasserstein(x[:, :1], y[:, :1], 7) == pytest.approx(wasserstein1(x[:, :1], y[:, :1]), rel=1e-5)
    assert sliced_wasserstein(x, x.flip(0), 10) == 0


def test_modes_found_have_a_near_sample():
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    x = torch.tensor([[0.29, 0.0], [0.0, 0.31], [1.0, 0.2], [1.0, -0.1]])
    assert modes_found(x, centres, std=0.1) == (2, 0.75)


def test_modes_far_from_zero_are_those_near_it():
    torch.manual_seed(0)
    centres = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0))
    x = centres.repeat(200, 1) + 0.2 * torch.randn(5000, 2)
    far, near = (modes_found(x + offset, centres + offset, std=0.05) for offset in (1000.0, 0.0))
    assert far[0] == near[0] == 25 and far[1] == pytest.approx(near[1], abs=0.003)  # of rounding to 6e-5


def test_modes_are_counted_among_the_samples_that_they_name():
    """One sample of 1,000 is at the second centre: 2,500 samples find it, and ten most likely do not."""
    data = gaussians8(seed=0, device=CPU)
    x = data.centres[(torch.arange(5000) % 1000 == 0).long()]
    for n, modes in [(2500, 2), (10, 1)]:
        result = Modes(samples=n)(x, None, data, CPU)
        assert result.values == {"modes": modes, "high_quality": 1}
        assert result.how("modes")["samples"] == n and result.how("high_quality")["samples"] == 5000
    in_order = data.centres[torch.arange(5000) // 2500]
    assert Modes(samples=2500)(in_order, None, data, CPU).values["modes"] == 2  # a draw, not the first ones


@pytest.mark.parametrize("make", [gaussians8, gaussians25])
def test_the_ceiling_of_high_quality_is_that_of_gaussians_in_the_plane(make):
    data = make(seed=0, device=CPU)
    result = Modes(samples=2500)(data.centres, None, data, CPU)
    assert result.how("high_quality")["ceiling"] == pytest.approx(1 - math.exp(-4.5), abs=0.001)


@pytest.mark.parametrize("make", [gaussians8, gaussians25, swissroll])
def test_data_score_the_floor_against_themselves(make):
    data, metric = make(seed=0, device=CPU), Wasserstein1(samples=200, draws=5)
    fresh, _ = data.reference("train", 200, seed=5)
    result = metric(fresh, None, data, CPU)
    floor = result.how("wasserstein1")["floor"]
    assert floor["draws"] == 5 and 0 < floor["std"] < floor["mean"]
    assert abs(result.values["wasserstein1"] - floor["mean"]) < 5 * floor["std"]
    again = metric(fresh, None, data, CPU)
    assert again.how("wasserstein1")["floor"] is floor  # once for each dataset


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_few_points_are_scored(n):
    data = gaussians25(seed=0, device=CPU)
    result = Wasserstein1(samples=2000, draws=5)(data.centres[:n], None, data, CPU)
    assert result.measured_with["samples"] == n and math.isfinite(result.values["wasserstein1"])
    assert all(map(math.isfinite, result.how("wasserstein1")["floor"].values()))
    assert Modes(samples=2500)(data.centres[:n], None, data, CPU).values == {"modes": n, "high_quality": 1}


class Few(Points):
    """Eleven points in a row, sorted."""

    def __len__(self):
        return 11

    def reference(self, part="train", n=None, seed=0):
        points = torch.stack([torch.arange(11.0), torch.zeros(11)], dim=1)
        picked = torch.randperm(11, generator=torch.Generator().manual_seed(seed))[:n]
        return points[picked], torch.zeros(len(picked))


class Sorted(Few):
    """As many points as two draws take, in the file's order."""

    def __len__(self):
        return 600

    def reference(self, part="train", n=None, seed=0):
        points = torch.linspace(0, 1, 600)[:, None].expand(-1, 2)
        return points[: n or 600], torch.zeros(600)


def test_the_floor_of_a_sorted_file_is_that_of_random_halves():
    """Not that of its first half against its second, which are 0.5 apart in each coordinate."""
    result = Wasserstein1(samples=300, draws=5)(torch.rand(300, 2), None, Sorted(), CPU)
    assert result.how("wasserstein1")["floor"]["mean"] < 0.1


def test_draws_of_the_data_are_disjoint_and_no_more_than_there_are():
    x = torch.zeros(100, 2)
    by_n = {n: Wasserstein1(samples=n, draws=5)(x, None, Few(), CPU) for n in (1, 2, 5, 6, 100)}
    floors = {n: result.how("wasserstein1").get("floor") for n, result in by_n.items()}
    assert {n: floor and floor["draws"] for n, floor in floors.items()} == {1: 5, 2: 2, 5: 1, 6: None, 100: None}
    assert all(floor is None or floor["mean"] >= 1 / 5 for floor in floors.values())  # no point is in both
    assert by_n[100].measured_with["samples"] == 11 and by_n[100].values["wasserstein1"] == pytest.approx(5)


def test_values_are_computed_once_for_each_object_and_forgotten_with_it():
    once, x, numbers = Once(), torch.zeros(2), iter(range(10))
    assert [once(x, key, lambda: next(numbers)) for key in "aba"] == [0, 1, 0]
    assert once(torch.zeros(2), "a", lambda: next(numbers)) == 2  # an equal tensor is another object
    assert len(once.values) == 1
    del x
    assert len(once.values) == 0
