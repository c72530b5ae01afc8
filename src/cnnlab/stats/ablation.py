"""Several arms against a baseline, with family-wise verdicts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import ceil, sqrt

from cnnlab.randomness import generator
from cnnlab.records import Record
from cnnlab.stats.comparison import Comparison, DecisionRules, FamilyLevels, compare, make_comparison
from cnnlab.stats.multiple_testing import MAX_ARMS, adjust_family
from cnnlab.stats.sample import MIN_RUNS, Sample
from cnnlab.stats.welch import family_level, nominal_level, one_sided_test_size, size_of_test, welch_test


class Ablation(Record):
    """Arms against a baseline.

    Attributes:
        comparisons: each arm (A) against the baseline (B), in the order of `arms`, with simultaneous intervals.
        screening: whether there are more than 20 arms: alpha is then the false discovery rate.
        dunnett: p-values of Dunnett's test, a cross-check that assumes equal variances; in the order of `arms`; None
            for a screening, if an arm has fewer than two finite runs, or if no arm has any spread.
    """

    baseline: Sample
    arms: tuple[Sample, ...]
    comparisons: tuple[Comparison, ...]
    screening: bool
    dunnett: tuple[float, ...] | None


def analyze_ablation(baseline: Sample, arms: Sequence[Sample], rules: DecisionRules) -> Ablation:
    """Compare each arm with the baseline, with verdicts as in `compare` that hold for all arms together.

    "Better" and "worse" are from Welch's p-values, size-corrected and adjusted by Holm, "practically equal" from a
    family of its own. Past 20 arms both are adjusted by Benjamini–Hochberg, and it is called a screening. An arm with
    too few finite runs for a verdict still counts in the families.

    Size-corrected: each p-value is the largest rate at which Welch's test gives one as small under no difference, over
    all ratios of the two variances (`welch_test.size`). Uncorrected, the test is liberal far in its tails if an arm has
    few runs and the baseline many: with 5 seeds an arm and `baseline_seeds`, 6.4 % of families of 6 and 7.7 % of 10
    would show a difference where there is none, not 5 %. A single arm is compared as in `compare`, and the intervals of
    an arm without a verdict are Welch's own.

    Raises:
        UsageError: an invalid delta or alpha.
    """
    rules.validate()
    return Ablation(
        baseline=baseline,
        arms=tuple(arms),
        comparisons=family_comparisons(baseline, arms, rules),
        screening=len(arms) > MAX_ARMS,
        dunnett=_dunnett(baseline, arms),
    )


def family_comparisons(baseline: Sample, arms: Sequence[Sample], rules: DecisionRules) -> tuple[Comparison, ...]:
    """The comparisons of an ablation, without the cross-check."""
    if len(arms) == 1:
        return (compare(arms[0], baseline, rules),)
    # None for an arm that gets no verdict; it counts in the families with p = 1.
    tests = [welch_test(arm, baseline) if min(arm.n, baseline.n) >= MIN_RUNS else None for arm in arms]
    p = [size_of_test(test.p, arm.n, baseline.n) if test else 1.0 for arm, test in zip(arms, tests, strict=True)]
    p_equal = [
        one_sided_test_size(test.p_equal(rules.delta), arm.n, baseline.n) if test else 1.0
        for arm, test in zip(arms, tests, strict=True)
    ]
    comparisons = []
    family = adjust_family(p, p_equal, rules.alpha)
    for arm, test, (differs, equal, level) in zip(arms, tests, family, strict=True):
        nominal = family_level(rules.alpha, len(arms), arm.n, baseline.n)
        if test is None:
            own = FamilyLevels(len(arms), None, None, nominal, level)
        else:
            own = FamilyLevels(len(arms), differs, equal, nominal, nominal_level(2 * level, arm.n, baseline.n) / 2)
        comparisons.append(make_comparison(arm, baseline, welch_test(arm, baseline), rules, own))
    return tuple(comparisons)


def baseline_seeds(n: int, k: int) -> int:
    """The number of runs of a baseline that k arms of n runs are compared with: ⌈n·√k⌉.

    Source: C. W. Dunnett: A multiple comparison procedure for comparing several treatments with a control, JASA 50,
    1955: this minimises the total variance of the differences for the same number of runs.

    >>> baseline_seeds(10, 6)
    25
    """
    assert n >= 1 <= k, (n, k)
    return ceil(n * sqrt(k))


def _dunnett(baseline: Sample, arms: Sequence[Sample]) -> tuple[float, ...] | None:
    if (
        not 0 < len(arms) <= MAX_ARMS
        or min(baseline.n, *(arm.n for arm in arms)) < 2
        or not any(arm.sd for arm in (baseline, *arms))
    ):
        return None
    from scipy.stats import dunnett

    # The p-values are integrated by quasi-Monte Carlo: a stream of their own makes them reproducible.
    stream = generator(0, "dunnett")
    with warnings.catch_warnings():
        # Raised for an arm whose runs are all equal, which the test allows.
        warnings.filterwarnings("ignore", "Precision loss occurred", RuntimeWarning)
        result = dunnett(*(arm.finite for arm in arms), control=baseline.finite, random_state=stream)
    return tuple(float(p) for p in result.pvalue)
