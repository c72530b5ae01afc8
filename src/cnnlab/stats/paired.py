"""Paired comparisons: two models on the same images (McNemar's test), the same networks under two conditions.

Several networks under a condition are compared with themselves by paired t-tests, equivalence at ±delta by two
one-sided ones. A single network is compared by its images; the result then holds for this network only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import copysign, inf, sqrt

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from cnnlab.records import Record
from cnnlab.stats.ablation import MAX_ARMS
from cnnlab.stats.comparison import DecisionRules, Judgement
from cnnlab.stats.multiple_testing import benjamini_hochberg, holm, per_test_levels
from cnnlab.stats.sample import MIN_RUNS, Interval, Sample
from cnnlab.stats.welch import WelchResult

BoolArray = npt.NDArray[np.bool_]


class McNemarResult(Record):
    """Two trained models on the same images; it holds for these models, not for their recipes.

    Attributes:
        both_right, only_a, only_b, both_wrong: numbers of images.
        p: of McNemar's exact two-sided test; only the discordant images enter it.
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
        """The number of images."""
        return self.both_right + self.only_a + self.only_b + self.both_wrong


def mcnemar_test(
    a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_], *, names: tuple[str, str] = ("A", "B"), level: float = 0.95
) -> McNemarResult:
    """Compare two models on the same images.

    Args:
        a, b: whether each model was right on each of the same images, shape N.
        level: the confidence of the interval, between 0 and 1.

    Source of the interval: T. Tango: Equivalence test and confidence interval for the difference in proportions for
    the paired-sample design, Statistics in Medicine 17, 1998.

    >>> result = mcnemar_test(np.array([1, 1, 1, 1, 0, 1], bool), np.array([1, 0, 0, 0, 0, 0], bool))
    >>> result.only_a, result.only_b, result.p
    (4, 0, 0.125)
    """
    from scipy.stats import binomtest

    assert a.shape == b.shape == (len(a),), (a.shape, b.shape)
    first, second = a.astype(bool), b.astype(bool)
    only_a, only_b = int((first & ~second).sum()), int((second & ~first).sum())
    low, high = paired_interval(only_a, only_b, len(a), level)
    return McNemarResult(
        a=names[0],
        b=names[1],
        both_right=int((first & second).sum()),
        only_a=only_a,
        only_b=only_b,
        both_wrong=int((~first & ~second).sum()),
        p=float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0,
        difference=(only_a - only_b) / len(a),
        low=low,
        high=high,
        level=level,
    )


def paired_interval(only_a: int, only_b: int, images: int, level: float = 0.95) -> Interval:
    """Tango's score interval of the difference of two paired proportions: what a score test does not reject."""
    z = float(ndtri((1 + level) / 2))
    observed = (only_a - only_b) / images
    # The score falls as the difference of the hypothesis rises: +z at the lower end, −z at the upper.
    low = _find_root(lambda gap: paired_score(only_a, only_b, images, gap) - z, -1.0, observed)
    high = _find_root(lambda gap: paired_score(only_a, only_b, images, gap) + z, observed, 1.0)
    return low, high


def paired_score(only_a: int, only_b: int, images: int, gap: float) -> float:
    """Tango's score of the hypothesis that the difference is `gap`, in standard errors."""
    twice = 2 * images
    linear = -only_a - only_b + (twice - only_a + only_b) * gap
    constant = -only_b * gap * (1 - gap)
    share = (sqrt(max(linear**2 - 4 * twice * constant, 0.0)) - linear) / (2 * twice)
    variance = images * (2 * share + gap * (1 - gap))
    distance = only_a - only_b - images * gap
    if variance <= 0:
        return copysign(inf, distance) if distance else 0.0
    return distance / sqrt(variance)


def _find_root(score: Callable[[float], float], low: float, high: float) -> float:
    if low == high:
        return low
    nearly = max(min(low, 1 - 1e-12), -1 + 1e-12), max(min(high, 1 - 1e-12), -1 + 1e-12)
    return float(brentq(score, *nearly, xtol=1e-14))


class PairedEffect(Record):
    """The effect of a condition on a metric of the same networks.

    Attributes:
        n: number of networks.
        difference: mean over networks of the metric with the condition − without; None where a network has no figure.
        low, high: its interval, simultaneous over the family; None where there is none.
        equal_low, equal_high: the interval that equivalence is read from.
        verdict: as in `comparison.compare`; none with two to four networks.
    """

    n: int
    difference: float | None
    low: float | None = None
    high: float | None = None
    equal_low: float | None = None
    equal_high: float | None = None
    verdict: Judgement


