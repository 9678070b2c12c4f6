"""The scalar that a run is judged by (`monitor`): a sweep's objective, and what its best checkpoint is best by."""

import math
from typing import Protocol

HIGHER_IS_BETTER = {"modes", "high_quality", "is", "precision", "recall", "score", "agreement", "accuracy"}


class Trial(Protocol):
    """A trial of a search, which watches the running job's scores."""

    def report(self, step: int, value: float) -> bool:
        """Takes the monitored score after a step; returns whether the job is to be pruned."""
        ...


def monitored(values: dict[str, float], name: str) -> float:
    """The value called `name` or eval/`name`; NaN where there is none."""
    return values.get(name, values.get(f"eval/{name}", math.nan))


def sign(name: str) -> int:
    """1 where a lower value is better, as it is of losses and distances, and -1 where a higher one is."""
    score = name.removeprefix("eval/").removeprefix("validation/").removeprefix("classifier_")
    return -1 if score in HIGHER_IS_BETTER or name.startswith("throughput/") else 1


def higher_is_better(name: str) -> bool:
    """Whether a higher value of this scalar is better."""
    return sign(name) < 0
