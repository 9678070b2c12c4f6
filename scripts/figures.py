"""The figures of Gulrajani et al. 2017 from run directories.

    python scripts/figures.py NAME RUN [RUN ...] [--key TAG] [--columns N] [--out FILE]

level_sets    1a: level sets of each run's critic, with real points and its samples
gradients     1b: the critic loss's gradient at each layer's output, and the histogram of the critic's weights
samples       2: the newest sample picture of each run, side by side
curves        3: the scalar --key against steps and against time
critic_loss   5: minus the critic's loss, in training and on held-out data, against steps
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from wgangp.app.compose import build
from wgangp.app.trust import recorded
from wgangp.machine.device import seed_step
from wgangp.run_dir.checkpoint import load_newest
from wgangp.sweeps.figures import set_scale

CPU = torch.device("cpu")


class Run:
    """What a run directory holds, loaded when asked for."""

    def __init__(self, path: str) -> None:
        self.path, self.name = Path(path), Path(path).name

    def load(self) -> tuple[Any, nn.Module, nn.Module]:
        """Its dataset, averaged generator and critic."""
        _, state = load_newest(self.path)
        config = recorded(state["config"])
        data = {"shape": state["shape"], "num_classes": state["num_classes"]}
        generator, critic = (build(config[part], **data) for part in ("generator", "critic"))
        generator.load_state_dict(state["ema"])
        critic = build(config.penalty).wrap(critic)
        critic.load_state_dict(state["critic"])
        return build(config.dataset, seed=config.seed, device=CPU), generator.eval(), critic.eval()

    def curve(self, key: str) -> tuple[list[int], list[float], list[float]]:
        """Steps, minutes and values of a scalar."""
        found, minutes, before = [], 0.0, 0
        for line in (self.path / "metrics.jsonl").read_text().splitlines():
            row = json.loads(line)
            minutes += (row["step"] - before) / row["throughput/steps_per_second"] / 60
            before = row["step"]
            if key in row:
                found.append((before, minutes, row[key]))
        if not found:
            raise ValueError(f"{self.path} has no {key}")
        steps, times, values = zip(*found, strict=True)
        return list(steps), list(times), list(values)


def panels(n: int, columns: int | None, size: float) -> tuple[Figure, list[Any]]:
    """A figure of n square panels."""
    columns = min(n, columns or n)
    rows = -(-n // columns)
    figure = Figure((size * columns, size * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


@torch.no_grad()
def level_sets(runs: list[Run], columns: int | None, key: str) -> Figure:
    figure, axes = panels(len(runs), columns, 3.2)
    for run, axis in zip(runs, axes, strict=False):
        dataset, generator, critic = run.load()
        seed_step(0, 0, "figure")
        real, fake = dataset.batch(0, 500)[0], generator(torch.randn(500, generator.nz))  # type: ignore[arg-type]
        limit = 1.3 * real.abs().max().item()
        ticks = torch.linspace(-limit, limit, 128)
        level = critic(torch.cartesian_prod(ticks, ticks))[:, 0].view(128, 128).T
        axis.contour(ticks, ticks, level, levels=20, cmap="viridis", linewidths=0.8)
        axis.scatter(*real.T, s=4, color="orange", label="real")
        axis.scatter(*fake.T, s=3, color="green", alpha=0.5, label="generated")
        axis.set(title=run.name, xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[], aspect="equal")
    axes[0].legend(fontsize=7, loc="upper right")
    return figure


def gradients(runs: list[Run], columns: int | None, key: str) -> Figure:
    figure = Figure((10, 3.6), layout="constrained")
    norms, weights = figure.subplots(1, 2)
    for run in runs:
        values, parameters = layer_gradients(run)
        norms.plot(range(1, len(values) + 1), values, marker="o", markersize=3, label=run.name)
        weights.hist(parameters, bins=100, density=True, histtype="step", label=run.name)
    norms.set(yscale="log", xlabel="layer of the critic", ylabel="gradient of the critic's loss")
    weights.set(yscale="log", xlabel="weights of the critic", ylabel="density")
    norms.legend(fontsize=7)
    return figure


def layer_gradients(run: Run) -> tuple[list[float], Tensor]:
    """The mean norm of the loss's gradient at each layer's outputs, from the input on; and all weights."""
    dataset, generator, critic = run.load()
    outputs: list[Tensor] = []
    layers = [m for m in critic.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)]
    for layer in layers:
        layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    seed_step(0, 0, "figure")
    real, y = dataset.batch(0, 256)
    with torch.no_grad():
        fake = generator(torch.randn(256, generator.nz), y)  # type: ignore[arg-type]
    real_out, fake_out = critic(torch.cat([real, fake]))[:, 0].chunk(2)
    found = torch.autograd.grad(fake_out.mean() - real_out.mean(), outputs)
    norms = [gradient.flatten(1).norm(dim=1).mean().item() for gradient in found]
    return norms, torch.cat([layer.weight.detach().flatten() for layer in layers])


def samples(runs: list[Run], columns: int | None, key: str) -> Figure:
    figure, axes = panels(len(runs), columns, 3.2)
    for axis in axes:
        axis.axis("off")
    for run, axis in zip(runs, axes, strict=False):
        axis.imshow(Image.open(sorted(run.path.glob("samples/step_*.png"))[-1]))
        axis.set_title(run.name, fontsize=8)
    return figure


def curves(runs: list[Run], columns: int | None, key: str) -> Figure:
    figure, drawn = Figure((10, 3.6), layout="constrained"), list[float]()
    by_step, by_time = figure.subplots(1, 2, sharey=True)
    for run in runs:
        steps, minutes, values = run.curve(key)
        drawn += values
        by_step.plot(steps, values, label=run.name)
        by_time.plot(minutes, values)
    by_step.set(xlabel="generator updates", ylabel=key)
    by_time.set(xlabel="minutes")
    set_scale(by_step, "y", drawn)
    by_step.legend(fontsize=7)
    return figure


def critic_loss(runs: list[Run], columns: int | None, key: str) -> Figure:
    figure, axes = panels(len(runs), columns, 4)
    for run, axis in zip(runs, axes, strict=False):
        for tag, label in (("critic/loss", "training"), ("validation/critic_loss", "held out")):
            steps, _, values = run.curve(tag)
            axis.plot(steps, [-value for value in values], label=label, linewidth=1)
        axis.set(title=run.name, xlabel="generator updates", ylabel="negative critic loss")
        axis.legend(fontsize=7)
    return figure


FIGURES: dict[str, Callable[[list[Run], int | None, str], Figure]] = {
    f.__name__: f for f in (level_sets, gradients, samples, curves, critic_loss)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=FIGURES)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--key", default="critic/wasserstein", help="of curves: one of metrics.jsonl's")
    parser.add_argument("--columns", type=int, help="of the panels")
    parser.add_argument("--out", default=None, help="default: NAME.png")
    options = parser.parse_args()
    out = options.out or f"{options.name}.png"
    try:
        figure = FIGURES[options.name]([Run(run) for run in options.runs], options.columns, options.key)
    except (ValueError, OSError, IndexError) as error:
        sys.exit(f"{options.name}: {error}")
    figure.savefig(out, dpi=100)
    print(out)


if __name__ == "__main__":
    main()
