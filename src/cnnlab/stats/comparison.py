"""The comparison of two arms: the difference, its interval, and the verdict."""

from __future__ import annotations

from itertools import combinations
from math import inf
from typing import Literal, NamedTuple

import numpy as np

from cnnlab.errors import Problem, UsageError
from cnnlab.records import Record
from cnnlab.stats.power import seeds_for_equivalence, seeds_to_detect
from cnnlab.stats.sample import MIN_RUNS, Sample, pooled_sd
from cnnlab.stats.welch import WelchResult, welch_test

Judgement = Literal["better", "worse", "practically equal", "undecided", "no verdict"]

MAX_RUNS_PERMUTED = 8


class Comparison(Record):
    """Arm A against arm B. A difference is A − B in the metric's units.

    Attributes:
        a, b: names of the arms.
        n_a, n_b, failures_a, failures_b: finite and failed runs.
        mean_a, mean_b: of the finite runs; None without any.
        difference: mean_a − mean_b.
        low, high: its Welch interval at `level`, 1 − alpha (in an ablation of k arms 1 − alpha/k, simultaneous and
            size-corrected as in `analyze_ablation`); None where an arm has fewer than two finite runs.
        equal_low, equal_high: the interval that equivalence is read from, at 1 − 2·alpha (in an ablation at the arm's
            level in its family): the arms are practically equal where it lies within ±delta.
        p: of Welch's two-sided test.
        p_equal: the larger p of the two one-sided tests at ±delta.
        p_adjusted, p_equal_adjusted: size-corrected and adjusted for the family of an ablation, None for an arm
            without a verdict; of a single comparison p and p_equal.
        p_permutation: of the exact two-sided permutation test of the difference of means; None above 8 runs per arm.
        superiority: probability that a run of A is better than one of B (Mann–Whitney), ties half.
        error_change: change of the error 1 − accuracy relative to B's; −0.1 is a tenth fewer errors. Accuracies only.
        delta: the smallest difference of interest, in the metric's units. None: nothing is called practically equal,
            and the fields of equivalence are None.
        alpha: the significance level.
        needed: for 'undecided' and 'no verdict', the runs per arm with which, at the observed spread, both a true
            difference of delta and equality are shown with 80 % power. It is for planning a new study: adding runs
            until there is a verdict raises the error rate above alpha. None where the spread is unknown.
        new_images: the wider interval for new images as well as new seeds, where it was computed.
    """

    a: str
    b: str
    n_a: int
    n_b: int
    failures_a: int
    failures_b: int
    mean_a: float | None
    mean_b: float | None
    difference: float | None
    low: float | None
    high: float | None
    level: float
    equal_low: float | None
    equal_high: float | None
    p: float | None
    p_equal: float | None
    p_adjusted: float | None
    p_equal_adjusted: float | None
    p_permutation: float | None
    superiority: float | None
    error_change: float | None
    delta: float | None
    alpha: float
    verdict: Judgement
    needed: int | None
    new_images: tuple[float, float] | None = None


class DecisionRules(NamedTuple):
    """The rules of a verdict, which a study declares before it runs.

    Attributes:
        delta: the smallest difference of interest, above 0, in the metric's units: 0.002 is 0.2 points of accuracy.
            None: nothing is called practically equal.
        alpha: the significance level, below 0.5.
        higher_is_better: False for a loss.
        accuracy: whether the values are accuracies, which have an error.
    """

    delta: float | None
    alpha: float = 0.05
    higher_is_better: bool = True
    accuracy: bool = True

    def validate(self) -> None:
        """Raise a UsageError for an invalid delta or alpha."""
        problems = []
        if self.delta is not None and not 0 < self.delta < inf:
            allowed = "a finite number above 0, in the metric's units"
            what, step = "this is no smallest difference of interest", "use 0.002 for 0.2 points"
            problems.append(Problem(what, "delta", f"{self.delta:g}", allowed, step))
        if not 0 < self.alpha < 0.5:
            what, allowed = "this is no rate of wrong verdicts", "a fraction between 0 and 0.5"
            problems.append(Problem(what, "alpha", f"{self.alpha:g}", allowed, "use 0.05 for 5 %"))
        if problems:
            raise UsageError.from_problems(problems)

    def verdict(self, difference: float, p: float, p_equal: float) -> Judgement:
        """The verdict on a difference, by the adjusted p-values of its test and of equivalence."""
        if p_equal < self.alpha:
            return "practically equal"
        if p < self.alpha:
            return "better" if (difference > 0) == self.higher_is_better else "worse"
        return "undecided"


class FamilyLevels(NamedTuple):
    """Adjusted p-values and levels of one comparison of a family.

    Attributes:
        comparisons: size of the family.
        p, p_equal: adjusted p-values.
        alpha_difference, alpha_equivalence: nominal levels of Welch's interval of the difference, and of each of the
            two one-sided tests of equivalence.
    """

    comparisons: int
    p: float | None
    p_equal: float | None
    alpha_difference: float
    alpha_equivalence: float


