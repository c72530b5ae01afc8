"""A against B: how large the difference is, and whether there is one, or none that matters."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from math import inf, sqrt
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from cnnlab.errors import Problem, UsageError
from cnnlab.records import Record
from cnnlab.stats.power import seeds_to_decide
from cnnlab.stats.sample import MIN_RUNS, Sample
from cnnlab.stats.welch import WelchResult, welch_test

Judgement = Literal["better", "worse", "practically equal", "undecided", "no verdict"]

MAX_RUNS_PERMUTED = 8


class Comparison(Record):
    """Arm A against arm B. A difference is A − B in the metric's own units; a better A is better in its sense.

    Attributes:
        a, b: names of the arms.
        n_a, n_b: finite runs; failures_a, failures_b: those that are not.
        mean_a, mean_b: of the finite runs; None without any.
        difference: mean_a − mean_b.
        low, high: its Welch interval at `level`, 1 − alpha (in an ablation of k arms 1 − alpha/k, for all at once, and
            size-corrected as in `analyze_ablation`); None where a side has fewer than two finite runs.
        equal_low, equal_high: the interval that equivalence is read from, at 1 − 2·alpha (in an ablation at the level
            that its family leaves to this arm): the arms are practically equal where it lies within ±delta.
        p: of Welch's two-sided test. p_equal: the larger one of the two one-sided tests at ±delta.
        p_adjusted, p_equal_adjusted: size-corrected and adjusted for the family of an ablation, None for an arm
            without a verdict; p and p_equal of a lone comparison.
        p_permutation: of the exact two-sided test of the difference of means; None past 8 runs on a side.
        superiority: how often a run of A is better than one of B (Mann–Whitney), ties half.
        error_change: of the error 1 − accuracy, relative to B's; −0.1 is a tenth fewer errors. Only for accuracies.
        delta: the smallest difference of interest, in the metric's units; None: none was given, nothing is called
            practically equal, and what belongs to that is None too. alpha: the rate of wrong verdicts allowed.
        needed: for 'undecided' and 'no verdict', the runs an arm with which, at the spread seen, 80 % of studies find
            a true difference of delta, and 80 % of those without any show that. A figure to plan a new study with: runs
            added until a verdict comes give more wrong ones than alpha. None where the spread is unknown.
        new_images: the wider interval for new images as well as new seeds, where it was asked for.
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
    """What a study declares before it runs; without a delta nothing is called practically equal."""

    delta: float | None
    alpha: float = 0.05
    higher_is_better: bool = True
    accuracy: bool = True

    def validate(self) -> None:
        """Raise a UsageError for numbers that can't be."""
        problems = []
        if self.delta is not None and not 0 < self.delta < inf:
            what, allowed = (
                "this is no smallest difference of interest",
                "a finite number above 0, in the metric's units",
            )
            problems.append(Problem(what, "delta", f"{self.delta:g}", allowed, "use 0.002 for 0.2 points"))
        if not 0 < self.alpha < 0.5:
            what, allowed = "this is no rate of wrong verdicts", "a fraction between 0 and 0.5"
            problems.append(Problem(what, "alpha", f"{self.alpha:g}", allowed, "use 0.05 for 5 %"))
        if problems:
            raise UsageError.from_problems(problems)


class FamilyLevels(NamedTuple):
    """What a family leaves to one of its comparisons.

    Attributes:
        comparisons: of the family, their number.
        p, p_equal: adjusted.
        alpha_difference, alpha_equivalence: the nominal levels that Welch's intervals are taken at: of the difference,
            and of each of the two one-sided tests of equivalence.
    """

    comparisons: int
    p: float | None
    p_equal: float | None
    alpha_difference: float
    alpha_equivalence: float


def compare(
    a: Sample,
    b: Sample,
    *,
    delta: float | None,
    alpha: float = 0.05,
    higher_is_better: bool = True,
    accuracy: bool = True,
) -> Comparison:
    """A against B, two arms with a run for each seed.

    With fewer than five finite runs on a side there is no verdict, only numbers. Else the arms are *practically equal*
    where the 1 − 2·alpha interval lies within ±delta, though it may leave out 0; else A is *better* or *worse* where
    the 1 − alpha interval leaves out 0; else it is *undecided*.

    Args:
        delta: the smallest difference of interest, above 0, in the metric's units: 0.002 is 0.2 points of accuracy.
            None: there is none, and no arms are called practically equal.
        alpha: the rate of wrong verdicts allowed, below 0.5.
        higher_is_better: False for a loss.
        accuracy: whether the values are shares of right answers, which have an error.

    Raises:
        UsageError: a delta or an alpha that can't be.

    >>> a = Sample(name="wide", values=(0.741, 0.748, 0.744, 0.739, 0.751))
    >>> b = Sample(name="narrow", values=(0.722, 0.731, 0.725, 0.719, 0.728))
    >>> found = compare(a, b, delta=0.002)
    >>> f"{found.verdict} by {found.difference:.4f}, {found.low:.4f} to {found.high:.4f}"
    'better by 0.0196, 0.0125 to 0.0267'
    """
    rules = DecisionRules(delta, alpha, higher_is_better, accuracy)
    rules.validate()
    return compare_pair(a, b, rules)


