"""The figures of Gulrajani et al. 2017, and others, from run directories.

    python scripts/figures.py NAME RUN [RUN ...] [--key TAG ...] [--by OPTION] [--columns N] [--out FILE]

level_sets    1a: level sets of each run's critic, with real points and its samples
gradients     1b: the critic loss's gradient at each layer's output, and the histogram of the critic's weights
samples       2: the newest sample picture of each run, side by side
curves        3: each scalar --key against steps and against time
critic_loss   5: minus the critic's loss, in training and on held-out data, against steps
scores        the last value of each score --key of runs that differ in --by (penalty, penalty.weight, ...), with the
              mean over the seeds; the best is at the top, and what the dataset has by default is marked
"""

import argparse
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor, nn

from wgangp import style
from wgangp.app.build import build
from wgangp.app.compose import load_config
from wgangp.app.defaults import part_with_defaults
from wgangp.app.recorded_data import recorded_dataset
from wgangp.machine.seeds import seed_step
from wgangp.metrics.objective import higher_is_better
from wgangp.run import generator_of
from wgangp.run_dir.checkpoint import load_newest
from wgangp.run_dir.header import header_of
from wgangp.run_dir.record import read_record
from wgangp.run_dir.rows import read_rows

CPU = torch.device("cpu")
AS_RECORDED = OmegaConf.create({"dataset": {"path": None, "root": None}, "allow": []})


class Run:
    """The content of a run directory, loaded when it is needed."""

    def __init__(self, path: str) -> None:
        self.path, self.name = Path(path), Path(path).name

    def load(self) -> tuple[Any, nn.Module, nn.Module]:
        """Its dataset, where the run found it, the averaged generator and the critic."""
        _, state = load_newest(self.path)
        header = header_of(state)

        def part(name: str, **given: Any) -> Any:
            return build(OmegaConf.create(part_with_defaults(name, header.config[name])), **given)

        critic = part("penalty").wrap(part("critic", **header.network_arguments))
        critic.load_state_dict(state["critic"])
        dataset = recorded_dataset(header, AS_RECORDED, self.path, CPU)
        return dataset, generator_of(state, ema=True, batchnorm="running", allow=()), critic.eval()

    def curve(self, key: str) -> tuple[list[int], list[float], list[float]]:
        """Steps, minutes and values of a scalar. Raises ValueError if the run has none."""
        found, minutes, before = [], 0.0, 0
        for row in read_rows(self.path / "metrics.jsonl"):
            if row["step"] > before:  # not a second line of the same step, which has scores alone
                minutes += (row["step"] - before) / row["throughput/steps_per_second"] / 60
            before = int(row["step"])
            if key in row:
                found.append((before, minutes, row[key]))
        if not found:
            raise ValueError(f"{self.path} has no {key}")
        steps, times, values = zip(*found, strict=True)
        return list(steps), list(times), list(values)

    def option(self, by: str) -> tuple[str, bool]:
        """The run's option of a group, or value of a key, and whether its dataset has the same by default."""
        record = read_record(self.path)
        value = OmegaConf.select(OmegaConf.create(record.config), by)
        default = OmegaConf.select(default_config(record.choices.get("dataset", "gaussians25")), by)
        return record.choices.get(by, str(value)), value == default


@lru_cache
def default_config(dataset: str) -> Any:
    return load_config(f"dataset={dataset}")


def panels(n: int, columns: int | None, size: float) -> tuple[Figure, list[Axes]]:
    """A figure of n square panels."""
    columns = min(n, columns or n)
    rows = -(-n // columns)
    figure = style.figure(size * columns, size * rows)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[n:]:
        unused.axis("off")
    return figure, axes[:n]


def axis_label(key: str) -> str:
    """With the direction of a score; a loss has none that means something in itself."""
    return style.direction(key, higher_is_better(key, ())) if key.startswith("eval/") else key


@torch.no_grad()
def level_sets(runs: list[Run], options: argparse.Namespace) -> Figure:
    figure, axes = panels(len(runs), options.columns, 3.2)
    for run, axis in zip(runs, axes, strict=True):
        dataset, generator, critic = run.load()
        seed_step(0, 0, "figure")
        real, fake = dataset.batch(0, 500)[0], generator(torch.randn(500, generator.nz))  # type: ignore[arg-type]
        limit = 1.3 * real.abs().max().item()
        ticks = torch.linspace(-limit, limit, 128)
        level = critic(torch.cartesian_prod(ticks, ticks))[:, 0].view(128, 128).T
        axis.contourf(ticks, ticks, level, levels=20, cmap=style.level_colours())
        axis.contour(ticks, ticks, level, levels=20, colors=style.MUTED, linewidths=0.5, linestyles="solid")
        axis.scatter(*real.T, s=8, color=style.REAL, linewidths=0, label="real", zorder=3)
        axis.scatter(*fake.T, s=3, color=style.FAKE, linewidths=0, label="generated", zorder=3)
        axis.set(title=run.name, xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[], aspect="equal")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=2, markerscale=2.5)
    return figure


