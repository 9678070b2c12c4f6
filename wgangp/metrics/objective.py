"""The scalar that a run is judged by (`monitor`): a sweep's objective, and what its best checkpoint is best by."""

import math

HIGHER_IS_BETTER = {"modes", "high_quality", "is", "precision", "recall", "score", "agreement", "accuracy"}


def monitored(values: dict[str, float], name: str) -> float:
    """The value called `name` or eval/`name`; NaN where there is none."""
    return values.get(name, values.get(f"eval/{name}", math.nan))


def sign(name: str) -> int:
    """1 where a lower value is better, as it is of losses and distances, and -1 where a higher one is."""
    score = name.removeprefix("eval/").removeprefix("validation/").removeprefix("classifier_")
    return -1 if score in HIGHER_IS_BETTER or name.startswith("throughput/") else 1