def compare_pair(a: Sample, b: Sample, rules: DecisionRules) -> Comparison:
    """A against B, and nothing else."""
    test = welch_test(a, b)
    p, p_equal = (test.p, test.p_equal(rules.delta)) if test else (None, None)
    return make_comparison(a, b, test, rules, FamilyLevels(1, p, p_equal, rules.alpha, rules.alpha))


def make_comparison(
    a: Sample, b: Sample, test: WelchResult | None, rules: DecisionRules, levels: FamilyLevels
) -> Comparison:
    """The record of one comparison, alone or of a family."""
    low, high = test.interval(1 - levels.alpha_difference) if test else (None, None)
    banded = rules.delta is not None
    equal_low, equal_high = test.interval(1 - 2 * levels.alpha_equivalence) if test and banded else (None, None)
    verdict = _verdict(a, b, test, rules, levels)
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
        p_equal=test.p_equal(rules.delta) if test and banded else None,
        p_adjusted=levels.p,
        p_equal_adjusted=levels.p_equal if banded else None,
        p_permutation=permutation_test(a, b),
        superiority=superiority(a, b, higher_is_better=rules.higher_is_better),
        error_change=_error_change(a, b) if rules.accuracy and rules.higher_is_better else None,
        delta=rules.delta,
        alpha=rules.alpha,
        verdict=verdict,
        needed=_runs_needed(a, b, rules, levels.comparisons) if verdict in ("undecided", "no verdict") else None,
    )


def permutation_test(a: Sample, b: Sample) -> float | None:
    """The share of all ways to deal the runs out to A and B whose means differ as much; None past 8 on a side.

    >>> permutation_test(Sample(name="a", values=(4, 5, 6)), Sample(name="b", values=(1, 2, 3)))
    0.1
    """
    if not 1 <= a.n <= MAX_RUNS_PERMUTED or not 1 <= b.n <= MAX_RUNS_PERMUTED:
        return None
    runs = np.array(a.finite + b.finite)
    runs -= runs.min()
    sums = runs[_permutations(a.n + b.n, a.n)].sum(axis=1)
    differences = np.abs(sums / a.n - (runs.sum() - sums) / b.n)
    # The first deal is the one seen. Accuracies tie often, and sums of the same numbers differ in their last digits.
    as_much = differences >= differences[0] - 1e-9 * runs.max()
    return float(as_much.mean())


def superiority(a: Sample, b: Sample, *, higher_is_better: bool = True) -> float | None:
    """How often a run of A is better than a run of B, ties half: Mann–Whitney's U over all pairs; None without runs."""
    if not a.n or not b.n:
        return None
    signs = np.sign(np.subtract.outer(a.finite, b.finite))
    share = (float(signs.mean()) + 1) / 2
    return share if higher_is_better else 1 - share


@lru_cache(maxsize=16)
def _permutations(runs: int, first: int) -> npt.NDArray[np.intp]:
    return np.array(list(combinations(range(runs), first)), dtype=np.intp)


def _verdict(a: Sample, b: Sample, test: WelchResult | None, rules: DecisionRules, levels: FamilyLevels) -> Judgement:
    if test is None or levels.p is None or levels.p_equal is None or min(a.n, b.n) < MIN_RUNS:
        return "no verdict"
    if levels.p_equal < rules.alpha:
        return "practically equal"
    if levels.p < rules.alpha:
        return "better" if (test.difference > 0) == rules.higher_is_better else "worse"
    return "undecided"


def _runs_needed(a: Sample, b: Sample, rules: DecisionRules, size: int) -> int | None:
    known = [(arm.n - 1, arm.sd) for arm in (a, b) if arm.sd is not None]
    if not known or rules.delta is None:
        return None
    pooled = sqrt(sum(freedom * sd**2 for freedom, sd in known) / sum(freedom for freedom, _ in known))
    planned = seeds_to_decide(pooled, rules.delta, alpha=rules.alpha, comparisons=size)
    # Where runs were enough by the plan and still did not decide, it takes more than these.
    return max(planned, MIN_RUNS, min(a.n, b.n) + 1)


def _error_change(a: Sample, b: Sample) -> float | None:
    if a.mean is None or b.mean is None or b.mean >= 1:
        return None
    return (b.mean - a.mean) / (1 - b.mean)
