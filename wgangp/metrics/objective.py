"""The scalar that a run is judged by (`monitor`): a sweep's objective, and what chooses its best checkpoint."""

import math
from collections.abc import Iterable
from typing import Protocol

from wgangp.metrics import Metric

# Our scores, for runs whose metrics are not at hand, such as those of a sweep's table.
HIGHER_IS_BETTER = {
    *("modes", "high_quality", "is", "precision", "recall", "precision_vgg16", "recall_vgg16"),
    *("classifier_score", "classifier_precision", "classifier_recall", "classifier_agreement", "validation/accuracy"),
    *("stacked_modes", "tstr_accuracy", "condition_r2"),
}


class Trial(Protocol):
    """A trial of a search, which watches the running job's scores."""

    def report(self, step: int, value: float) -> bool:
        """Takes the monitored score after a step; returns whether the job is to be pruned."""
        ...


def monitored(values: dict[str, float], name: str) -> float:
    """Returns the value called `name` or eval/`name`; NaN if there is none."""
    return values.get(name, values.get(f"eval/{name}", math.nan))


def higher_is_better(name: str, metrics: Iterable[Metric]) -> bool:
    """Returns whether a higher value of this scalar is better; not so of losses and distances.

    The metrics that are at hand decide, then our own scores by their names.
    """
    score = name.removeprefix("eval/")
    for metric in metrics:
        if score in metric.higher_is_better:
            return metric.higher_is_better[score]
    return score in HIGHER_IS_BETTER or name.startswith("throughput/")
