"""wgangp-evaluate run=DIR: scores of a trained generator, as a table and in DIR/evaluation.json."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from wgangp.app.compose import command

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wgangp.metrics.scores import Measure, Result

log = logging.getLogger(__name__)


def main() -> None:
    """Under torchrun the processes share the sampling, and the first one scores and tells."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        command(evaluate, "evaluate")
        return
    from wgangp.machine import distributed

    distributed.join()
    try:
        command(evaluate, "evaluate")
    finally:
        distributed.leave()


def evaluate(cfg: DictConfig) -> None:
    """Scores the run's generator against its dataset, both as the checkpoint records them."""
    from omegaconf import OmegaConf

    from wgangp.app.build import build
    from wgangp.machine.device import choose_device
    from wgangp.machine.distributed import is_main
    from wgangp.metrics import scores
    from wgangp.run import load_generator
    from wgangp.run_dir.checkpoint import header_of, load_newest

    checkpoint, state = load_newest(Path(cfg.run))
    device = choose_device(cfg.device)
    config = OmegaConf.create(header_of(state).config)
    dataset = build(config.dataset, seed=config.seed, device=device)
    names = list(cfg.metrics or scores.default_names(dataset, cfg.classifier))
    if cfg.classifier and "classifier" not in names:
        names.append("classifier")
    measures = scores.measures(dataset, names, weights=cfg.weights, classifier=cfg.classifier, device=device)

    generator = load_generator(checkpoint, cfg.ema, cfg.batchnorm).to(device)
    x, y = draw(generator, dataset, cfg.n, cfg.seed, device)
    if not is_main():
        return
    results = compute(measures, x, y if generator.num_classes else None, all_or_nothing=cfg.metrics is not None)
    tell(results)
    which = {"generator": "ema" if cfg.ema else "last", "batchnorm": cfg.batchnorm, "seed": cfg.seed}
    log.info("%s", scores.record(checkpoint.parent.parent, state["step"], which, results))


def draw(generator: Any, dataset: Any, n: int, seed: int, device: "torch.device") -> "tuple[Any, Tensor]":
    """n samples as they are scored, from batches of the official evaluation's size, and the labels asked for (n,).

    Each rank makes some of the batches, and all have them all.
    """
    import torch

    from wgangp.machine import distributed
    from wgangp.machine.device import seed_step
    from wgangp.metrics.scores import observed
    from wgangp.observer import CHUNK

    seed_step(seed, 0, "evaluate")
    z, y = torch.randn(n, generator.nz), torch.randint(max(1, generator.num_classes), (n,))
    chunks = list(enumerate(zip(z.split(CHUNK), y.split(CHUNK), strict=True)))
    mine = chunks[distributed.RANK :: distributed.WORLD_SIZE]
    made = distributed.gather({i: observed(dataset, generator(a.to(device), b.to(device))) for i, (a, b) in mine})
    parts = [made[i] for i in sorted(made)]
    x = torch.cat(parts) if isinstance(parts[0], torch.Tensor) else [line for part in parts for line in part]
    return x, y


def compute(measures: "dict[str, Measure]", x: Any, y: "Tensor | None", all_or_nothing: bool) -> "list[Result]":
    """The results. Where scores were not asked for by name, one that cannot be computed is told and left out."""
    results, failures = [], []
    for name, measure in measures.items():
        try:
            results.append(measure(x, y))
        except (ValueError, OSError) as error:
            if all_or_nothing:
                raise
            failures.append(f"{name} cannot be computed: {error}")
    if not results:
        raise ValueError("; ".join(failures))
    for failure in failures:
        log.warning("%s", failure)
    return results


def tell(results: "list[Result]") -> None:
    """The table."""
    for result in results:
        using = f" by {result.measured_with['extractor']}" if "extractor" in result.measured_with else ""
        for name, value in result.values.items():
            against = f"{result.measured_with['samples']:,} samples, reference: {result.measured_with['reference']}"
            log.info("%-28s %12.5g   %s%s", name, value, against, using)


if __name__ == "__main__":
    main()
