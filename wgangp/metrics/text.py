"""Scores of character strings."""

import math
from collections import Counter
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor

from wgangp.data import Dataset
from wgangp.metrics import Metric, Result
from wgangp.metrics.reference import Once, size, training_samples

LENGTHS = (1, 2, 3, 4)


class NgramJS(Metric):
    """`ngram_js_N`, the Jensen-Shannon divergence in bits of character N-grams from the training lines' (N = 1 to 4).

    As in gan_language.py. `ngram_js_N_floor` is that of as many training lines from all others, or of half of the
    training lines if there are fewer: the divergence falls with the number of lines, so a floor needs the same one.
    """

    higher_is_better: ClassVar = {f"ngram_js_{n}{end}": False for n in LENGTHS for end in ("", "_floor")}
    quick = True

    def __init__(self) -> None:
        self.real: Once[list[Counter[str]]] = Once()
        self.floor: Once[dict[str, float]] = Once()

    def suits(self, dataset: Dataset) -> bool:
        return dataset.vocabulary is not None

    def __call__(self, samples: list[str], asked: Tensor | None, dataset: Dataset, device: torch.device) -> Result:
        real = self.real(dataset, None, lambda: counts(training_samples(dataset)))
        values, n = divergences(counts(samples), real), min(len(samples), (size(dataset) or 2 * len(samples)) // 2)
        floor = self.floor(dataset, n, lambda: self._floor(dataset, n, real)) if n else {}
        of_floor = {name: {"samples": n, "reference": "other training lines"} for name in floor}
        return Result(values | floor, {"samples": len(samples), "reference": "training lines"}, of_floor)

    def _floor(self, dataset: Dataset, n: int, real: list[Counter[str]]) -> dict[str, float]:
        """Returns the divergences of a seeded draw of n training lines from the others."""
        drawn = counts(training_samples(dataset, n, seed=1))
        others = real if size(dataset) is None else [r - d for r, d in zip(real, drawn, strict=True)]
        return {f"{name}_floor": value for name, value in divergences(drawn, others).items()}


def counts(lines: list[str]) -> list[Counter[str]]:
    """Returns the n-gram counts for each of LENGTHS."""
    return [ngrams(lines, n) for n in LENGTHS]


def divergences(fake: list[Counter[str]], real: list[Counter[str]]) -> dict[str, float]:
    """Returns the divergence of each of LENGTHS that the real lines have."""
    return {f"ngram_js_{n}": jensen_shannon(p, q) for n, p, q in zip(LENGTHS, fake, real, strict=True) if q}


def ngrams(lines: Iterable[str], n: int) -> Counter[str]:
    """Counts the strings of n characters within the lines."""
    return Counter(line[i : i + n] for line in lines for i in range(len(line) - n + 1))


def jensen_shannon(p: Counter[str], q: Counter[str]) -> float:
    """Returns the divergence of two counted distributions in bits: 0 if they are equal, 1 if they share nothing.

    Raises ValueError if one of them is empty.
    """
    if not p or not q:
        raise ValueError("the lines are too short to hold an n-gram: give longer ones")
    return (_bits_over_mean(p, q) + _bits_over_mean(q, p)) / 2


def _bits_over_mean(p: Counter[str], q: Counter[str]) -> float:
    """KL(p || (p + q) / 2)."""
    total_p, total_q = p.total(), q.total()
    shares = ((count / total_p, q[gram] / total_q) for gram, count in p.items())
    return sum(a * math.log2(2 * a / (a + b)) for a, b in shares)
