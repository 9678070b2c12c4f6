"""What speed buys: the Fréchet distance over the wall clock, of a textbook program, of JAX, and of this one.

    python scripts/equal_time.py dataset=mnist [KEY=VALUE ...] --classifier FILE [--seconds 600] [--seeds 0 1 2]

All train the same networks on the same data by WGAN-GP and Adam, with the same batch size, learning rates and weight
of the penalty; no weights are averaged, and no rate falls. `textbook` is scripts/textbook.py, the step of most public
programs, in float32; `jax` is scripts/jax_step.py, the whole step under jit, in float32 (with --programs, and the extra
`bench`); `wgangp` takes the options given, such as precision=bfloat16. The clock starts when the data are there, so it
has the compilation, which torch keeps for the next runs on a machine; it stands still while samples are scored. Prints
a table, and draws the curves.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from benchmark import surround
from omegaconf import DictConfig
from seed_scores import SeedScores, table
from textbook import Textbook
from timing import seconds

from wgangp import style
from wgangp.app.build import make_dataset, make_trainer, set_up_device
from wgangp.app.compose import load_config
from wgangp.app.errors import one_line
from wgangp.machine.seeds import seed_step
from wgangp.metrics.images import ByClassifier
from wgangp.models.layers import frozen
from wgangp.sampling import generate, latents
from wgangp.trainer import Trainer

FOR_ALL = ["ema_decay=0", "lr_decay=none", "dataset.flip=false", "dataset.dequantise=false"]
SAME = ["loss=wasserstein", "penalty=wgan_gp", "optimizer@generator_optimizer=adam", "optimizer@critic_optimizer=adam"]
FLOAT32 = ["precision=float32", "compile=false"]
PROGRAMS = {"textbook": FLOAT32, "jax": FLOAT32, "wgangp": []}  # and what each adds to the options
STEPS = 5  # between two looks at the clock
SCORES = ["seconds", "steps", "frechet"]


def composed(overrides: list[str], program: str, seed: int) -> DictConfig:
    """Raises ValueError if the options are not of what the textbook program does."""
    cfg = load_config(*overrides, *FOR_ALL, *PROGRAMS[program], f"seed={seed}")
    theirs = load_config(*SAME)
    other = [
        key
        for key in ("loss", "penalty", "generator_optimizer", "critic_optimizer")
        if kind(cfg[key]) != kind(theirs[key])
    ]
    if other or cfg.conditional:
        raise ValueError(
            f"{', '.join(other) or 'conditional'}: the textbook program has WGAN-GP and Adam alone, without labels"
        )
    return cfg


def kind(node: DictConfig) -> dict[str, object]:
    """What an option is, beside its numbers that both programs take."""
    return {key: value for key, value in node.items() if key not in ("weight", "lr", "betas")}


def start(program: str, trainer: Trainer) -> Any:
    """What makes the steps of the trainer's networks."""
    if program == "jax":
        from jax_step import JaxStep

        return JaxStep(trainer)
    if program == "textbook":
        surround(program, "float32")
        return Textbook(trainer)
    return trainer


def curve(program: str, cfg: DictConfig, limit: float, moments: int, metric: ByClassifier) -> Iterator[list[float]]:
    """Yields SCORES at the ends of `moments` equal parts of the time. Raises ValueError if the data are no images."""
    device = set_up_device(cfg)
    dataset = make_dataset(cfg, device)
    if not metric.suits(dataset):
        raise ValueError("give a dataset of images: others have no such distance")
    torch.zeros(1, device=device)  # starts CUDA
    started = time.perf_counter()
    trainer = make_trainer(cfg, dataset, device)
    running = start(program, trainer)
    steps, spent = 0, time.perf_counter() - started
    for moment in range(1, moments + 1):
        while spent < limit * moment / moments:
            spent += seconds(lambda: [running.train_step() for _ in range(STEPS)], device)
            steps += STEPS
        if program == "jax":
            running.copy_back()
        yield [spent, steps, frechet(trainer, cfg, metric)]


def frechet(trainer: Trainer, cfg: DictConfig, metric: ByClassifier) -> float:
    """Of samples of the same latents every time; the program's random numbers go on as if there were no scoring."""
    with torch.random.fork_rng():
        seed_step(cfg.seed, 0, "evaluate")
        z, y = latents(trainer.generator, cfg.evaluation_samples)
        images = torch.cat(generate(frozen(trainer.generator), z, y, trainer.dataset.to_metric_input))
        return metric(images, None, trainer.dataset, trainer.device).values["classifier_frechet"]


def plot(rows: list[dict[str, str]], out: Path) -> None:
    """Each seed's curve; a logarithmic axis where the distances span a factor of 10."""
    with style.apply():
        figure = style.figure(7, 4)
        axes = figure.add_subplot(xlabel="seconds", ylabel="Fréchet distance (lower is better)")
        for color, name in zip(style.SERIES, PROGRAMS, strict=False):
            for i, seed in enumerate(dict.fromkeys(row["seed"] for row in rows)):
                mine = [row for row in rows if (row["name"], row["seed"]) == (name, seed)]
                points = [[float(row[key]) for row in mine] for key in ("seconds", "frechet")]
                if mine:
                    axes.plot(*points, marker=".", linestyle="-", color=color, label=None if i else name)
        style.set_scale(axes, "y", [float(row["frechet"]) for row in rows])
        axes.legend()
        figure.savefig(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+", metavar="KEY=VALUE", help="a dataset of images, and options")
    parser.add_argument("--classifier", required=True, help="a file of wgangp.train_classifier, for the distance")
    parser.add_argument("--seconds", type=float, default=600, help="of training, for each program and seed")
    parser.add_argument("--moments", type=int, default=6, help="at which samples are scored")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=["textbook", "wgangp"])
    parser.add_argument("--out", type=Path, default=Path("equal_time.csv"), help="each moment's score")
    options = parser.parse_args()
    try:
        scores, metric = SeedScores(options.out, SCORES), ByClassifier(options.classifier)
        metric.check()
        for seed in options.seeds:
            for program in (program for program in options.programs if not scores.has(program, seed)):
                cfg = composed(options.overrides, program, seed)
                for found in list(curve(program, cfg, options.seconds, options.moments, metric)):
                    scores.add(program, seed, *found)
    except Exception as error:
        parser.exit(1, one_line(error) + "\n")
    ends = {(row["name"], row["seed"]): row for row in scores.rows}  # the last moment of each
    print(table(list(ends.values()), SCORES))
    plot(scores.rows, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
