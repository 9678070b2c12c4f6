"""Train on synthetic, test on real (Esteban et al. 2017): how useful generated samples are to a classifier."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wgangp.data import Dataset
from wgangp.metrics import Metric, Result
from wgangp.metrics.reference import Once, random_rows


class TrainOnSynthetic(Metric):
    """`tstr_accuracy`, on held-out samples, of a classifier that is trained on generated ones and their labels.

    The ceiling is that of the same classifier trained on as many real samples. The classifier is an MLP with one hidden
    layer of `width` units, trained for `steps` of Adam on batches of 256; the samples are as the networks see them.
    """

    higher_is_better: ClassVar = {"tstr_accuracy": True}

    def __init__(self, samples: int, width: int, steps: int) -> None:
        self.samples, self.width, self.steps = samples, width, steps
        self.ceiling: Once[float] = Once()

    def suits(self, dataset: Dataset) -> bool:
        return dataset.units is not None and dataset.num_classes > 1 and dataset.held_out(0, 1) is not None

    def __call__(self, samples: Tensor, asked: Tensor | None, dataset: Dataset, device: torch.device) -> Result:
        if asked is None:
            raise ValueError("tstr: needs labels, which wgangp-evaluate gives of runs with conditional=true")
        held_out, train = dataset.reference("held_out"), dataset.reference("train", min(self.samples, len(samples)))
        if held_out is None or train is None:
            raise ValueError("tstr: the data have no held-out part: set dataset.held_out=0.1")
        n = len(train[1])
        test = (dataset.comparable(held_out[0]), held_out[1])

        def accuracy(x: Tensor, y: Tensor) -> float:
            classifier = trained(
                dataset.comparable(x), y.cpu(), dataset.num_classes, F.cross_entropy, self.width, self.steps
            )
            return accuracy_of(classifier, *test)

        value = accuracy(random_rows(samples, n), random_rows(asked, n))
        ceiling = self.ceiling(dataset, n, lambda: accuracy(*train))
        measured_with = {"samples": n, "reference": f"{len(test[1])} held-out samples"}
        return Result({"tstr_accuracy": value}, measured_with, {"tstr_accuracy": {"ceiling": ceiling}})


def trained(
    x: Tensor, y: Tensor, outputs: int, loss: Callable[[Tensor, Tensor], Tensor], width: int, steps: int
) -> nn.Module:
    """Returns an MLP that predicts y (n, *) from x (n, *), the same for the same samples. It computes no gradients."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        predictor = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), width), nn.ReLU(), nn.Linear(width, outputs))
        optimizer = torch.optim.Adam(predictor.parameters(), lr=3e-3, weight_decay=1e-4)
        for _ in range(steps):
            picked = torch.randint(len(x), (256,))
            optimizer.zero_grad()
            loss(predictor(x[picked]), y[picked]).backward()
            optimizer.step()
    return predictor.requires_grad_(False)


def accuracy_of(classifier: nn.Module, x: Tensor, y: Tensor) -> float:
    return float((classifier(x).argmax(1) == y).double().mean())
