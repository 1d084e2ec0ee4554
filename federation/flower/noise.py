"""Chance for row-level DP-SGD, by the system's source: rows drawn by Poisson, and noise.

The noise is the discrete Gaussian, by the rejection sampler of Canonne, Kamath, Steinke, "The
discrete Gaussian for differential privacy", 2020, algorithms 1 to 3, on many numbers at once. It
is added to a sum of whole numbers. So nothing can be read from the last bits of a result, as from
those of floating-point noise (Mironov, "On significance of the least significant bits for
differential privacy", 2012): whatever the sum, every whole number near it can come out.

Where it is not exact: chances are compared with 64 random bits, and exp is computed with 53. Each
number's probability is right to a factor within 1 +- 2^-45, but for 2^-62 of the whole. For n
numbers drawn that adds at most n * 2^-44 to epsilon and n * 2^-62 to delta.
"""

import math
import secrets
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np

Draw = Callable[[int], bytes]
"""`draw(n)`: n random bytes."""

_WORD: Final = 2**64
_ONCE_IN_E: Final = int(Fraction(math.exp(-1)) * _WORD)
_AT_ONCE: Final = 1 << 18


def sampled(rows: Sequence[int], rate: Fraction, draw: Draw = secrets.token_bytes) -> list[int]:
    """Those of the rows that enter a step: each by itself, with probability `rate`.

    The probability is a multiple of 2^-64, and never above `rate`.
    """
    bound = int(rate * _WORD)
    if bound >= _WORD:
        return list(rows)
    chosen = np.flatnonzero(_words(len(rows), draw) < np.uint64(bound))
    return [rows[place] for place in chosen.tolist()]


def discrete_gaussian(count: int, sigma: float, draw: Draw = secrets.token_bytes) -> Any:  # noqa: ANN401 (an array)
    """So many whole numbers (int64), each k with probability in proportion to exp(-k^2/2 sigma^2).

    `sigma` is from 1/2 to 2^50.
    """
    bits = max(0, math.ceil(math.log2(sigma)))
    centre = sigma / (1 << bits) * sigma
    found: list[Any] = []
    missing = count
    while missing > 0:
        proposed = _laplace(min(_AT_ONCE, 2 * missing + 64), bits, draw)
        away = (np.abs(proposed).astype(np.float64) - centre) / sigma
        kept = proposed[_happens(np.exp(-away * away / 2), draw)]
        found.append(kept[:missing])
        missing -= len(found[-1])
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _laplace(count: int, bits: int, draw: Draw) -> Any:  # noqa: ANN401
    """At most so many numbers of the discrete Laplace of scale 2^bits; those refused are gone."""
    scale = 1 << bits
    # Below 2^64, whole powers of two: the remainder is uniform.
    within = (_words(count, draw) & np.uint64(scale - 1)).astype(np.int64)
    within = within[_happens(np.exp(-within.astype(np.float64) / scale), draw)]
    turns = np.zeros(len(within), np.int64)
    going = np.arange(len(within))
    while len(going):
        going = going[_words(len(going), draw) < np.uint64(_ONCE_IN_E)]
        turns[going] += 1
    size = within + scale * turns
    negative = np.frombuffer(draw(len(size)), np.uint8) & 1 == 1
    # Zero has one sign, or it would come twice as often.
    return np.where(negative, -size, size)[~(negative & (size == 0))]


def _happens(chances: Any, draw: Draw) -> Any:  # noqa: ANN401
    """For each chance (float64, 0 to 1) whether it came true."""
    sure = chances >= 1
    bounds = (np.where(sure, 0.0, chances) * float(_WORD)).astype(np.uint64)
    return sure | (_words(len(chances), draw) < bounds)


def _words(count: int, draw: Draw) -> Any:  # noqa: ANN401
    return np.frombuffer(draw(8 * count), np.uint64)
