"""The scores by name: which ones a kind of data has, and how they are computed from samples.

Data are told apart by the shape of a sample: points (2,), strings (v, t), images (c, h, w).
"""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wgangp.machine.distributed import is_main
from wgangp.metrics import toy
from wgangp.metrics.text import ngram_js
from wgangp.pictures import plots

log = logging.getLogger(__name__)

BY_INCEPTION = ("fid", "is", "kid", "prc")
BY_CLASSIFIER = {"fid": "frechet", "is": "score", "is_std": "score_std", "kid": "kernel", "kid_std": "kernel_std"}
NAMES = {1: ("modes", "wasserstein1"), 2: ("ngram_js",), 3: (*BY_INCEPTION, "classifier")}  # by dimensions of a sample
POINTS = 2000  # of which the matching takes about a second
CHUNK = 100


@dataclass(frozen=True)
class Result:
    """Scores by name, and what they were measured with: extractor and its weights' hash, samples, reference."""

    values: dict[str, float]
    measured_with: dict[str, Any]


Measure = Callable[[Any, Tensor | None], Result]  # of samples as `observed` gives them, and of the labels asked for


def default_names(dataset: Any, classifier: str | None) -> list[str]:
    """The scores of this kind of data that need nothing but what is given."""
    lacking = {"modes": dataset.centres is None or not len(dataset.centres), "classifier": not classifier}
    return [name for name in NAMES[len(dataset.shape)] if not lacking.get(name)]


def quick_names(dataset: Any, classifier: str | None) -> list[str]:
    """Those of the default scores that a training run can afford now and then."""
    return [name for name in default_names(dataset, classifier) if name in ("modes", "ngram_js", "classifier")]


def measures(
    dataset: Any, names: list[str], *, weights: str | None, classifier: str | None, device: torch.device
) -> dict[str, Measure]:
    """What computes the named scores; those that share an extractor are one. Raises ValueError on other names."""
    known = NAMES[len(dataset.shape)]
    for name in names:
        if name not in known:
            raise ValueError(f"metrics: {name} is no score of this data: choose from {', '.join(known)}")
    found: dict[str, Measure] = {
        "modes": partial(_modes, dataset),
        "wasserstein1": partial(_wasserstein1, dataset),
        "ngram_js": partial(_ngram_js, dataset),
        "classifier": partial(_by_classifier, dataset, classifier, device),
    }
    chosen = {name: found[name] for name in names if name in found}
    if by_inception := [name for name in names if name in BY_INCEPTION]:
        chosen[", ".join(by_inception)] = partial(_by_inception, dataset, by_inception, weights, device)
    return chosen


def observed(dataset: Any, x: Tensor) -> Any:
    """What is scored of generated x (n, *): points as they are, strings decoded, images as pixels (uint8)."""
    if len(dataset.shape) == 2:
        return dataset.decode(x)
    return torch.from_numpy(plots.to_uint8(x)).permute(0, 3, 1, 2) if len(dataset.shape) == 3 else x


class Scores:
    """The trainer's metrics. What cannot be computed is reported once and left out from then on."""

    def __init__(self, dataset: Any, measures: dict[str, Measure], n: int) -> None:
        self.dataset, self.measures, self.n = dataset, measures, n
        self.wanted = bool(measures)
        self.results: list[Result] = []  # of the last evaluation

    def __call__(self, generate: Callable[[int], Tensor]) -> dict[str, float]:
        """{name: value} of n samples."""
        self.results = []
        samples = generate(self.n) if self.wanted else None  # by all ranks together
        if samples is None or not is_main():
            return {}
        x = observed(self.dataset, samples)
        for name, measure in list(self.measures.items()):
            try:
                self.results.append(measure(x, None))
            except Exception as error:  # whatever it is, the training goes on
                log.warning("%s cannot be computed and is left out: %s", name, " ".join(str(error).split()))
                del self.measures[name]
        return {name: value for result in self.results for name, value in result.values.items()}


def record(run: Path, step: int, measured_with: dict[str, Any], results: list[Result]) -> Path:
    """Writes evaluation.json: each score and what it was measured with. Others of the same step stay in it."""
    file = run / "evaluation.json"
    content: dict[str, Any] = {"step": step, "metrics": {}, "measured_with": {}}
    with suppress(FileNotFoundError, json.JSONDecodeError):  # none yet, or cut off
        before = json.loads(file.read_text())
        if before.get("step") == step and before.keys() == content.keys():
            content = before
    for result in results:
        for name, value in result.values.items():
            content["metrics"][f"eval/{name}"] = value
            content["measured_with"][f"eval/{name}"] = measured_with | result.measured_with
    file.write_text(json.dumps(content, indent=2) + "\n")
    return file


