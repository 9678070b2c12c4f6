"""Gradient penalties beyond GANs: a classifier on few labels, with and without a penalty of its input gradient.

    python scripts/regularize_classifier.py dataset=mnist [dataset.KEY=VALUE ...] [--labels 500 1000] [--steps 300]

A small convolutional network learns from the first so many labels of a seed's shuffled training set, by each of

none              cross-entropy alone
weight_decay      AdamW
dropout           before the last two layers
input_gradient    |grad_x loss|^2 of each image (Drucker and LeCun 1992, "double backpropagation")
jacobian          |d logits / d x|_F^2 / 2 by one random projection (Hoffman et al. 2019)

and is judged clean and with Gaussian noise on the pixels (which are 0 to 1). Each method has as many strengths to try:
the one with the highest mean accuracy over all noises, on a validation part of the training set and on seeds of
its own, is judged on the test set by other seeds. Prints a table in Markdown, and draws accuracy against noise.
"""

import argparse
import statistics
from pathlib import Path

import torch
from seed_scores import SeedScores, table
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import trange

from wgangp import style
from wgangp.app.errors import one_line
from wgangp.data.images import Images
from wgangp.data.splits import Split
from wgangp.machine.cpu import keep_freed_memory
from wgangp.machine.device import choose_device
from wgangp.machine.seeds import seed_step
from wgangp.models.layers import relu
from wgangp.models.resampling import mean_pool
from wgangp.penalties.gradients import gradient_norm, jacobian_norm
from wgangp.sweeps.jobs import median_interval
from wgangp.train_classifier import load, parts

METHODS = {  # the strengths to choose from
    "none": [0.0],
    "weight_decay": [0.03, 0.3, 3.0, 30.0],
    "dropout": [0.2, 0.4, 0.6, 0.8],
    "input_gradient": [0.01, 0.1, 1.0, 10.0],
    "jacobian": [0.001, 0.01, 0.1, 1.0],
}
NOISE = [0.0, 0.2, 0.4, 0.6]  # standard deviations
COLUMNS = ["clean", *(f"noise {std}" for std in NOISE[1:])]
VALIDATION, TUNING_SEEDS = 2000, [1000, 1001]
BATCH, LR = 100, 1e-3


