"""The scores of a training run, from its configuration."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig

from wgangp.app.build import build
from wgangp.app.errors import near
from wgangp.data import Dataset
from wgangp.metrics import Metric, names_of
from wgangp.metrics.scores import Scores, choose
from wgangp.tags import SCALARS, VALIDATION

WITH_LOGITS = ("auto", "acgan")  # of labels


def catalogue(cfg: DictConfig) -> dict[str, Metric]:
    """Returns the metrics of conf/scores, and the user's own, by name. Raises ValueError if one is no Metric."""
    metrics: dict[str, Metric] = {name: build(node, allow=cfg.allow) for name, node in cfg.scores.items()}
    for name, metric in metrics.items():
        if not isinstance(metric, Metric) or not hasattr(metric, "higher_is_better"):
            raise ValueError(
                f"scores.{name} is a {type(metric).__name__}: make it a subclass of wgangp.metrics.Metric that has "
                "higher_is_better"
            )
    return metrics


def make_scores(cfg: DictConfig, dataset: Dataset, device: torch.device) -> Scores:
    """Returns the chosen metrics. Raises ValueError if one lacks a file or package, or none gives the `monitor`."""
    known = catalogue(cfg)
    metrics = choose(known, dataset, cfg.evaluate.metrics, only_quick=True)
    for metric in metrics.values():
        metric.check()
    has_logits = cfg.conditional and dataset.num_classes > 0 and cfg.critic.get("condition", "auto") in WITH_LOGITS
    logged = [*SCALARS]
    if dataset.held_out(0, 1) is not None:
        has_not = {"validation/accuracy": not has_logits, "validation/content": cfg.content == "none"}
        logged += [name for name in VALIDATION if not has_not.get(name)]
    check_monitor(cfg.monitor, names_of(metrics.values()), logged, names_of(known.values()))
    return Scores(dataset, metrics, cfg.evaluation_samples, device)


def check_judged(monitor: str, objective: float, run: Path) -> None:
    """Raises ValueError if the monitored score could not be computed after the last step.

    A scalar that is logged is missing only where a run is resumed after its last step, to be scored again.
    """
    if math.isnan(objective) and monitor.rpartition("/")[0] in ("", "eval"):
        raise ValueError(
            f"monitor={monitor} could not be computed, so this run has no final score; its networks are saved. Remove "
            f"the cause above, then score them: wgangp-resume run={run}"
        )


def check_monitor(monitor: str, computed: set[str], logged: Sequence[str], known: set[str]) -> None:
    """Raises ValueError if the run will have no scalar of this name, neither a score nor one that is logged."""
    name = monitor.removeprefix("eval/")
    if name in computed or monitor in logged:
        return
    if monitor in VALIDATION:
        raise ValueError(f"monitor={monitor}: this run has no held-out data, no class logits or no content term for it")
    if name in known:
        raise ValueError(
            f"monitor={monitor}: this run does not compute it; choose its metric by evaluate.metrics=[...], or "
            "another monitor="
        )
    raise ValueError(f"monitor={monitor}: there is no such score.{near(name, [*sorted(computed), *logged])}")
