"""Whether a generator obeys its numeric conditions: they are read off its samples by a network trained on real ones."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgangp.data import Dataset
from wgangp.metrics import Metric, Result
from wgangp.metrics.arrays import within_memory
from wgangp.metrics.reference import Once, random_rows, size, training_samples
from wgangp.metrics.synthetic import trained


class ConditionsRead(Metric):
    """`condition_r2`: R^2 of the conditions read off generated samples, from those asked for; the mean of the numbers.

    R^2 = 1 - sum (read - asked)^2 / sum (asked - mean)^2: 1 if each number is as it was asked for, about 0 or less if
    the condition is ignored. The numbers are read by an MLP with one hidden layer of `width` units, which is trained on
    four fifths of the training samples for `steps` of Adam on batches of 256. Its R^2 on the other fifth is the
    ceiling.
    """

    higher_is_better: ClassVar = {"condition_r2": True}

    def __init__(self, samples: int, width: int, steps: int) -> None:
        self.samples, self.width, self.steps = samples, width, steps
        self.reader: Once[tuple[nn.Module, Tensor]] = Once()

    def suits(self, dataset: Dataset) -> bool:
        return dataset.condition_shape is not None and len(dataset.condition_shape) == 1

    def __call__(self, samples: Tensor, asked: Tensor | None, dataset: Dataset, device: torch.device) -> Result:
        if asked is None:
            raise ValueError("condition: needs a run with conditional=true, whose generator is asked for conditions")
        n = within_memory(self.samples, samples)
        n = min(n, size(dataset) or n)
        read, ceiling = self.reader(dataset, n, lambda: self.train(dataset, n))
        x, y = random_rows(samples, n), random_rows(asked, n)
        found = r_squared(read(dataset.comparable(x)), y)
        names = dataset.conditions.units.names if dataset.conditions is not None else ()
        rows = zip(names or map(str, range(len(found))), found.tolist(), ceiling.tolist(), strict=True)
        by_name = {name: {"value": a, "ceiling": b} for name, a, b in rows if math.isfinite(a + b)}
        measured_with = {"samples": len(x), "reference": f"{n:,} training samples"}
        details = {"ceiling": ceiling.nanmean().item(), "numbers": by_name}
        return Result({"condition_r2": found.nanmean().item()}, measured_with, {"condition_r2": details})

    def train(self, dataset: Dataset, n: int) -> tuple[nn.Module, Tensor]:
        """Returns the network that reads conditions, and its R^2 (k,) on real samples that it was not trained on."""
        x, y = dataset.comparable(training_samples(dataset, n)), dataset.training_conditions(n)
        if y is None:
            raise ValueError(f"condition: {type(dataset).__name__}.training_conditions returns none")
        mixed = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))  # a file may be sorted
        train, test = mixed.split([len(x) - len(x) // 5, len(x) // 5])
        read = trained(x[train], y[train], y.shape[1], F.mse_loss, self.width, self.steps)
        ceiling = r_squared(read(x[test]), y[test])
        if ceiling.isnan().all():
            raise ValueError("condition: none of the numbers varies among the training samples")
        return read, ceiling


def r_squared(found: Tensor, y: Tensor) -> Tensor:
    """Returns R^2 of found (n, k) from y (n, k), by column (k,); NaN where y is constant."""
    spread = (y - y.mean(0)).square().sum(0)
    return torch.where(spread > 0, 1 - (found - y).square().sum(0) / spread, torch.nan)