class Network(nn.Module):
    """Images (n, c, h, w) from 0 to 1 to logits (n, k): two 5x5 convolutions with pooling, two linear layers."""

    def __init__(self, shape: tuple[int, int, int], num_classes: int, dropout: float) -> None:
        super().__init__()
        channels, height, width = shape
        self.conv1, self.conv2 = nn.Conv2d(channels, 8, 5, padding=2), nn.Conv2d(8, 16, 5, padding=2)
        self.linear1, self.linear2 = nn.Linear(16 * (height // 4) * (width // 4), 128), nn.Linear(128, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = mean_pool(relu(self.conv1(x)), (2, 2))
        x = mean_pool(relu(self.conv2(x)), (2, 2))
        x = relu(self.linear1(self.dropout(x.flatten(1))))
        return self.linear2(self.dropout(x))


def penalty(method: str, network: Network, x: Tensor, y: Tensor) -> Tensor:
    """Returns the penalty of weight 1, a scalar."""
    if method == "input_gradient":
        return gradient_norm(lambda x: F.cross_entropy(network(x), y, reduction="none"), x).square().mean()
    if method == "jacobian":
        return jacobian_norm(network, x).square().mean() / 2
    return x.new_zeros(())


def train(network: Network, split: Split, method: str, strength: float, steps: int) -> None:
    decay = strength if method == "weight_decay" else 0.0
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=decay)
    for _ in trange(steps, desc=f"{method} {strength:g}", leave=False, disable=None):
        picked = torch.randperm(len(split), device=split.labels.device)[:BATCH]
        images, y = split.pick(picked)
        x = images.float() / 255
        loss = F.cross_entropy(network(x), y) + strength * penalty(method, network, x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


@torch.no_grad()
def accuracies(network: Network, split: Split) -> list[float]:
    """The share of right answers at each noise, in per cent."""
    network.eval()
    rights = torch.zeros(len(NOISE), device=split.labels.device)
    for x, y in zip((split.all().float() / 255).split(1000), split.labels.split(1000), strict=True):
        for i, sigma in enumerate(NOISE):
            rights[i] += (network(x + sigma * torch.randn_like(x)).argmax(1) == y).sum()
    return (100 * rights / len(split)).tolist()


def run(dataset: Images, labels: int, method: str, strength: float, seed: int, steps: int, judge: str) -> list[float]:
    """Accuracies (len(NOISE)) of one training, on the test part, or on the `validation` part of the training part."""
    train_part, test = parts(dataset)
    seed_step(seed, 0, "data")
    order = torch.randperm(len(train_part)).to(train_part.labels.device)
    labelled, validation = train_part.part(order[:labels]), train_part.part(order[labels:][-VALIDATION:])
    seed_step(seed, 0, "training")  # the same first weights and batches for each method
    network = Network(dataset.shape, dataset.num_classes, dropout=strength if method == "dropout" else 0.0)
    train(network.to(order.device), labelled, method, strength, steps)
    seed_step(seed, 0, "noise")
    return accuracies(network, validation if judge == "validation" else test)


def chosen(scores: SeedScores, labels: int, method: str) -> float:
    """The strength with the best mean over noises and seeds among the validation scores."""

    def mean(strength: float) -> float:
        rows = [row for row in scores.rows if row["name"] == name_of(labels, method, strength)]
        return statistics.mean(float(row[column]) for row in rows for column in COLUMNS)

    return max(METHODS[method], key=mean)


def name_of(labels: int, method: str, strength: float) -> str:
    return f"{labels:,} labels, {method}" + (f" {strength:g}" if strength else "")


def plot(rows: list[dict[str, str]], out: Path) -> None:
    """The medians of the seeds and their intervals against the noise."""
    with style.apply():
        figure = style.figure(7, 4.5)
        axes = figure.add_subplot(xlabel="noise on the pixels (standard deviation)", ylabel="test accuracy (%)")
        for name in dict.fromkeys(row["name"] for row in rows):
            columns = [[float(row[column]) for row in rows if row["name"] == name] for column in COLUMNS]
            axes.plot(NOISE, [statistics.median(column) for column in columns], label=name)
            axes.fill_between(NOISE, *zip(*map(median_interval, columns), strict=True), alpha=0.12)
        axes.legend()
        figure.savefig(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+", metavar="dataset=NAME", help="and its options, as for wgangp-train")
    parser.add_argument("--labels", type=int, nargs="+", default=[500, 1000])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help=f"other than {TUNING_SEEDS}")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("regularize_classifier.csv"), help="each seed's accuracies")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    try:
        _, dataset = load(options.overrides, choose_device(options.device))
        validation = SeedScores(options.out.with_stem(options.out.stem + "_validation"), COLUMNS)
        test = SeedScores(options.out, COLUMNS)
    except Exception as error:
        parser.exit(1, one_line(error) + "\n")
    keep_freed_memory()

    def add(scores: SeedScores, labels: int, method: str, strength: float, seed: int, judge: str) -> None:
        name = name_of(labels, method, strength)
        if not scores.has(name, seed):
            scores.add(name, seed, *run(dataset, labels, method, strength, seed, options.steps, judge))

    for labels in options.labels:
        for method in options.methods:
            for strength in METHODS[method]:
                for seed in TUNING_SEEDS:
                    add(validation, labels, method, strength, seed, "validation")
            for seed in options.seeds:
                add(test, labels, method, chosen(validation, labels, method), seed, "test")
    print(table(test.rows, COLUMNS))
    plot(test.rows, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
