"""A classifier from few labels: alone, and as the discriminator of a GAN (feature matching, Salimans et al. 2016).

    python scripts/semi_supervised.py dataset=mnist [KEY=VALUE ...] [--labels 100 500 1000] [--seeds 0 1 2]

The dataset is one of conf/dataset with labels and a held-out part. Each seed has its own labelled samples, as many of
each class; the GAN sees all training samples, without labels. Both methods have the same first weights, updates,
labelled batches, noise on them, learning rates and average of the weights. Nothing is selected: the average of the last
step is judged, once, by the held-out part. `--validate` judges by a sixth of the training part instead, which is then
left out of training: use it to choose settings. `penalty=NAME` adds a penalty of conf/penalty to the GAN's classifier.
"""

import argparse
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from omegaconf import DictConfig
from seed_scores import SeedScores, table
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import trange

from wgangp.app.build import build, make_dataset, set_up_device
from wgangp.app.compose import load_config
from wgangp.app.errors import one_line
from wgangp.data import Order
from wgangp.machine.ema import EMA
from wgangp.machine.seeds import seed_step
from wgangp.optimizers import gradients_of, set_lr, update
from wgangp.penalties import Penalty

# Salimans et al. 2016 (their MNIST script), with half the units and a fifth of the updates.
WIDTHS = (500, 250, 125)  # hidden units of the classifier
GENERATOR_WIDTH, NZ = 300, 100
NOISE = (0.3, 0.5)  # standard deviation: on the input, which is in [0, 1], and before each later layer
BATCH = 50  # labelled, unlabelled and generated samples of an update
LR, BETAS, EPS = 3e-3, (0.5, 0.999), 1e-4  # of Adam; the rate falls to 0 over the second half
EMA_DECAY = 0.999


class Data(NamedTuple):
    """Samples (N, d) and labels (N,) of the training part, in a random order, and of the part that judges."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor
    num_classes: int
    images: bool  # x is in [0, 1]


class WeightNorm(nn.Module):
    """A linear layer whose weights have a fixed norm for each unit, or a learnt one (Salimans and Kingma 2016)."""

    def __init__(self, fan_in: int, fan_out: int, learn_scale: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.randn(fan_out, fan_in))
        self.bias = nn.Parameter(torch.zeros(fan_out))
        self.scale = nn.Parameter(torch.ones(fan_out), requires_grad=learn_scale)

    def forward(self, x: Tensor) -> Tensor:
        norm = torch.linalg.vecdot(self.weight, self.weight).sqrt()  # cheaper to differentiate than vector_norm
        return F.linear(x, self.weight) * (self.scale / norm) + self.bias


class Classifier(nn.Module):
    """Samples (n, d) to (n, 1 + k): the logit of being real, log sum exp of the class logits, and these."""

    def __init__(self, d: int, num_classes: int) -> None:
        super().__init__()
        sizes = [d, *WIDTHS, num_classes]
        last = len(sizes) - 2
        self.layers = nn.ModuleList(WeightNorm(sizes[i], sizes[i + 1], learn_scale=i == last) for i in range(last + 1))

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer, (n, WIDTHS[-1])."""
        for i, layer in enumerate(self.layers[:-1]):
            x = layer(self.noisy(x, NOISE[i > 0])).relu()
        return x

    def forward(self, x: Tensor) -> Tensor:
        logits = self.layers[-1](self.noisy(self.features(x), NOISE[1]))
        return torch.cat([logits.logsumexp(1, keepdim=True), logits], dim=1)

    def noisy(self, x: Tensor, std: float) -> Tensor:
        return x + std * torch.randn_like(x) if self.training else x

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Gives each unit mean 0 and variance 1 over these samples, before its ReLU."""
        for layer in self.layers:
            std, mean = torch.std_mean(layer(x), dim=0, correction=0)
            layer.scale /= std.clamp(min=1e-6)
            layer.bias -= mean / std.clamp(min=1e-6)
            x = layer(x).relu()


def make_generator(d: int, images: bool) -> nn.Module:
    """z (n, NZ), uniform, to samples (n, d): in [0, 1] if they are images."""
    sizes = [NZ, GENERATOR_WIDTH, GENERATOR_WIDTH]
    hidden = [
        layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.Softplus())
    ]
    return nn.Sequential(*hidden, WeightNorm(sizes[-1], d, learn_scale=True), nn.Sigmoid() if images else nn.Identity())


def load(cfg: DictConfig, validate: bool, device: torch.device) -> Data:
    """Raises ValueError if the dataset has no labels or no held-out part."""
    dataset = make_dataset(cfg, device)
    held_out = dataset.reference("held_out")
    if not dataset.num_classes or held_out is None:
        raise ValueError("this dataset has no labels or no held-out part: give another, such as dataset=mnist")
    x, y = dataset.batch(0, len(dataset))
    test = dataset.held_out(0, len(held_out[1]))
    assert test is not None
    test_x, test_y = test
    if validate:
        n = len(x) - len(x) // 6
        (x, test_x), (y, test_y) = x.tensor_split([n]), y.tensor_split([n])
    images = len(dataset.shape) == 3
    x, test_x = (((t.flatten(1) + 1) / 2) if images else t.flatten(1) for t in (x, test_x))
    return Data(x, y, test_x, test_y, dataset.num_classes, images)


def first_of_each_class(data: Data, n: int) -> Tensor:
    """The positions of n training samples. Raises ValueError if n is no multiple of the classes."""
    each, rest = divmod(n, data.num_classes)
    if rest or not each:
        raise ValueError(f"--labels {n}: give a multiple of the {data.num_classes} classes")
    return torch.cat([(data.y == c).nonzero()[:each, 0] for c in range(data.num_classes)])


def gan_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The classifier's loss from its logits (n,) of being real: half the standard loss (equation 9)."""
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """The generator's loss from features (n, d): the squared distance of their means (section 3.1), over d."""
    return (real.mean(0) - fake.mean(0)).square().mean()