def effects_over_runs(
    baseline: Sequence[float], conditions: Sequence[Sequence[float]], rules: DecisionRules
) -> tuple[PairedEffect, ...]:
    """The effect of each condition of a family on the same networks.

    *Better* and *worse* are read from Holm-adjusted p-values, *practically equal* from a family of its own; with more
    than 20 conditions both are adjusted by Benjamini–Hochberg (a screening). With fewer than five networks there is no
    verdict.

    Args:
        baseline: the metric of each network, two or more.
        conditions: for each condition the metric of the same networks, in the same order.
        rules: delta, alpha and whether higher is better.

    Raises:
        UsageError: an invalid delta or alpha.

    >>> clean, blurred = (0.71, 0.73, 0.70, 0.72, 0.71), (0.35, 0.38, 0.33, 0.37, 0.35)
    >>> (effect,) = effects_over_runs(clean, [blurred], DecisionRules(0.01))
    >>> f"{effect.verdict}: {effect.difference:.3f}"
    'worse: -0.358'
    """
    rules.validate()
    tests = [_paired_t_test([b - a for a, b in zip(baseline, row, strict=True)]) for row in conditions]
    p = [1.0 if test is None else test.p for test in tests]
    p_equal = [1.0 if test is None else test.p_equal(rules.delta) for test in tests]
    verdicts, levels = _family(p, p_equal, [test.difference if test else 0.0 for test in tests], rules)
    effects = []
    for test, verdict, level in zip(tests, verdicts, levels, strict=True):
        if test is None:
            effects.append(PairedEffect(n=len(baseline), difference=None, verdict="no verdict"))
            continue
        decision = verdict if len(baseline) >= MIN_RUNS else "no verdict"
        interval = test.interval(1 - rules.alpha / len(tests))
        effects.append(_effect(len(baseline), test.difference, interval, test.interval(1 - 2 * level), decision))
    return tuple(effects)


def effects_over_images(baseline: BoolArray, conditions: BoolArray, rules: DecisionRules) -> tuple[PairedEffect, ...]:
    """The effect of each condition of a family on one network, by its images; it holds for this network only.

    Intervals and p-values are those of Tango's score, as in `mcnemar_test`.

    Args:
        baseline: whether the network is right on each image, shape N.
        conditions: the same under each condition, S×N.
        rules: delta and alpha, for accuracies.

    Raises:
        UsageError: an invalid delta or alpha.
    """
    rules.validate()
    images = len(baseline)
    counts = [(int((row & ~baseline).sum()), int((baseline & ~row).sum())) for row in conditions]
    differences = [(gained - lost) / images for gained, lost in counts]
    p = [_p_zero(*pair) for pair in counts]
    verdicts, levels = _family(p, [_p_equal(*pair, images, rules.delta) for pair in counts], differences, rules)
    effects = []
    for pair, difference, verdict, level in zip(counts, differences, verdicts, levels, strict=True):
        interval = paired_interval(*pair, images, 1 - rules.alpha / len(counts))
        effects.append(_effect(1, difference, interval, paired_interval(*pair, images, 1 - 2 * level), verdict))
    return tuple(effects)


def _family(
    p: Sequence[float], p_equal: Sequence[float], differences: Sequence[float], rules: DecisionRules
) -> tuple[list[Judgement], tuple[float, ...]]:
    """The verdict on each condition, and the level of its equivalence test."""
    screening = len(p) > MAX_ARMS
    adjusted = benjamini_hochberg if screening else holm
    verdicts = list(map(rules.verdict, differences, adjusted(p), adjusted(p_equal)))
    return verdicts, per_test_levels(p_equal, rules.alpha, screening=screening)


def _effect(n: int, difference: float, interval: Interval, equal: Interval, verdict: Judgement) -> PairedEffect:
    return PairedEffect(
        n=n,
        difference=difference,
        low=interval[0],
        high=interval[1],
        equal_low=equal[0],
        equal_high=equal[1],
        verdict=verdict,
    )


def _paired_t_test(differences: Sequence[float]) -> WelchResult | None:
    """The paired t-test; None for fewer than two differences, or one that is not finite."""
    sample = Sample(name="", values=tuple(differences))
    if sample.failures or sample.mean is None or sample.sd is None:
        return None
    return WelchResult(sample.mean, sample.sd / sqrt(sample.n), sample.n - 1)


def _p_zero(gained: int, lost: int) -> float:
    """The two-sided p-value that as many images are gained as lost (McNemar's score test)."""
    apart = gained + lost
    return 1.0 if not apart else float(2 * ndtr(-abs(gained - lost) / sqrt(apart)))


def _p_equal(gained: int, lost: int, images: int, delta: float | None) -> float:
    """The larger p-value of the two one-sided score tests against ±delta; 1 without a delta."""
    if delta is None:
        return 1.0
    return float(
        max(ndtr(-paired_score(gained, lost, images, -delta)), ndtr(paired_score(gained, lost, images, delta)))
    )
