"""Scores of a generator: what a metric must offer, and what it returns."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:  # wgangp-summarize imports this package and needs no torch
    import torch
    from torch import Tensor

    from wgangp.data import Dataset


@dataclass(frozen=True)
class Result:
    """Scores by name, and how they were measured: extractor and hash of its weights, number of samples, reference.

    `details` holds what is true of one score only, by its name. There, "floor" (a dict of mean, draws and, of
    several draws, std) is the score of the data against themselves, and "ceiling" the score of real data: no generator
    does better.
    """

    values: dict[str, float]
    measured_with: dict[str, Any]
    details: dict[str, dict[str, Any]] = field(default_factory=dict)

    def how(self, name: str) -> dict[str, Any]:
        """Returns how the score `name` was measured."""
        return self.measured_with | self.details.get(name, {})


class Metric:
    """Scores samples. A configuration names one by `_target_`, in conf/scores.yaml or on the command line."""

    higher_is_better: ClassVar[dict[str, bool]]  # every score that it may return, by name
    quick: ClassVar[bool] = False  # cheap enough to run during training without being asked for
    missing: str | None = None  # the option that it was not given and cannot work without, and how to get it

    def suits(self, dataset: "Dataset") -> bool:
        """Returns whether it can score this kind of data. Any kind, if a subclass does not say."""
        return True

    def check(self) -> None:
        """Called before training. Raises ValueError or OSError if a file or package that it needs is missing."""
        if self.missing:
            raise ValueError(f"set {self.missing}")

    def __call__(self, samples: Any, asked: "Tensor | None", dataset: "Dataset", device: "torch.device") -> Result:
        """Scores generated samples, as `dataset.to_metric_input` returns them, against those of `dataset.reference`.

        `asked` are the classes (n,) that the generator was asked for, or the conditions (n, *) as the networks see
        them; None if it takes none. Large networks run on `device`. Raises ValueError if the samples are too few or do
        not fit.
        """
        raise NotImplementedError


def names_of(metrics: Iterable[Metric]) -> set[str]:
    """Returns the names of all scores that these metrics may return."""
    return {name for metric in metrics for name in metric.higher_is_better}
