"""The scores of a training run, from its configuration."""

import torch
from omegaconf import DictConfig

from wgangp.app.build import build
from wgangp.app.errors import near
from wgangp.data import Dataset
from wgangp.metrics import names_of
from wgangp.metrics.scores import Scores, choose

LOGGED = ("critic/", "generator/", "validation/", "penalty/", "throughput/")


def make_scores(cfg: DictConfig, dataset: Dataset, device: torch.device) -> Scores:
    """Returns the chosen metrics. Raises ValueError if one lacks a file or package, or none gives the `monitor`."""
    catalogue = {name: build(node, allow=cfg.allow) for name, node in cfg.scores.items()}
    metrics = choose(catalogue, dataset, cfg.evaluate.metrics, only_quick=True)
    for metric in metrics.values():
        metric.check()
    check_monitor(cfg.monitor, names_of(metrics.values()), names_of(catalogue.values()))
    return Scores(dataset, metrics, cfg.evaluation_samples, device)


def check_monitor(monitor: str, computed: set[str], known: set[str]) -> None:
    """Raises ValueError if the run will have no scalar of this name."""
    name = monitor.removeprefix("eval/")
    if name in computed or monitor.startswith(LOGGED):
        return
    if name in known:
        raise ValueError(
            f"monitor={monitor}: this run does not compute it; choose its metric by evaluate.metrics=[...]"
        )
    raise ValueError(
        f"monitor={monitor}: there is no such score.{near(name, sorted(computed) or ['critic/wasserstein'])}"
    )