def compare(a: Sample, b: Sample, rules: DecisionRules) -> Comparison:
    """Compare arm A with arm B, which have one run for each seed.

    With fewer than five finite runs in an arm there is no verdict. Else the arms are *practically equal* if the
    1 − 2·alpha interval lies within ±delta, even if it excludes 0; else A is *better* or *worse* if the 1 − alpha
    interval excludes 0; else it is *undecided*.

    >>> a = Sample(name="wide", values=(0.741, 0.748, 0.744, 0.739, 0.751))
    >>> b = Sample(name="narrow", values=(0.722, 0.731, 0.725, 0.719, 0.728))
    >>> found = compare(a, b, DecisionRules(delta=0.002))
    >>> f"{found.verdict} by {found.difference:.4f}, {found.low:.4f} to {found.high:.4f}"
    'better by 0.0196, 0.0125 to 0.0267'
    """
    test = welch_test(a, b)
    p, p_equal = (test.p, test.p_equal(rules.delta)) if test else (None, None)
    return make_comparison(a, b, test, rules, FamilyLevels(1, p, p_equal, rules.alpha, rules.alpha))


def make_comparison(
    a: Sample, b: Sample, test: WelchResult | None, rules: DecisionRules, levels: FamilyLevels
) -> Comparison:
    """Make the record of one comparison."""
    low, high = test.interval(1 - levels.alpha_difference) if test else (None, None)
    has_delta = rules.delta is not None
    equal_low, equal_high = test.interval(1 - 2 * levels.alpha_equivalence) if test and has_delta else (None, None)
    verdict: Judgement = "no verdict"
    if test and levels.p is not None and levels.p_equal is not None and min(a.n, b.n) >= MIN_RUNS:
        verdict = rules.verdict(test.difference, levels.p, levels.p_equal)
    return Comparison(
        a=a.name,
        b=b.name,
        n_a=a.n,
        n_b=b.n,
        failures_a=a.failures,
        failures_b=b.failures,
        mean_a=a.mean,
        mean_b=b.mean,
        difference=None if a.mean is None or b.mean is None else a.mean - b.mean,
        low=low,
        high=high,
        level=1 - rules.alpha / levels.comparisons,
        equal_low=equal_low,
        equal_high=equal_high,
        p=test.p if test else None,
        p_equal=test.p_equal(rules.delta) if test and has_delta else None,
        p_adjusted=levels.p,
        p_equal_adjusted=levels.p_equal if has_delta else None,
        p_permutation=permutation_test(a, b),
        superiority=superiority(a, b, higher_is_better=rules.higher_is_better),
        error_change=_error_change(a, b) if rules.accuracy and rules.higher_is_better else None,
        delta=rules.delta,
        alpha=rules.alpha,
        verdict=verdict,
        needed=_runs_needed(a, b, rules, levels.comparisons) if verdict in ("undecided", "no verdict") else None,
    )


def permutation_test(a: Sample, b: Sample) -> float | None:
    """The p-value of the exact permutation test of the difference of means; None above 8 runs per arm.

    >>> permutation_test(Sample(name="a", values=(4, 5, 6)), Sample(name="b", values=(1, 2, 3)))
    0.1
    """
    if not 1 <= a.n <= MAX_RUNS_PERMUTED or not 1 <= b.n <= MAX_RUNS_PERMUTED:
        return None
    runs = np.array(a.finite + b.finite)
    runs -= runs.min()
    chosen = np.array(list(combinations(range(a.n + b.n), a.n)))
    sums = runs[chosen].sum(axis=1)
    differences = np.abs(sums / a.n - (runs.sum() - sums) / b.n)
    # The first permutation is the observed one. Ties are common, and sums of the same numbers differ by rounding.
    return float((differences >= differences[0] - 1e-9 * runs.max()).mean())


def superiority(a: Sample, b: Sample, *, higher_is_better: bool = True) -> float | None:
    """The probability that a run of A is better than a run of B, ties half (Mann–Whitney's U / n_a·n_b)."""
    if not a.n or not b.n:
        return None
    signs = np.sign(np.subtract.outer(a.finite, b.finite))
    share = (float(signs.mean()) + 1) / 2
    return share if higher_is_better else 1 - share


def _runs_needed(a: Sample, b: Sample, rules: DecisionRules, size: int) -> int | None:
    pooled = pooled_sd((a, b))
    if pooled is None or rules.delta is None:
        return None
    plans = (seeds_to_detect, seeds_for_equivalence)
    planned = (plan(pooled, rules.delta, alpha=rules.alpha, comparisons=size) for plan in plans)
    # Runs that were enough by the plan and gave no verdict are not enough.
    return max(*planned, MIN_RUNS, min(a.n, b.n) + 1)


def _error_change(a: Sample, b: Sample) -> float | None:
    if a.mean is None or b.mean is None or b.mean >= 1:
        return None
    return (b.mean - a.mean) / (1 - b.mean)
