"""Scores of character strings."""

import math
from collections import Counter
from collections.abc import Iterable

LENGTHS = (1, 2, 3, 4)


def ngram_js(fake: list[str], real: list[str]) -> dict[str, float]:
    """`ngram_js_N`, the Jensen-Shannon divergence of the two's character N-grams, N = 1 to 4 (gan_language.py)."""
    return {f"ngram_js_{n}": jensen_shannon(ngrams(fake, n), ngrams(real, n)) for n in LENGTHS}


def ngrams(lines: Iterable[str], n: int) -> Counter[str]:
    """How often each string of n characters occurs within the lines."""
    return Counter(line[i : i + n] for line in lines for i in range(len(line) - n + 1))


def jensen_shannon(p: Counter[str], q: Counter[str]) -> float:
    """The divergence of two counted distributions in bits: 0 where they are equal, 1 where they share nothing."""
    if not p or not q:
        raise ValueError("the lines are too short to hold an n-gram: give longer ones")
    return (_bits_over_mean(p, q) + _bits_over_mean(q, p)) / 2


def _bits_over_mean(p: Counter[str], q: Counter[str]) -> float:
    """KL(p || (p + q) / 2)."""
    total_p, total_q = p.total(), q.total()
    shares = ((count / total_p, q[gram] / total_q) for gram, count in p.items())
    return sum(a * math.log2(2 * a / (a + b)) for a, b in shares)
