"""Welch's test of two means, with spreads that need not be equal; a spread of zero is no exception.

B. L. Welch: The generalization of "Student's" problem when several different population variances are involved,
Biometrika 34, 1947. Equivalence: D. J. Schuirmann: A comparison of the two one-sided tests procedure and the power
approach, J. Pharmacokinetics and Biopharmaceutics 15, 1987.

The test is an approximation. At a level of 5 % it is a good one, but a family of many arms asks for levels of 0.5 % and
less, and there it finds too much: with 5 against 16 runs twice as much as it says, where the spreads are just so.
`size_of_test` tells how much at the worst, `nominal_level` which level to test at so that it is no more than is wanted.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, roots_jacobi, stdtr, stdtrit

from cnnlab.stats.sample import MIN_RUNS, Interval, Sample

Numbers = npt.NDArray[np.float64]

LARGE_SAMPLE, MAX_RUNS = 60, 500


class WelchResult(NamedTuple):
    """A difference of two means, its standard error and degrees of freedom.

    With an error of zero an interval is a point, and a p-value 0 or 1.
    """

    difference: float
    standard_error: float
    degrees_of_freedom: float

    def interval(self, level: float) -> Interval:
        """The difference's interval at a confidence level, (low, high)."""
        half = float(stdtrit(self.degrees_of_freedom, (1 + level) / 2)) * self.standard_error
        return self.difference - half, self.difference + half

    @property
    def p(self) -> float:
        """Two-sided: how often means that do not differ would show so large a difference."""
        if self.standard_error == 0:
            return 1.0 if self.difference == 0 else 0.0
        return float(2 * stdtr(self.degrees_of_freedom, -abs(self.difference) / self.standard_error))

    def p_equal(self, delta: float | None) -> float:
        """The larger p-value of the two one-sided tests against −delta and +delta; 1 where there is no delta."""
        if delta is None:
            return 1.0
        room = delta - abs(self.difference)
        if self.standard_error == 0:
            return 0.0 if room > 0 else 1.0
        return float(stdtr(self.degrees_of_freedom, -room / self.standard_error))


def welch_test(a: Sample, b: Sample) -> WelchResult | None:
    """A against B, of the finite runs; None where a side has fewer than two.

    >>> test = welch_test(Sample(name="a", values=(3, 4, 5)), Sample(name="b", values=(1, 2, 3)))
    >>> f"{test.difference:g}, p = {test.p:.3f}"
    '2, p = 0.070'
    """
    if a.mean is None or b.mean is None or a.sd is None or b.sd is None:
        return None
    of_a, of_b = a.sd**2 / a.n, b.sd**2 / b.n
    both = of_a + of_b
    # The usual formula, divided through by the squared sum: small spreads can't underflow.
    shares = (of_a / both, of_b / both) if both else (0.5, 0.5)
    freedom = 1 / (shares[0] ** 2 / (a.n - 1) + shares[1] ** 2 / (b.n - 1))
    return WelchResult(a.mean - b.mean, float(both**0.5), freedom)


def size_of_test(level: float, n_a: int, n_b: int) -> float:
    """How often Welch's two-sided test at a nominal level finds a difference where there is none, at the worst.

    The largest rate over all ratios of the two spreads, for normal data: the size of the test. As a function of a
    p-value it is the p-value of a test whose rate of wrong verdicts is never above its level.

    Args:
        level: nominal, a fraction; or a p-value.
        n_a, n_b: runs of each side, two or more.

    >>> f"{size_of_test(0.05, 5, 5):.4f}, {size_of_test(0.005, 5, 16):.4f}"
    '0.0536, 0.0097'
    """
    if level <= 0:
        return 0.0
    levels, sizes = _size_table(*_capped_counts(n_a, n_b))
    return float(np.exp(np.interp(np.log(level), levels, sizes)))


def one_sided_test_size(level: float, n_a: int, n_b: int) -> float:
    """The size of Welch's one-sided test: half that of the two-sided test at twice the level.

    Past ½ there is no such two-sided test, and the level is returned as it is.
    """
    return max(level, size_of_test(2 * level, n_a, n_b) / 2)


def nominal_level(target_size: float, n_a: int, n_b: int) -> float:
    """The nominal level at which the size of Welch's two-sided test is the wanted one: the inverse of `size_of_test`.

    >>> f"{nominal_level(0.005, 5, 16):.4f}"
    '0.0017'
    """
    levels, sizes = _size_table(*_capped_counts(n_a, n_b))
    return float(np.exp(np.interp(np.log(target_size), sizes, levels)))


def family_level(alpha: float, comparisons: int, n_a: int, n_b: int) -> float:
    """The nominal level of Welch's intervals that hold for all comparisons of a family together with 1 − alpha.

    A lone comparison, and one with too few runs for a verdict, is taken at its share of alpha as it is.
    """
    level = alpha / max(comparisons, 1)
    return level if comparisons == 1 or min(n_a, n_b) < MIN_RUNS else nominal_level(level, n_a, n_b)


class ObservedVariances(NamedTuple):
    """What Welch's test may see of two sides whose true spreads are known, by A's share of the observed variances.

    That share is beta distributed and independent of their sum. Given it, the degrees of freedom are fixed, and the
    test's t is Student's t with n_a + n_b − 2 degrees of freedom over `scale`. So a rate of the test is a weighted sum.

    Attributes:
        weights: of the shares, by Gauss's and Jacobi's rule; they sum to one.
        scale, degrees_of_freedom: at each share; the shares are the last dimension.
    """

    weights: Numbers
    scale: Numbers
    degrees_of_freedom: Numbers


def observed_variances(n_a: int, n_b: int, true_share: Numbers | float) -> ObservedVariances:
    """What may be seen of n_a and n_b runs where A's share of the true squared error of the difference is this."""
    # Beyond, nothing changes that could be seen, and the rule's weights are too large for floats.
    f_a, f_b = min(n_a, MAX_RUNS) - 1, min(n_b, MAX_RUNS) - 1
    nodes, weights = roots_jacobi(32, f_b / 2 - 1, f_a / 2 - 1)
    share = (1 + nodes) / 2
    of_a, of_b = true_share * share / f_a, (1 - true_share) * (1 - share) / f_b
    both = of_a + of_b
    freedom = both**2 / (of_a**2 / f_a + of_b**2 / f_b)
    return ObservedVariances(weights / weights.sum(), np.sqrt(both * (f_a + f_b)), freedom)


def _capped_counts(n_a: int, n_b: int) -> tuple[int, int]:
    """So many runs that the size is known of them: with many on both sides it hardly changes any more."""
    return (n_a, n_b) if min(n_a, n_b) < LARGE_SAMPLE else (LARGE_SAMPLE, LARGE_SAMPLE)


@lru_cache(maxsize=256)
def _size_table(n_a: int, n_b: int) -> tuple[Numbers, Numbers]:
    """Logarithms of nominal levels, ascending, and of the sizes that belong to them."""
    levels = np.linspace(np.log(1e-8), 0.0, 33)
    # A's share of the true squared error, from next to nothing to nearly all.
    weights, scale, freedom = observed_variances(n_a, n_b, expit(np.linspace(-6, 6, 31))[:, None])
    critical = -stdtrit(freedom, np.exp(levels)[:, None, None] / 2)
    rates = 2 * stdtr(min(n_a, MAX_RUNS) + min(n_b, MAX_RUNS) - 2, -critical * scale) @ weights
    return levels, np.log(np.maximum.accumulate(rates.max(axis=1)))
