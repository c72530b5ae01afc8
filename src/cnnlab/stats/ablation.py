"""Several arms against a baseline: verdicts that hold for all of them together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import ceil, sqrt

from cnnlab.errors import UsageError
from cnnlab.randomness import generator
from cnnlab.records import Record
from cnnlab.stats.comparison import Comparison, DecisionRules, FamilyLevels, compare_pair, make_comparison
from cnnlab.stats.multiple_testing import benjamini_hochberg, holm, per_test_levels
from cnnlab.stats.sample import MIN_RUNS, Sample
from cnnlab.stats.welch import family_level, nominal_level, one_sided_test_size, size_of_test, welch_test

# More arms than these are screened: Benjamini–Hochberg instead of Holm.
MAX_ARMS = 20


class Ablation(Record):
    """Arms against a baseline.

    Attributes:
        comparisons: each arm (A) against the baseline (B), in the order of `arms`. Their intervals hold all at once.
        screening: more than 20 arms: of the verdicts a share of alpha is wrong, not one family in 1/alpha.
        dunnett: p-values of Dunnett's test, a cross-check that takes the spreads for equal; in the order of `arms`.
            None where it can't be, an arm without two finite runs or no spread at all, and for a screening.
    """

    baseline: Sample
    arms: tuple[Sample, ...]
    comparisons: tuple[Comparison, ...]
    screening: bool
    dunnett: tuple[float, ...] | None


def analyze_ablation(
    baseline: Sample,
    arms: Sequence[Sample],
    *,
    delta: float | None,
    alpha: float = 0.05,
    higher_is_better: bool = True,
    accuracy: bool = True,
) -> Ablation:
    """Each arm against the baseline, with verdicts as in `compare` that hold for the family of all arms.

    Better and worse are read from Welch's p-values, size-corrected and adjusted by Holm's rule, practical equality from
    a family of its own. Past 20 arms both are adjusted by Benjamini's and Hochberg's, and it is called a screening. An
    arm with too few finite runs for a verdict still counts in the families: what was planned is what is corrected for.

    Size-corrected: each p-value is the largest rate at which Welch's test gives one as small where there is no
    difference, whatever the two spreads (`welch_test.size`). Uncorrected, far in its tails the test finds too much
    where few runs of an arm meet many of the baseline: with 5 seeds an arm and `baseline_seeds`, 6.4 % of families of 6
    and 7.7 % of 10 would show an arm where none differs, not 5 %. A single arm is compared as in `compare`, and the
    intervals of an arm without a verdict are Welch's own.

    Args and errors: those of `compare`.
    """
    rules = DecisionRules(delta, alpha, higher_is_better, accuracy)
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
        return (compare_pair(arms[0], baseline, rules),)
    screening = len(arms) > MAX_ARMS
    adjusted = benjamini_hochberg if screening else holm
    # None for an arm that gets no verdict: it counts in the families as one that shows nothing.
    tests = [welch_test(arm, baseline) if min(arm.n, baseline.n) >= MIN_RUNS else None for arm in arms]
    p = [size_of_test(test.p, arm.n, baseline.n) if test else 1.0 for arm, test in zip(arms, tests, strict=True)]
    p_equal = [
        one_sided_test_size(test.p_equal(rules.delta), arm.n, baseline.n) if test else 1.0
        for arm, test in zip(arms, tests, strict=True)
    ]
    levels = per_test_levels(p_equal, rules.alpha, screening=screening)
    found = []
    for arm, test, differs, equal, level in zip(arms, tests, adjusted(p), adjusted(p_equal), levels, strict=True):
        nominal = family_level(rules.alpha, len(arms), arm.n, baseline.n)
        if test is None:
            own = FamilyLevels(len(arms), None, None, nominal, level)
        else:
            own = FamilyLevels(len(arms), differs, equal, nominal, nominal_level(2 * level, arm.n, baseline.n) / 2)
        found.append(make_comparison(arm, baseline, welch_test(arm, baseline), rules, own))
    return tuple(found)


def baseline_seeds(n: int, k: int) -> int:
    """The runs that a baseline gets which k arms of n runs are compared with: ⌈n·√k⌉.

    Source: C. W. Dunnett: A multiple comparison procedure for comparing several treatments with a control, JASA 50,
    1955: all differences together are then the most exact for the same number of runs.

    Raises:
        UsageError: n or k below 1.

    >>> baseline_seeds(10, 6)
    25
    """
    if n < 1 or k < 1:
        raise UsageError(
            "a baseline needs arms with runs",
            where="n, k",
            received=f"{n} runs of {k} arms",
            allowed="1 or more of each",
            next_step="give the runs of an arm, then the number of arms",
        )
    return ceil(n * sqrt(k))


def _dunnett(baseline: Sample, arms: Sequence[Sample]) -> tuple[float, ...] | None:
    if (
        not 0 < len(arms) <= MAX_ARMS
        or min(baseline.n, *(arm.n for arm in arms)) < 2
        or not any(arm.sd for arm in (baseline, *arms))
    ):
        return None
    from scipy.stats import dunnett

    # The p-values are integrated with drawn points: a stream of their own makes them the same every time.
    drawn = generator(0, "dunnett")
    with warnings.catch_warnings():
        # An arm whose runs all measured the same is no reason to doubt the others.
        warnings.filterwarnings("ignore", "Precision loss occurred", RuntimeWarning)
        found = dunnett(*(arm.finite for arm in arms), control=baseline.finite, random_state=drawn)
    return tuple(float(p) for p in found.pvalue)
