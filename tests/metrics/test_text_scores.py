"""n-gram divergences in closed form."""

from collections import Counter
from math import log2

import pytest

from wgangp.metrics.text import counts, divergences, jensen_shannon, ngrams


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
