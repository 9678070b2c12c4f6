"""Which metrics score a run, and how they are run during training."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wgangp.data import Dataset
from wgangp.machine.distributed import is_main
from wgangp.machine.text import shown
from wgangp.metrics import Metric, Result

log = logging.getLogger(__name__)


def choose(
    catalogue: Mapping[str, Metric], dataset: Dataset, names: Sequence[str] | str | None, *, only_quick: bool
) -> dict[str, Metric]:
    """Returns the named metrics; if `names` is None, all that suit the data and lack no option, or the quick ones.

    Raises ValueError if a named metric is not in the catalogue, does not suit the data or lacks an option.
    """
    suitable = {name: metric for name, metric in catalogue.items() if metric.suits(dataset)}
    if names is None:
        return distinct({n: m for n, m in suitable.items() if not m.missing and (m.quick or not only_quick)})
    for name in names_in(names):
        if name not in suitable:
            raise ValueError(f"metrics: {name} does not apply to this dataset: choose from {', '.join(suitable)}")
        if suitable[name].missing:
            raise ValueError(f"metrics: {name} lacks an option: set {suitable[name].missing}")
    return distinct({name: suitable[name] for name in names_in(names)})


def distinct(metrics: dict[str, Metric]) -> dict[str, Metric]:
    """Returns the metrics. Raises ValueError if two give a score of the same name: a run has one of each."""
    giving: dict[str, str] = {}
    for name, metric in metrics.items():
        for score in metric.higher_is_better:
            if (other := giving.setdefault(score, name)) != name:
                raise ValueError(
                    f"metrics: {other} and {name} both give {score}: choose one of them, or give your own metric "
                    "another name for its score"
                )
    return metrics


def names_in(option: Sequence[str] | str) -> list[str]:
    """Returns the names of an option such as metrics=[fid,kid] or metrics=fid."""
    listed = isinstance(option, Sequence) and not isinstance(option, str)
    return [str(name) for name in (option if listed else [option])]


def check(metrics: Mapping[str, Metric]) -> dict[str, Exception]:
    """Returns the errors of the metrics for which a file or a package is missing."""
    errors: dict[str, Exception] = {}
    for name, metric in metrics.items():
        try:
            metric.check()
        except (ValueError, OSError) as error:
            errors[name] = error
    return errors


def score(
    metrics: Mapping[str, Metric], samples: Any, asked: Tensor | None, dataset: Dataset, device: torch.device
) -> tuple[list[Result], dict[str, Exception]]:
    """Returns the results, and the errors of the metrics that could not be computed."""
    results: list[Result] = []
    errors: dict[str, Exception] = {}
    for name, metric in metrics.items():
        try:
            results.append(plain(metric(samples, asked, dataset, device)))
        except Exception as error:  # a user's own metric may raise anything
            errors[name] = error
            log.debug("%s", name, exc_info=error)  # for its author, in train.log
    return results, errors


def plain(result: Result) -> Result:
    """Returns a metric's result in Python's own numbers: it may have some of NumPy or tensors.

    Raises TypeError or ValueError if it is no Result, a score is no number, or JSON has no form for the rest.
    """
    if not isinstance(result, Result):
        raise TypeError(f"a metric returned a {type(result).__name__}: make it return a wgangp.metrics.Result")
    how, details = json.loads(json.dumps([result.measured_with, result.details], default=number))
    return Result({str(name): float(value) for name, value in result.values.items()}, how, details)


def number(value: Any) -> float | int | bool:
    """Returns one number of NumPy, or of a tensor, as Python's. Raises TypeError if it is something else."""
    if getattr(value, "ndim", None) != 0:
        raise TypeError(f"{type(value).__name__} is not JSON serializable: give numbers, text, lists and dicts")
    return value.item()  # type: ignore[no-any-return]


def leave_out(errors: Mapping[str, Exception], metrics: Mapping[str, Metric], *, strict: bool) -> dict[str, Metric]:
    """Returns the metrics without errors, and logs why the others are left out.

    Raises the first error if `strict`, ValueError with all reasons if no metric is left.
    """
    if errors and strict:
        raise next(iter(errors.values()))
    left = {name: metric for name, metric in metrics.items() if name not in errors}
    if not left:
        reasons = dict.fromkeys(reason(error) for error in errors.values())
        raise ValueError("; ".join(reasons) or "no metric suits this data: give one as +scores.NAME._target_=...")
    warn(errors)
    return left


def warn(errors: Mapping[str, Exception]) -> None:
    """Logs one line for each reason, with the names of the metrics that are left out for it."""
    if not is_main():
        return
    names: dict[str, list[str]] = {}
    for name, error in errors.items():
        names.setdefault(reason(error), []).append(name)
    for text, those in names.items():
        log.warning(
            "%s cannot be computed and %s left out: %s", ", ".join(those), "is" if len(those) == 1 else "are", text
        )


def reason(error: Exception) -> str:
    """Returns an error in one line, with its type if it is none that our own metrics raise on purpose."""
    text = shown(error)
    return text if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {text}"


class Scores:
    """The metrics of a training run. Why one cannot be computed is logged once; it is tried again the next time."""

    def __init__(self, dataset: Dataset, metrics: Mapping[str, Metric], n: int, device: torch.device) -> None:
        self.dataset, self.metrics, self.n, self.device = dataset, dict(metrics), n, device
        self.reported = set[str]()  # the reasons that were reported
        self.results: list[Result] = []  # of the last evaluation

    def __call__(self, draw: Callable[[int], tuple[Any, Tensor | None]]) -> dict[str, float]:
        """Returns the scores by name of samples, asked = draw(n); {} on other ranks than the main one."""
        self.results = []
        found = draw(self.n) if self.metrics else None  # all ranks together
        if found is None or not is_main():
            return {}
        samples, asked = found
        self.results, errors = score(self.metrics, samples, asked, self.dataset, self.device)
        warn({name: error for name, error in errors.items() if reason(error) not in self.reported})
        self.reported |= {reason(error) for error in errors.values()}
        return {name: value for result in self.results for name, value in result.values.items()}
