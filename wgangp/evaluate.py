"""wgangp-evaluate run=DIR: scores of a trained generator, as a table and in DIR/evaluation.json."""

import logging
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from wgangp.app.command_line import command
from wgangp.app.paper import beside_the_paper, reported
from wgangp.app.ranks import joined
from wgangp.machine.paths import local_path
from wgangp.machine.text import shown

if TYPE_CHECKING:
    from wgangp.data import Dataset
    from wgangp.metrics import Metric, Result

log = logging.getLogger(__name__)


def main() -> None:
    """Under torchrun the processes share the sampling; the first one scores and reports."""
    with joined():
        command(evaluate, "evaluate")


def evaluate(cfg: DictConfig) -> None:
    """Scores the run's generator against its dataset, as the checkpoint records both."""
    from wgangp.app.recorded_data import recorded_dataset
    from wgangp.machine.device import choose_device
    from wgangp.machine.distributed import is_main
    from wgangp.metrics.scores import leave_out, score
    from wgangp.run import generator_of
    from wgangp.run_dir.checkpoint import load_newest, run_of
    from wgangp.run_dir.evaluation import write_scores
    from wgangp.run_dir.files import refuse_links
    from wgangp.run_dir.header import header_of
    from wgangp.sampling import draw_for_metrics

    checkpoint, state = load_newest(local_path(cfg.run))
    run = run_of(checkpoint.absolute())
    refuse_links(run)
    device = choose_device(cfg.device)
    header = header_of(state)
    dataset = recorded_dataset(header, cfg, run, device)
    metrics = choose_metrics(cfg, dataset)
    generator = generator_of(state, cfg.ema, cfg.batchnorm, cfg.allow).to(device)
    x, asked = draw_for_metrics(generator, dataset, cfg.n, cfg.seed)
    if not is_main():
        return
    results, errors = score(metrics, x, asked, dataset, device)
    leave_out(errors, metrics, strict=cfg.metrics is not None)
    which = {"generator": "ema" if cfg.ema else "last", "batchnorm": cfg.batchnorm, "seed": cfg.seed}
    written = write_scores(run, state["step"], which, results)
    print_table(results, reported(header.config))
    for line in beside_the_paper(header.config, state["step"], {name for r in results for name in r.values}):
        log.info("%s", shown(line))
    log.info("%s", written)


def choose_metrics(cfg: DictConfig, dataset: "Dataset") -> "dict[str, Metric]":
    """Returns the named metrics, or all that suit the data. Raises ValueError if a classifier is given and unused."""
    from wgangp.app.run_scores import catalogue
    from wgangp.metrics.scores import check, choose, leave_out

    names = cfg.metrics
    metrics = choose(catalogue(cfg), dataset, names, only_quick=False)
    if cfg.classifier and not any(hasattr(metric, "classifier") for metric in metrics.values()):
        if names is None:
            raise ValueError(
                f"classifier={cfg.classifier}: it scores uint8 images and clips, not this data: leave it out"
            )
        raise ValueError(f"classifier={cfg.classifier}: none of the named metrics uses it: name classifier, too")
    if names is not None and not metrics:
        raise ValueError("metrics=[] names none: leave it out for all that suit the data")
    return leave_out(check(metrics), metrics, strict=names is not None)


def print_table(results: "list[Result]", paper: dict[str, str]) -> None:
    """One line a score: its value, what real data and the paper have, the samples, the reference and the extractor."""
    for result in results:
        for name, value in result.values.items():
            how = result.how(name)  # a user's own metric may say nothing
            parts = [f"{counted(how['samples'])} samples"] if "samples" in how else []
            parts += [f"against {how['reference']}"] if "reference" in how else []
            using = f" by {how['extractor']}" if "extractor" in how else ""
            theirs = f"the paper {shown(paper[name])}; " if name in paper else ""
            log.info("%-28s %12.5g   %s%s%s%s", name, value, theirs, bound(how), ", ".join(parts), using)


def bound(how: dict[str, Any]) -> str:
    """Returns the score's floor or ceiling in words, if it has one as our own metrics have it."""
    match how:
        case {"floor": {"mean": float(mean), "std": float(std), "draws": int(draws)}} if draws > 1:
            return f"data against itself {mean:.3g} +- {std:.2g}; "
        case {"floor": {"mean": float(mean)}}:
            return f"data against itself {mean:.3g}; "
        case {"ceiling": float(ceiling)}:
            return f"real data {ceiling:.3g}; "
    return ""


def counted(n: object) -> str:
    return f"{n:,}" if isinstance(n, int) else str(n)


if __name__ == "__main__":
    main()