def train(data: Data, labels: int, seed: int, steps: int, gan: bool, penalty: Penalty) -> Classifier:
    """The averaged classifier. What the labelled batches draw is the same with and without the GAN."""
    device, d = data.x.device, data.x.shape[1]
    seed_step(seed, 0, "networks")
    classifier, generator = Classifier(d, data.num_classes).to(device), make_generator(d, data.images).to(device)
    critic = penalty.to(device).wrap(classifier)
    penalty.check(critic)
    labelled = first_of_each_class(data, labels)
    classifier.initialise(data.x[labelled])
    weights = [[p for p in network.parameters() if p.requires_grad] for network in (classifier, generator)]
    optimizers = [torch.optim.Adam(params, LR, BETAS, EPS, fused=True) for params in weights]
    ema, reals = EMA(classifier, EMA_DECAY, device), unlabelled_batches(data, seed)
    for step in trange(steps, desc="with a GAN" if gan else "supervised", leave=False, disable=None):
        set_lr(optimizers, min(1.0, 2 - 2 * step / steps))
        ema.begin(step)
        penalty.begin(step / steps)
        seed_step(seed, step, "labelled")
        picked = labelled[torch.randint(len(labelled), (BATCH,), device=device)]
        loss = F.cross_entropy(critic(data.x[picked])[:, 1:], data.y[picked])
        if gan:
            seed_step(seed, step, "unlabelled")
            real, fake = next(reals), generate(generator, device).detach()
            loss = loss + gan_loss(*critic(torch.cat([real, fake]))[:, 0].chunk(2))
            added, norm = penalty.terms(critic, real, fake) if penalty.due(step) else (0, None)
            loss = loss + penalty.interval * added
        update(weights[0], optimizers[0], gradients_of(loss, weights[0]))
        penalty.project(classifier)
        if gan and norm is not None:
            penalty.observe(norm.detach())
        ema.update(classifier)
        if gan:
            features = classifier.features(torch.cat([next(reals), generate(generator, device)]))
            loss = feature_matching(*features.chunk(2))
            update(weights[1], optimizers[1], gradients_of(loss, weights[1]))
    return ema.module


def unlabelled_batches(data: Data, seed: int) -> Iterator[Tensor]:
    order, index = Order(len(data.x), seed, data.x.device), 0
    while True:
        yield data.x[order(index, BATCH)]
        index += 1


def generate(generator: nn.Module, device: torch.device) -> Tensor:
    fake: Tensor = generator(torch.rand(BATCH, NZ, device=device))
    return fake


@torch.no_grad()
def accuracy(classifier: nn.Module, x: Tensor, y: Tensor) -> float:
    """In per cent."""
    right = [(classifier.eval()(part)[:, 1:].argmax(1)) for part in x.split(1000)]
    return 100 * (torch.cat(right) == y).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+", metavar="KEY=VALUE", help="as for wgangp-train")
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 500, 1000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=15_000)
    parser.add_argument("--validate", action="store_true", help="judge by a sixth of the training part")
    parser.add_argument("--out", type=Path, default=Path("few_labels.csv"), help="the accuracy of each seed")
    options = parser.parse_args()
    try:
        scores = SeedScores(options.out, ["accuracy", "seconds"])
        for labels in options.labels:
            for gan in (True, False):
                name = f"{labels:,} labels, {'with the GAN' if gan else 'supervised alone'}"
                for seed in (seed for seed in options.seeds if not scores.has(name, seed)):
                    started = time.perf_counter()
                    cfg = load_config("penalty=none", *options.overrides, f"seed={seed}")
                    data = load(cfg, options.validate, set_up_device(cfg))
                    network = train(data, labels, seed, options.steps, gan, build(cfg.penalty))
                    score = accuracy(network, data.test_x, data.test_y)
                    scores.add(name, seed, score, time.perf_counter() - started)
    except Exception as error:
        parser.exit(1, one_line(error) + "\n")
    print(table(scores.rows, ["accuracy"]))


if __name__ == "__main__":
    main()
