"""Several arms against a baseline: verdicts that hold for all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt

from cnnlab.errors import UsageError
from cnnlab.randomness import generator
from cnnlab.records import Record
from cnnlab.statistics.comparison import Comparison, Levels, Rules, judged
from cnnlab.statistics.families import benjamini_hochberg, holm, own_levels
from cnnlab.statistics.samples import Sample
from cnnlab.statistics.welch import welch

# More arms than these are screened: Benjamini–Hochberg instead of Holm.
MOST_ARMS = 20


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


def ablate(
    baseline: Sample,
    arms: Sequence[Sample],
    *,
    delta: float,
    alpha: float = 0.05,
    higher_is_better: bool = True,
    accuracy: bool = True,
) -> Ablation:
    """Each arm against the baseline, with verdicts as in `compare` that hold for the family of all arms.

    Better and worse are read from Welch's p-values adjusted by Holm's rule, practical equality from a family of its
    own. Past 20 arms both are adjusted by Benjamini's and Hochberg's, and it is called a screening. An arm without two
    finite runs still counts in the families: what was planned is what is corrected for.

    Where few runs of an arm meet many of the baseline, Welch's test finds a little too much far in its tails: with 5
    seeds an arm and `baseline_seeds`, 6.4 % of families of 6 and 7.7 % of 10 show an arm where none differs, not 5 %;
    with 10 seeds an arm 5.1 and 5.5 %.

    Args and errors: those of `compare`.
    """
    rules = Rules(delta, alpha, higher_is_better, accuracy)
    rules.check()
    return Ablation(
        baseline=baseline,
        arms=tuple(arms),
        comparisons=family(baseline, arms, rules),
        screening=len(arms) > MOST_ARMS,
        dunnett=_dunnett(baseline, arms),
    )


def family(baseline: Sample, arms: Sequence[Sample], rules: Rules) -> tuple[Comparison, ...]:
    """The comparisons of an ablation, without the cross-check."""
    screening = len(arms) > MOST_ARMS
    adjusted = benjamini_hochberg if screening else holm
    tests = [welch(arm, baseline) for arm in arms]
    p = [1.0 if test is None else test.p for test in tests]
    p_equal = [1.0 if test is None else test.p_equal(rules.delta) for test in tests]
    levels = own_levels(p_equal, rules.alpha, screening=screening)
    of_each = zip(arms, tests, adjusted(p), adjusted(p_equal), levels, strict=True)
    return tuple(
        judged(arm, baseline, test, rules, Levels(len(arms), differs if test else None, equal if test else None, level))
        for arm, test, differs, equal, level in of_each
    )


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
        not 0 < len(arms) <= MOST_ARMS
        or min(baseline.n, *(arm.n for arm in arms)) < 2
        or not any(arm.sd for arm in (baseline, *arms))
    ):
        return None
    from scipy.stats import dunnett

    # The p-values are integrated with drawn points: a stream of their own makes them the same every time.
    drawn = generator(0, "dunnett")
    found = dunnett(*(arm.finite for arm in arms), control=baseline.finite, random_state=drawn)
    return tuple(float(p) for p in found.pvalue)
