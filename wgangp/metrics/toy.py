"""Scores of points, and distances of arrays."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from wgangp.data import Dataset
from wgangp.metrics import Metric, Result
from wgangp.metrics.reference import Once, comparable_number, random_rows, separate_draws, size, training_samples

LONG = 128  # numbers of a vector
CEILING_POINTS = 100_000  # real points for the ceiling of high_quality: it is then known to 0.0003


class Modes(Metric):
    """`modes`, the centres that have a sample within 3 std, and `high_quality`, the share of such samples.

    As in VEEGAN (Srivastava et al. 2017) and PacGAN (Lin et al. 2018). The number of modes grows with the number of
    samples: it is counted among `samples` of them. The share is that of all samples; its ceiling is that of real data.
    """

    higher_is_better: ClassVar = {"modes": True, "high_quality": True}
    quick = True

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.ceiling: Once[float] = Once()

    def suits(self, dataset: Dataset) -> bool:
        return dataset.centres is not None and len(dataset.centres) > 0

    def __call__(self, samples: Tensor, asked: Tensor | None, dataset: Dataset, device: torch.device) -> Result:
        counted = random_rows(samples, self.samples)
        modes, _ = modes_found(counted, dataset.centres, dataset.std)
        _, high_quality = modes_found(samples, dataset.centres, dataset.std)
        details: dict[str, dict[str, Any]] = {
            "modes": {"samples": len(counted)},
            "high_quality": {"ceiling": self.ceiling(dataset, None, lambda: high_quality_of_data(dataset))},
        }
        values = {"modes": modes, "high_quality": high_quality}
        return Result(values, {"samples": len(samples), "reference": "the centres"}, details)


def modes_found(x: Tensor, centres: Tensor | None, std: float) -> tuple[int, float]:
    """Of x (n, 2): the number of centres (k, 2) that have a sample within 3 std, and the share of such samples.

    Raises ValueError if there are no centres.
    """
    if centres is None or not len(centres):
        raise ValueError("modes: this data has no modes; use wasserstein1")
    exact = "donot_use_mm_for_euclid_dist"  # matrix products lose the digits of points far from 0
    distance, mode = torch.cdist(x, centres.to(x.device), compute_mode=exact).min(dim=1)  # (n,), (n,)
    near = distance < 3 * std
    return len(torch.unique(mode[near])), near.float().mean().item()


def high_quality_of_data(dataset: Dataset) -> float:
    """Returns the share of real data within 3 std of a centre: 1 - exp(-9 / 2) of Gaussians in the plane."""
    return modes_found(training_samples(dataset, CEILING_POINTS), dataset.centres, dataset.std)[1]


class Distance(Metric):
    """A distance of points, and of arrays: as the networks see them, since columns of other units do not compare."""

    def suits(self, dataset: Dataset) -> bool:
        return len(dataset.shape) == 1 or dataset.units is not None


def as_points(dataset: Dataset, x: Tensor) -> Tensor:
    """Returns samples, as metrics take them, as points (n, d) whose distances have a meaning."""
    return dataset.comparable(x).flatten(1)


class Wasserstein1(Distance):
    """`wasserstein1`, the exact 1-Wasserstein distance between equal numbers of samples and of training points.

    Finite draws are never at distance 0. The floor is the distance between disjoint draws of the training points, of
    the same size: the mean and standard deviation of `draws` pairs.
    """

    higher_is_better: ClassVar = {"wasserstein1": False}

    def __init__(self, samples: int, draws: int) -> None:
        self.samples, self.draws = samples, draws
        self.floor: Once[dict[str, float]] = Once()

    def check(self) -> None:
        try:
            import scipy.optimize  # noqa: F401
        except ModuleNotFoundError as error:
            raise ValueError("wasserstein1: scipy is not installed: pip install -e '.[eval]'") from error

    def __call__(self, samples: Tensor, asked: Tensor | None, dataset: Dataset, device: torch.device) -> Result:
        n = comparable_number(dataset, self.samples, len(samples))
        real = as_points(dataset, training_samples(dataset, n).to(samples.device))
        distance = wasserstein1(as_points(dataset, random_rows(samples, n)), real)
        floor = self.floor(dataset, n, lambda: floor_of_data(dataset, n, self.draws))
        details = {"wasserstein1": {"floor": floor}} if floor else {}
        return Result({"wasserstein1": distance}, {"samples": n, "reference": f"{n:,} training points"}, details)


def wasserstein1(x: Tensor, y: Tensor) -> float:
    """Returns the exact 1-Wasserstein distance between x and y, both (n, d): the mean of the cheapest matching.

    Its time grows as n^3: a second at n = 2,000.
    """
    from scipy.optimize import linear_sum_assignment

    # Through matrix products, cdist loses the digits of near points; but of long vectors it takes minutes without.
    mode = "donot_use_mm_for_euclid_dist" if x.shape[1] <= LONG else "use_mm_for_euclid_dist"
    distance = torch.cdist(x.double(), y.double(), compute_mode=mode).cpu().numpy()  # (n, n)
    return float(distance[linear_sum_assignment(distance)].mean())


def floor_of_data(dataset: Dataset, n: int, draws: int) -> dict[str, float]:
    """Returns mean and std of wasserstein1 between disjoint draws of n training points; {} if there are no two."""
    available = size(dataset)
    pairs = draws if available is None else min(draws, available // (2 * n))
    if not pairs:
        return {}
    points = [as_points(dataset, drawn) for drawn in separate_draws(dataset, n, 2 * pairs)]
    distances = torch.tensor([wasserstein1(x, y) for x, y in zip(points[::2], points[1::2], strict=True)])
    return {"mean": distances.mean().item(), "std": distances.std(correction=0).item(), "draws": pairs}


class SlicedWasserstein(Distance):
    """`sliced_wasserstein`, the mean 1-Wasserstein distance over `projections` to random lines (Bonneel et al. 2015).

    On a line the cheapest matching is that of the sorted points, so it takes milliseconds, and needs no scipy.
    """

    higher_is_better: ClassVar = {"sliced_wasserstein": False}
    quick = True

    def __init__(self, samples: int, projections: int) -> None:
        self.samples, self.projections = samples, projections

    def __call__(self, samples: Tensor, asked: Tensor | None, dataset: Dataset, device: torch.device) -> Result:
        n = comparable_number(dataset, self.samples, len(samples))
        real = as_points(dataset, training_samples(dataset, n).to(samples.device))
        distance = sliced_wasserstein(as_points(dataset, random_rows(samples, n)), real, self.projections)
        return Result({"sliced_wasserstein": distance}, {"samples": n, "reference": f"{n:,} training points"})


def sliced_wasserstein(x: Tensor, y: Tensor, projections: int) -> float:
    """Returns the mean 1-Wasserstein distance between x and y, both (n, d), projected to random unit vectors."""
    directions = torch.randn(x.shape[1], projections, generator=torch.Generator().manual_seed(0)).to(x)
    directions = directions / directions.norm(dim=0)
    a, b = ((points @ directions).sort(dim=0).values for points in (x, y))  # (n, projections)
    return float((a - b).abs().mean())