def gradients(runs: list[Run], options: argparse.Namespace) -> Figure:
    figure, drawn, densities = style.figure(10, 3.8), list[float](), list[float]()
    norms, weights = figure.subplots(1, 2)
    for run in runs:
        values, parameters = layer_gradients(run)
        norms.plot(range(1, len(values) + 1), values, marker="o", label=run.name)
        density, _, _ = weights.hist(parameters, bins=100, density=True, histtype="step", linewidth=1.4)
        drawn += values
        densities += [value for value in density.tolist() if value]
    norms.set(title="Gradients", xlabel="layer of the critic, from the input on")
    norms.set_ylabel("mean norm of the critic loss's gradient")
    norms.xaxis.get_major_locator().set_params(integer=True)
    weights.set(title="Weights", xlabel="weight of the critic", ylabel="density")
    style.set_scale(norms, "y", drawn)
    style.set_scale(weights, "y", densities)
    figure.legend(loc="outside right center")
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


def samples(runs: list[Run], options: argparse.Namespace) -> Figure:
    figure, axes = panels(len(runs), options.columns, 3.2)
    for run, axis in zip(runs, axes, strict=True):
        newest = sorted(run.path.glob("samples/step_*.png"))[-1]
        axis.imshow(Image.open(newest))
        axis.set(xticks=[], yticks=[], frame_on=False)
        axis.set_title(f"{run.name}\nstep {int(newest.stem.removeprefix('step_')):,}", fontsize=9)
    return figure


def curves(runs: list[Run], options: argparse.Namespace) -> Figure:
    figure = style.figure(10, 3.6 * len(options.key))
    for key, (by_step, by_time) in zip(options.key, figure.subplots(len(options.key), 2, squeeze=False), strict=True):
        by_time.sharey(by_step)
        drawn = list[float]()
        for run in runs:
            steps, minutes, values = run.curve(key)
            drawn += values
            marker = "o" if len(steps) < 20 else ""
            by_step.plot(steps, values, marker=marker, label=run.name if key == options.key[0] else "")
            by_time.plot(minutes, values, marker=marker)
        by_step.set(xlabel="generator updates", ylabel=axis_label(key))
        by_time.set(xlabel="minutes")
        style.set_scale(by_step, "y", drawn)
    figure.legend(loc="outside right center")
    return figure


def critic_loss(runs: list[Run], options: argparse.Namespace) -> Figure:
    figure, axes = panels(len(runs), options.columns, 4)
    for run, axis in zip(runs, axes, strict=True):
        for tag, label in (("critic/loss", "training"), ("validation/critic_loss", "held out")):
            steps, _, values = run.curve(tag)
            axis.plot(steps, [-value for value in values], label=label if axis is axes[0] else "")
        axis.set(title=run.name, xlabel="generator updates", ylabel="negative critic loss")
    figure.legend(loc="outside lower left", ncols=2)
    return figure


def scores(runs: list[Run], options: argparse.Namespace) -> Figure:
    found = [ranked(runs, key, options.by) for key in options.key]
    figure = style.figure(6.5 * len(found), 1.2 + 0.3 * max(map(len, found)))
    for key, groups, axes in zip(options.key, found, figure.subplots(1, len(found), squeeze=False).flat, strict=True):
        for y, values in enumerate(groups.values()):
            axes.plot(values, [y] * len(values), "o", color=style.SERIES[0], alpha=0.6)
            axes.plot(fmean(values), y, "|", color=style.SERIES[1], markersize=14, markeredgewidth=2.2)
        axes.set_yticks(range(len(groups)), [f"{name} (default)" if it else name for name, it in groups])
        for tick, (_, is_default) in zip(axes.get_yticklabels(), groups, strict=True):
            tick.set_fontweight("bold" if is_default else "normal")
        axes.set(title=f"{key.removeprefix('eval/')} by {options.by}", xlabel=axis_label(key))
        axes.set_ylim(len(groups) - 0.5, -0.5)  # the best at the top
        style.set_scale(axes, "x", [value for values in groups.values() for value in values])
    figure.legend(figure.axes[0].lines[:2], ["a run", "mean"], loc="outside lower right", ncols=2)
    return figure


def ranked(runs: list[Run], key: str, by: str) -> dict[tuple[str, bool], list[float]]:
    """The last values of the runs that have the score, by their option, the best mean first."""
    groups: dict[tuple[str, bool], list[float]] = {}
    for run in runs:
        try:
            value = run.curve(key)[2][-1]
        except ValueError:
            continue
        groups.setdefault(run.option(by), []).append(value)
    if not groups:
        raise ValueError(f"no run has {key}")
    return dict(sorted(groups.items(), key=lambda group: fmean(group[1]), reverse=higher_is_better(key, ())))


Draw = Callable[[list[Run], argparse.Namespace], Figure]
FIGURES: dict[str, Draw] = {f.__name__: f for f in (level_sets, gradients, samples, curves, critic_loss, scores)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=FIGURES)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--key", nargs="+", default=["critic/wasserstein"], help="scalars of metrics.jsonl")
    parser.add_argument("--by", default="penalty", help="of scores: a group or a key of the configuration")
    parser.add_argument("--columns", type=int, help="of the panels")
    parser.add_argument("--out", default=None, help="default: NAME.png")
    options = parser.parse_args()
    out = options.out or f"{options.name}.png"
    try:
        with style.apply():
            FIGURES[options.name]([Run(run) for run in options.runs], options).savefig(out)
    except (ValueError, OSError, IndexError) as error:
        sys.exit(f"{options.name}: {error}")
    print(out)


if __name__ == "__main__":
    main()
