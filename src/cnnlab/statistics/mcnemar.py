"""Two trained models on the same images: McNemar's exact test."""

from __future__ import annotations

from collections.abc import Callable
from math import copysign, inf, sqrt

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import bdtr, ndtri

from cnnlab.errors import UsageError
from cnnlab.records import Record
from cnnlab.statistics.samples import Interval


class PairedModels(Record):
    """Two trained models, judged on the same images; of the recipes that they come from it says nothing.

    Attributes:
        both_right, only_a, only_b, both_wrong: numbers of images.
        p: of McNemar's exact two-sided test; images that both get right or wrong don't enter it.
        difference: in accuracy, A − B. low, high: its score interval at `level`.
    """

    a: str
    b: str
    both_right: int
    only_a: int
    only_b: int
    both_wrong: int
    p: float
    difference: float
    low: float
    high: float
    level: float

    @property
    def images(self) -> int:
        """How many images both were judged on."""
        return self.both_right + self.only_a + self.only_b + self.both_wrong

    @property
    def sentence(self) -> str:
        """What was found, and what it speaks of."""
        return (
            f"Of {self.images:,} images, {self.a} alone is right on {self.only_a:,}, {self.b} alone on "
            f"{self.only_b:,}: a difference of {100 * self.difference:+.2f} points ({100 * self.low:+.2f} to "
            f"{100 * self.high:+.2f}), McNemar's exact p = {self.p:.2g}. This speaks of these two trained models only: "
            "the same recipes with other seeds make other models."
        )


def mcnemar(
    a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_], *, names: tuple[str, str] = ("A", "B"), level: float = 0.95
) -> PairedModels:
    """Two models against each other on the same images.

    Args:
        a, b: whether each model was right on each image, shape N.
        level: the confidence of the interval, between 0 and 1.

    Raises:
        UsageError: no images, or not the same number.

    Source: Q. McNemar: Note on the sampling error of the difference between correlated proportions or percentages,
    Psychometrika 12, 1947, with the binomial distribution in place of χ². Interval: T. Tango: Equivalence test and
    confidence interval for the difference in proportions for the paired-sample design, Statistics in Medicine 17, 1998.

    >>> found = mcnemar(np.array([1, 1, 1, 1, 0, 1], bool), np.array([1, 0, 0, 0, 0, 0], bool))
    >>> found.only_a, found.only_b, found.p
    (4, 0, 0.125)
    """
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise UsageError(
            "two models are compared image by image",
            where="a, b",
            received=f"shapes {a.shape} and {b.shape}",
            allowed="one value for each image, as many in both, one image or more",
            next_step="give whether each model was right on each of the same images",
        )
    first, second = a.astype(bool), b.astype(bool)
    only_a, only_b = int((first & ~second).sum()), int((second & ~first).sum())
    low, high = paired_interval(only_a, only_b, len(a), level)
    return PairedModels(
        a=names[0],
        b=names[1],
        both_right=int((first & second).sum()),
        only_a=only_a,
        only_b=only_b,
        both_wrong=int((~first & ~second).sum()),
        p=min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5))),
        difference=(only_a - only_b) / len(a),
        low=low,
        high=high,
        level=level,
    )


def paired_interval(only_a: int, only_b: int, images: int, level: float = 0.95) -> Interval:
    """Tango's score interval of the difference of two paired shares: the differences that a score test lets stand."""
    z = float(ndtri((1 + level) / 2))
    seen = (only_a - only_b) / images
    # The score falls as the supposed difference rises: +z at the lower end, −z at the upper.
    low = _crossing(lambda gap: paired_score(only_a, only_b, images, gap) - z, -1.0, seen)
    high = _crossing(lambda gap: paired_score(only_a, only_b, images, gap) + z, seen, 1.0)
    return low, high


def paired_score(only_a: int, only_b: int, images: int, gap: float) -> float:
    """How many standard errors the counts lie from a supposed difference, the other share at its most likely."""
    twice = 2 * images
    linear = -only_a - only_b + (twice - only_a + only_b) * gap
    constant = -only_b * gap * (1 - gap)
    share = (sqrt(max(linear**2 - 4 * twice * constant, 0.0)) - linear) / (2 * twice)
    variance = images * (2 * share + gap * (1 - gap))
    distance = only_a - only_b - images * gap
    if variance <= 0:
        return copysign(inf, distance) if distance else 0.0
    return distance / sqrt(variance)


def _crossing(score: Callable[[float], float], low: float, high: float) -> float:
    if low == high:
        return low
    nearly = max(min(low, 1 - 1e-12), -1 + 1e-12), max(min(high, 1 - 1e-12), -1 + 1e-12)
    return float(brentq(score, *nearly, xtol=1e-14))
