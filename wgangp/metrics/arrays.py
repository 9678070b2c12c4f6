"""Scores of arrays that are no pictures: marginals, correlations and power spectra. None needs a network."""

from typing import ClassVar

import torch
from torch import Tensor

from wgangp.data import Dataset
from wgangp.metrics import Metric, Result
from wgangp.metrics.reference import random_rows, training_samples

NUMBERS, FEWEST = 2**25, 100  # that are compared, at most; and samples, at least
VALUES = 2**17  # of each channel, at most, for its marginal distribution
MOST_LISTED = 64  # columns whose own scores evaluation.json lists
MOST_COLUMNS = 2000  # of correlations
EMPTY = 1e-9  # of the largest power: less is no power, but rounding

Compared = tuple[dict[str, float], dict[str, dict[str, object]]]  # scores, and their details, by name


class ArrayMetric(Metric):
    """Compares generated samples with as many training samples, both in the data's own units."""

    quick = True

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def suits(self, dataset: Dataset) -> bool:
        return dataset.units is not None

    def __call__(self, samples: Tensor, asked: Tensor | None, dataset: Dataset, device: torch.device) -> Result:
        n = within_memory(self.samples, samples)
        fake, real = random_rows(samples, n), training_samples(dataset, n)
        values, details = self.compare(fake, real, names_of_columns(dataset))
        return Result(values, {"samples": len(fake), "reference": f"{len(real):,} training samples"}, details)

    def compare(self, fake: Tensor, real: Tensor, names: list[str]) -> Compared:
        """Compares samples (n, k, *) with (m, k, *), whose columns have these names."""
        raise NotImplementedError


class Marginals(ArrayMetric):
    """`ks_mean` and `ks_max`, over the columns: Kolmogorov-Smirnov distances of generated from training numbers.

    The columns are those of vectors; of all else the channels, with the numbers of all places together. Equal
    distributions have about 0.87 sqrt(2 / n).
    """

    higher_is_better: ClassVar = {"ks_mean": False, "ks_max": False}

    def compare(self, fake: Tensor, real: Tensor, names: list[str]) -> Compared:
        distances = kolmogorov_smirnov(random_rows(columns(fake), VALUES), random_rows(columns(real), VALUES))
        listed = dict(zip(names, distances.tolist(), strict=True)) if len(names) <= MOST_LISTED else {}
        details: dict[str, object] = {"column": names[int(distances.argmax())], "columns": listed}
        return {"ks_mean": distances.mean().item(), "ks_max": distances.max().item()}, {"ks_max": details}


class Correlations(ArrayMetric):
    """`correlation_difference`, the mean absolute difference of the columns' correlations from the training samples'.

    Columns as for `Marginals`; those that are constant in the data have no correlation, and do not count.
    """

    higher_is_better: ClassVar = {"correlation_difference": False}

    def suits(self, dataset: Dataset) -> bool:
        return dataset.units is not None and dataset.shape[0] > 1

    def compare(self, fake: Tensor, real: Tensor, names: list[str]) -> Compared:
        difference = correlation_difference(random_rows(columns(fake), VALUES), random_rows(columns(real), VALUES))
        return {"correlation_difference": difference}, {}


class Spectrum(ArrayMetric):
    """`spectrum_difference`, the mean of |ln(P_fake / P_real)| over wavenumbers and channels, of signals and fields.

    P is the power spectrum, averaged over the samples and over all directions. Its ratio at each wavenumber, averaged
    over the channels, is in evaluation.json.
    """

    higher_is_better: ClassVar = {"spectrum_difference": False}

    def suits(self, dataset: Dataset) -> bool:
        return dataset.units is not None and len(dataset.shape) > 1 and max(dataset.shape[1:]) > 1

    def compare(self, fake: Tensor, real: Tensor, names: list[str]) -> Compared:
        places = real.flatten(2)
        varies = (places.amax(2) > places.amin(2)).any(0)  # (c,); the others have no power
        if not varies.any():
            raise ValueError("spectrum_difference: no channel varies within a sample")
        ratio = log_ratio(power_spectrum(fake[:, varies]), power_spectrum(real[:, varies]))  # (c, k)
        details: dict[str, object] = {"ratio": [round(r, 4) for r in ratio.mean(0).exp().tolist()]}
        return {"spectrum_difference": ratio.abs().mean().item()}, {"spectrum_difference": details}