@contextmanager
def _extra() -> Iterator[None]:
    """Says how to get what is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is not installed: pip install 'wgangp[eval]'") from error


def _modes(dataset: Any, x: Tensor, y: Tensor | None) -> Result:
    if not len(dataset.centres):
        raise ValueError("modes: this data has none; use wasserstein1")
    values = toy.modes_found(x, dataset.centres, dataset.std)
    return Result(values, {"samples": len(x), "reference": "the centres"})


def _wasserstein1(dataset: Any, x: Tensor, y: Tensor | None) -> Result:
    n = min(POINTS, len(x))
    real, _ = dataset.batch(0, n)
    with _extra():
        distance = toy.wasserstein1(x[:n], real)
    return Result({"wasserstein1": distance}, {"samples": n, "reference": f"{n} training points"})


def _ngram_js(dataset: Any, x: list[str], y: Tensor | None) -> Result:
    """Besides, as ngram_js_N_floor, the divergence that as many held-out lines have."""
    real = _lines(dataset.batch, len(dataset), dataset.decode)
    values = ngram_js(x, real)
    if dataset.held_out(0, 1):
        floor = ngram_js(_lines(dataset.held_out, len(x), dataset.decode), real)
        values |= {f"{name}_floor": value for name, value in floor.items()}
    return Result(values, {"samples": len(x), "reference": "train"})


def _lines(batch: Callable[[int, int], Any], n: int, decode: Callable[[Tensor], list[str]]) -> list[str]:
    """n lines of a part of the data, read in chunks: as one-hot floats, they are large."""
    lines = [line for i in range(-(-n // CHUNK)) for line in decode(batch(i, CHUNK)[0])]
    return lines[:n]


def _by_inception(
    dataset: Any, names: list[str], weights: str | None, device: torch.device, x: Tensor, y: Tensor | None
) -> Result:
    with _extra():
        from wgangp.metrics import images
    file = images.inception_weights(weights)
    extract = partial(images.extract, extractor=images.INCEPTION, weights=file, device=device)
    features, logits = extract(x, "features", "logits", cached=False)
    real = features[:0] if names == ["is"] else extract(dataset.train.images, "features", cached=True)[0]
    values = images.fidelity(names, features, logits, real)
    return Result(values, _extractor(images.INCEPTION, file) | {"samples": len(x), "reference": "train"})


def _by_classifier(dataset: Any, path: str | None, device: torch.device, x: Tensor, y: Tensor | None) -> Result:
    """The same scores by the classifier, under names that none will take for Inception's, and

    classifier_balance: KL of the classes' shares from those of the training labels (uniform, where there are none);
    classifier_nearest: mean feature distance to the nearest training image, far below that of held-out images
    (classifier_nearest_held_out) where training images are memorised; classifier_agreement: with the labels asked for.
    """
    with _extra():
        from wgangp.metrics import images
    from wgangp.metrics.classifier import class_balance, load_classifier, nearest

    if path is None:
        raise ValueError("classifier: say classifier=FILE; scripts/train_classifier.py writes one")
    file, train, test = Path(path), dataset.train, dataset.test
    num_classes = load_classifier(file).num_classes
    if y is not None and num_classes != dataset.num_classes:
        raise ValueError(f"classifier={path} has {num_classes} classes, and the data {dataset.num_classes}")
    extract = partial(images.extract, extractor=images.CLASSIFIER, weights=file, device=device)
    features, logits = extract(x, "features", "logits", cached=False)
    (real,) = extract(train.images, "features", cached=True)
    values = images.fidelity(list(BY_INCEPTION), features, logits, real)
    values = {BY_CLASSIFIER.get(name, name): value for name, value in values.items()}
    labels = logits.argmax(1)
    reference = torch.bincount(train.labels) if num_classes == dataset.num_classes else torch.ones(num_classes)
    values["balance"] = class_balance(labels, reference)
    values["nearest"] = nearest(features.to(device), real.to(device)).mean().item()
    if test is not None:
        (held_out,) = extract(test.images, "features", cached=True)
        values["nearest_held_out"] = nearest(held_out.to(device), real.to(device)).mean().item()
    if y is not None:
        values["agreement"] = (labels == y).float().mean().item()
    values = {f"classifier_{name}": value for name, value in values.items()}
    return Result(values, _extractor(images.CLASSIFIER, file) | {"samples": len(x), "reference": "train"})


def _extractor(name: str, weights: Path) -> dict[str, str]:
    from wgangp.metrics.classifier import sha256

    return {"extractor": name, "weights": weights.name, "weights_sha256": sha256(weights)}
