"""Paired comparisons: two models on the same images (McNemar's test), the same networks under two conditions.

Several networks under a condition are compared with themselves by paired t-tests, equivalence at ±delta by two
one-sided ones. A single network is compared by its images; the result then holds for this network only.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt

import numpy as np
import numpy.typing as npt

from cnnlab.records import Record
from cnnlab.stats.comparison import DecisionRules, Judgement
from cnnlab.stats.multiple_testing import adjust_family
from cnnlab.stats.sample import MIN_RUNS, Interval, Sample
from cnnlab.stats.welch import WelchResult

BoolArray = npt.NDArray[np.bool_]


class McNemarResult(Record):
    """Two trained models on the same images; it holds for these models, not for their recipes.

    Attributes:
        both_right, only_a, only_b, both_wrong: numbers of images.
        p: of McNemar's exact two-sided test; only the discordant images enter it.
        difference: in accuracy, A − B. low, high: its interval at `level`.
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
    a: BoolArray, b: BoolArray, *, names: tuple[str, str] = ("A", "B"), level: float = 0.95
) -> McNemarResult:
    """Compare two models on the same images.

    Args:
        a, b: whether each model was right on each of the same images, shape N.
        level: the confidence of the interval, between 0 and 1.

    >>> result = mcnemar_test(np.array([1, 1, 1, 1, 0, 1], bool), np.array([1, 0, 0, 0, 0, 0], bool))
    >>> result.only_a, result.only_b, result.p
    (4, 0, 0.125)
    """
    from scipy.stats import binomtest

    assert a.shape == b.shape == (len(a),), (a.shape, b.shape)
    first, second = a.astype(bool), b.astype(bool)
    only_a, only_b = int((first & ~second).sum()), int((second & ~first).sum())
    low, high = _clipped(paired_difference(only_a, only_b, len(a)).interval(level))
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


def paired_difference(only_a: int, only_b: int, images: int) -> WelchResult:
    """The difference of two paired proportions, A − B, with its standard error; normal, so of infinite freedom.

    One image is added to each discordant count, which moves the estimate a little towards 0 and makes the interval hold
    its level: D. G. Bonett, R. M. Price: Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data, J. Educational and Behavioral Statistics 37, 2012.
    """
    share_a, share_b = (only_a + 1) / (images + 2), (only_b + 1) / (images + 2)
    difference = share_a - share_b
    return WelchResult(difference, sqrt((share_a + share_b - difference**2) / (images + 2)), inf)


class PairedEffect(Record):
    """The effect of a condition on a metric of the same networks.

    Attributes:
        n: number of networks.
        difference: mean over networks of the metric with the condition − without; None where a network has no figure.
        low, high: its interval, simultaneous over the family, of accuracies within ±1; None where there is none.
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
    tests = [_paired_t_test([b - a for a, b in zip(baseline, row, strict=True)]) for row in conditions]
    differences = [test.difference if test else None for test in tests]
    return _family_effects(len(baseline), differences, tests, rules, has_verdict=len(baseline) >= MIN_RUNS)


def effects_over_images(baseline: BoolArray, conditions: BoolArray, rules: DecisionRules) -> tuple[PairedEffect, ...]:
    """The effect of each condition of a family on one network, by its images; it holds for this network only.

    Intervals and p-values are those of `paired_difference`.

    Args:
        baseline: whether the network is right on each image, shape N.
        conditions: the same under each condition, S×N.
        rules: delta and alpha, for accuracies.

    Raises:
        UsageError: an invalid delta or alpha.
    """
    counts = [(int((row & ~baseline).sum()), int((baseline & ~row).sum())) for row in conditions]
    differences = [(gained - lost) / len(baseline) for gained, lost in counts]
    tests = [paired_difference(gained, lost, len(baseline)) for gained, lost in counts]
    return _family_effects(1, differences, tests, rules)


def _family_effects(
    n: int,
    differences: Sequence[float | None],
    tests: Sequence[WelchResult | None],
    rules: DecisionRules,
    *,
    has_verdict: bool = True,
) -> tuple[PairedEffect, ...]:
    """The effects of a family of conditions; one without a test counts in the family with p = 1."""
    rules.validate()
    p = [test.p if test else 1.0 for test in tests]
    p_equal = [test.p_equal(rules.delta) if test else 1.0 for test in tests]
    family = adjust_family(p, p_equal, rules.alpha)
    effects = []
    for difference, test, (differs, equal, level) in zip(differences, tests, family, strict=True):
        if test is None or difference is None:
            effects.append(PairedEffect(n=n, difference=None, verdict="no verdict"))
            continue
        intervals = test.interval(1 - rules.alpha / len(tests)), test.interval(1 - 2 * level)
        (low, high), (equal_low, equal_high) = map(_clipped, intervals) if rules.accuracy else intervals
        effects.append(
            PairedEffect(
                n=n,
                difference=difference,
                low=low,
                high=high,
                equal_low=equal_low,
                equal_high=equal_high,
                verdict=rules.verdict(test.difference, differs, equal) if has_verdict else "no verdict",
            )
        )
    return tuple(effects)


def _clipped(interval: Interval) -> Interval:
    """An interval of a difference of accuracies, which lies between −1 and 1."""
    low, high = interval
    return max(low, -1.0), min(high, 1.0)


def _paired_t_test(differences: Sequence[float]) -> WelchResult | None:
    """The paired t-test; None for fewer than two differences, or one that is not finite."""
    sample = Sample(name="", values=tuple(differences))
    if sample.failures or sample.mean is None or sample.sd is None:
        return None
    return WelchResult(sample.mean, sample.sd / sqrt(sample.n), sample.n - 1)
