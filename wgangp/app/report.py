"""Writes the configuration and the HParams row at the start of a run, and the scores at its end."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from wgangp.app.plain import plain
from wgangp.machine.distributed import is_main
from wgangp.metrics import names_of
from wgangp.metrics.scores import Scores
from wgangp.run_dir.evaluation import write_scores
from wgangp.run_dir.logger import Logger
from wgangp.run_dir.record import Record, flatten
from wgangp.training_loop import TrainingLoop

log = logging.getLogger(__name__)

# What TensorBoard's HParams tab shows of every run, overridden or not.
HYPERPARAMETERS = ("seed", "n_critic", "batch_size", "penalty.weight", "generator_optimizer.lr", "critic_optimizer.lr")


def introduce(logger: Logger, cfg: DictConfig, started_with: Record, scores: Scores) -> None:
    """Writes the configuration as text, and the HParams row, whose metrics are the scores and the monitor.

    It is written at the start, so that runs that are stopped, pruned or killed have it, too.
    """
    names = {f"eval/{name}" for name in names_of(scores.metrics.values())}
    names |= {cfg.monitor} if "/" in cfg.monitor else set()
    logger.hyperparameters(hyperparameters(cfg, started_with), sorted(names))
    logger.text("configuration", f"```yaml\n{OmegaConf.to_yaml(cfg, resolve=True)}```")


def report(run: Path, cfg: DictConfig, loop: TrainingLoop, scores: Scores) -> None:
    """Writes the final scores, and logs them."""
    final = {name: value for name, value in loop.latest.items() if name.startswith("eval/")}
    if final and is_main():
        measured_with = {"generator": "ema", "batchnorm": "batch", "seed": cfg.seed}
        try:
            write_scores(run, loop.trainer.step, measured_with, scores.results)
        except OSError as error:
            log.error("evaluation.json is not written: %s", error)
    for name, value in final.items():
        log.info("%s = %.4g", name, value)
    if (picture := run / "samples" / f"step_{loop.trainer.step:08d}.png").exists():
        log.info("samples: %s", picture)


def hyperparameters(cfg: DictConfig, started_with: Record) -> dict[str, Any]:
    """Returns the options and overrides of a run, and the keys by which runs are usually compared."""
    values = flatten(plain(cfg))
    keys = [override.lstrip("+~").partition("=")[0] for override in started_with.overrides]
    return dict(started_with.choices) | {key: values[key] for key in (*HYPERPARAMETERS, *keys) if key in values}
