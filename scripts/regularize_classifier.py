"""Gradient penalties beyond GANs: a classifier on few labels, with and without a penalty of its input gradient.

    python scripts/regularize_classifier.py dataset=mnist [dataset.KEY=VALUE ...] [--labels 500 1000] [--seeds 5]

A small convolutional network learns from the first so many labels of a seed's shuffled training set, by each of

none              cross-entropy alone
weight_decay      AdamW
dropout           of a half, before the last two layers
input_gradient    |grad_x loss|^2 of each image (Drucker and LeCun 1992, "double backpropagation")
jacobian          |d logits / d x|_F^2 / 2 by one random projection (Hoffman et al. 2019)

and is tested on the whole test set, clean and with Gaussian noise on the pixels (which are 0 to 1). Prints a table in
Markdown, and draws accuracy against noise. Weights were chosen on other seeds than those reported (--first).
"""

import argparse
import statistics
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from wgangp.app.errors import one_line
from wgangp.data.images import Images, Split
from wgangp.machine.device import choose_device, keep_freed_memory
from wgangp.models.layers import mean_pool, relu
from wgangp.penalties.gradients import gradient_norm, jacobian_norm
from wgangp.train_classifier import load, parts

METHODS = {"none": 0.0, "weight_decay": 0.3, "dropout": 0.5, "input_gradient": 1.0, "jacobian": 0.003}
NOISE = [0.0, 0.2, 0.4, 0.6]  # standard deviations
BATCH, STEPS, LR = 100, 300, 1e-3


class Network(nn.Module):
    """Images (n, c, h, w) from 0 to 1 to logits (n, k): two 5x5 convolutions with pooling, two linear layers."""

    def __init__(self, shape: tuple[int, int, int], num_classes: int, dropout: float) -> None:
        super().__init__()
        channels, height, width = shape
        self.conv1, self.conv2 = nn.Conv2d(channels, 8, 5, padding=2), nn.Conv2d(8, 16, 5, padding=2)
        self.linear1, self.linear2 = nn.Linear(16 * (height // 4) * (width // 4), 128), nn.Linear(128, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = mean_pool(relu(self.conv1(x)))
        x = mean_pool(relu(self.conv2(x)))
        x = relu(self.linear1(self.dropout(x.flatten(1))))
        return self.linear2(self.dropout(x))


def penalty(method: str, network: Network, x: Tensor, y: Tensor) -> Tensor:
    """The term of weight 1."""
    if method == "input_gradient":
        return gradient_norm(lambda x: F.cross_entropy(network(x), y, reduction="none"), x).square().mean()
    if method == "jacobian":
        return jacobian_norm(network, x).square().mean() / 2
    return x.new_zeros(())


def train(network: Network, images: Tensor, labels: Tensor, method: str, strength: float) -> None:
    decay = strength if method == "weight_decay" else 0.0
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=decay)
    for _ in range(STEPS):
        picked = torch.randperm(len(labels), device=labels.device)[:BATCH]
        x, y = images[picked], labels[picked]
        loss = F.cross_entropy(network(x), y) + strength * penalty(method, network, x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


@torch.no_grad()
def accuracies(network: Network, test: Split) -> list[float]:
    """The share of right answers at each noise."""
    network.eval()
    rights = torch.zeros(len(NOISE), device=test.labels.device)
    for x, y in zip((test.images.float() / 255).split(2500), test.labels.split(2500), strict=True):
        for i, sigma in enumerate(NOISE):
            rights[i] += (network(x + sigma * torch.randn_like(x)).argmax(1) == y).sum()
    return (rights / len(test.labels)).tolist()


def run(dataset: Images, labels: int, method: str, strength: float, seed: int) -> list[float]:
    """Accuracies (len(NOISE)) of one training."""
    split, test = parts(dataset)
    torch.manual_seed(seed)
    picked = torch.randperm(len(split.labels))[:labels].to(split.labels.device)
    network = Network(dataset.shape, dataset.num_classes, dropout=strength if method == "dropout" else 0.0)
    network.to(split.labels.device)
    train(network, split.images[picked].float() / 255, split.labels[picked], method, strength)
    return accuracies(network, test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+", metavar="dataset=NAME", help="and its options, as for wgangp-train")
    parser.add_argument("--labels", type=int, nargs="+", default=[500, 1000])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--strength", type=float, help="of the methods, in place of the chosen ones")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--out", type=Path, help="of the plot; default: regularize_classifier.png")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    try:
        _, dataset = load(options.overrides, choose_device(options.device))
    except Exception as error:
        parser.exit(1, one_line(error) + "\n")
    keep_freed_memory()

    seeds = range(options.first, options.first + options.seeds)
    print("| labels | method | strength | clean | " + " | ".join(f"noise {s}" for s in NOISE[1:]) + " | s a run |")
    print("|---" * (len(NOISE) + 4) + "|")
    figure, axes = plt.subplots(1, len(options.labels), figsize=(5 * len(options.labels), 4), squeeze=False)
    for axis, labels in zip(axes[0], options.labels, strict=True):
        for method in options.methods:
            strength, started = METHODS[method] if options.strength is None else options.strength, time.perf_counter()
            progress = tqdm(seeds, desc=f"{labels} labels, {method}", leave=False)
            found = list(zip(*(run(dataset, labels, method, strength, seed) for seed in progress), strict=True))
            means, spreads = map(statistics.mean, found), map(statistics.stdev, found)
            cells = list(zip(means, spreads, strict=True))
            took = (time.perf_counter() - started) / len(seeds)
            text = " | ".join(f"{m:.1%} ± {100 * s:.1f}" for m, s in cells)
            print(f"| {labels:,} | {method} | {strength:g} | {text} | {took:.0f} |", flush=True)
            axis.errorbar(NOISE, *zip(*cells, strict=True), label=method, capsize=2)
        axis.set(title=f"{labels:,} labels", xlabel="noise on the pixels (standard deviation)", ylabel="test accuracy")
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(options.out or "regularize_classifier.png", dpi=100)


if __name__ == "__main__":
    main()