def within_memory(wanted: int, samples: Tensor) -> int:
    """Returns how many of as many samples as are wanted are compared, so that their numbers are not too many."""
    return max(FEWEST, min(wanted, NUMBERS // samples[0].numel()))


def names_of_columns(dataset: Dataset) -> list[str]:
    names = () if dataset.units is None else dataset.units.names
    return list(names) or [str(i) for i in range(dataset.shape[0])]


def columns(x: Tensor) -> Tensor:
    """Returns the columns of vectors, or the channels of all else with all places as rows, (m, k)."""
    return x if x.ndim == 2 else x.movedim(1, -1).flatten(0, -2)


def kolmogorov_smirnov(x: Tensor, y: Tensor) -> Tensor:
    """Returns the greatest difference of the distribution functions of x (n, k) and y (m, k), by column, (k,)."""
    x, y = x.T.contiguous().sort(dim=1).values, y.T.contiguous().sort(dim=1).values
    both = torch.cat([x, y], dim=1)
    below = [torch.searchsorted(part, both, right=True) / part.shape[1] for part in (x, y)]
    return (below[0] - below[1]).abs().amax(dim=1)


def correlation_difference(x: Tensor, y: Tensor) -> float:
    """Returns the mean absolute difference of the correlations of x (n, k) from those of y (m, k), k > 1.

    A column that is constant in x alone counts as uncorrelated. Of more than 2,000 columns as many are taken, at even
    distances: memory grows with the square of their number. Raises ValueError if there is one sample alone, or all
    columns of y, or all but one, are constant.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError("correlation_difference: one sample has no correlations: take more")
    kept = torch.linspace(0, x.shape[1] - 1, min(x.shape[1], MOST_COLUMNS)).round().long()
    fake, real = (torch.corrcoef(part[:, kept].T.double()) for part in (x, y))  # NaN where a column is constant
    difference = (fake.nan_to_num(0.0) - real).abs()
    pairs = difference[torch.triu(torch.ones_like(difference), 1).bool() & difference.isfinite()]
    if not len(pairs):
        raise ValueError("correlation_difference: fewer than two columns vary")
    return pairs.mean().item()


def power_spectrum(x: Tensor) -> Tensor:
    """Returns the mean power of signals, fields or volumes x (n, c, *) at each wavenumber, (c, k), k from 1.

    Wavenumbers count the waves along the longest axis, up to two places a wave; frequencies are rounded to them, and
    all directions are averaged.
    """
    size, axes = x.shape[2:], tuple(range(2, x.ndim))
    frequency = torch.stack(torch.meshgrid(*map(torch.fft.fftfreq, size), indexing="ij")).norm(dim=0).flatten()
    wave = (frequency * max(size)).round().long()  # (places,)
    power = sum(torch.fft.fftn(part, dim=axes).abs().square().sum(0).flatten(1).double() for part in x.split(256))
    counts = torch.bincount(wave)
    by_wave = torch.zeros(x.shape[1], len(counts), dtype=torch.float64).index_add(
        1, wave, torch.as_tensor(power) / len(x)
    )
    kept = slice(1, max(size) // 2 + 1)
    return (by_wave / counts)[:, kept]


def log_ratio(p: Tensor, q: Tensor) -> Tensor:
    """Returns ln(p / q) of powers (c, k), where both count as a little more than no power."""
    least = EMPTY * q.amax(dim=1, keepdim=True)
    return ((p + least) / (q + least)).log()
