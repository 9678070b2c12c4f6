"""n-gram divergences in closed form."""

from collections import Counter
from math import log2

import pytest
import torch

from wgangp.data import Dataset
from wgangp.metrics.text import NgramJS, counts, divergences, jensen_shannon, ngrams


def test_ngrams_stay_within_their_line():
    assert ngrams(["abab", "ba"], 2) == {"ab": 2, "ba": 2}
    assert ngrams(["abab", "ba"], 4) == {"abab": 1}


def test_equal_lines_have_no_divergence_and_disjoint_ones_a_bit():
    assert set(divergences(counts(["abcd", "bcda"]), counts(["bcda", "abcd"])).values()) == {0}
    assert divergences(counts(["abcd"]), counts(["wxyz"])) == {f"ngram_js_{n}": 1 for n in (1, 2, 3, 4)}


def test_closed_form_and_symmetry():
    """p = (1, 0), q = (1/2, 1/2): half of KL(p||m) = log2(4/3) and KL(q||m) = (log2(2/3) + log2(2)) / 2."""
    p, q = Counter("aaa"), Counter("abab")
    expected = (log2(4 / 3) + (log2(2 / 3) + 1) / 2) / 2
    assert jensen_shannon(p, q) == pytest.approx(expected) == jensen_shannon(q, p)


def test_lines_without_ngrams_are_refused():
    with pytest.raises(ValueError, match="too short"):
        divergences(counts(["abc"]), counts(["abcd"]))


def test_lengths_that_no_real_line_has_are_left_out():
    assert divergences(counts(["ab"]), counts(["ab"])) == {"ngram_js_1": 0, "ngram_js_2": 0}


class Lines(Dataset):
    """Two letters in training, and as many lines of others held out."""

    shape, num_classes, vocabulary = (4, 5), 0, "abcd"
    asked = 0

    def __len__(self):
        return 20

    def reference(self, part="train", n=None, seed=0):
        self.asked += 1
        lines = {"train": ["abaab", "babab"] * 10, "held_out": ["cdccd", "dcdcd"] * 10}[part][:n]
        return lines, torch.zeros(len(lines))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9, 50])
def test_few_lines_are_scored_beside_the_floor_of_as_many_real_ones(n):
    data, metric = Lines(), NgramJS()
    for _ in range(2):
        result = metric(["abaab"] * n, None, data, torch.device("cpu"))
    m = min(n, 10)  # of 20 lines
    lines = ["abaab", "babab"] * 10
    floor = jensen_shannon(ngrams(lines[:m], 2), ngrams(lines[m:], 2))
    assert 0 < result.values["ngram_js_2"] < 0.3 and result.values["ngram_js_2_floor"] == pytest.approx(floor)
    assert result.how("ngram_js_2")["samples"] == n and result.how("ngram_js_2_floor")["samples"] == m
    assert result.values.keys() == NgramJS.higher_is_better.keys()
    assert data.asked == 2  # the data's n-grams are counted once
