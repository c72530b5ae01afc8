"""Welch's test of two means with unequal variances, and its size.

B. L. Welch: The generalization of "Student's" problem when several different population variances are involved,
Biometrika 34, 1947. Equivalence: D. J. Schuirmann: A comparison of the two one-sided tests procedure and the power
approach, J. Pharmacokinetics and Biopharmaceutics 15, 1987.

Unlike `scipy.stats.ttest_ind`, samples without any spread have a result.

The test is an approximation. It is good at a level of 5 %, but a family of many arms is tested at 0.5 % and less, and
there it rejects too often: with 5 against 16 runs up to twice as often as its level. `size_of_test` is the rate in the
worst case, `nominal_level` the level to test at for a wanted rate.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    With a standard error of zero the interval is a point, and a p-value is 0 or 1.
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
        """The two-sided p-value."""
        if self.standard_error == 0:
            return 1.0 if self.difference == 0 else 0.0
        return float(2 * stdtr(self.degrees_of_freedom, -abs(self.difference) / self.standard_error))

    def p_equal(self, delta: float | None) -> float:
        """The larger p-value of the two one-sided tests against ±delta; 1 without a delta."""
        if delta is None:
            return 1.0
        room = delta - abs(self.difference)
        if self.standard_error == 0:
            return 0.0 if room > 0 else 1.0
        return float(stdtr(self.degrees_of_freedom, -room / self.standard_error))


def welch_test(a: Sample, b: Sample) -> WelchResult | None:
    """Test A against B on their finite runs; None where either has fewer than two.

    >>> test = welch_test(Sample(name="a", values=(3, 4, 5)), Sample(name="b", values=(1, 2, 3)))
    >>> f"{test.difference:g}, p = {test.p:.3f}"
    '2, p = 0.070'
    """
    if a.mean is None or b.mean is None or a.sd is None or b.sd is None:
        return None
    return satterthwaite_test(a.mean - b.mean, ((a.sd**2 / a.n, a.n - 1), (b.sd**2 / b.n, b.n - 1)))


def satterthwaite_test(difference: float, components: Sequence[tuple[float, int]]) -> WelchResult:
    """The test of a difference whose variance is a sum of components, each with its degrees of freedom."""
    variance = sum(component for component, _ in components)
    # Divided by the sum before they are squared, so that small variances don't underflow.
    shares = [component / variance if variance else 1 / len(components) for component, _ in components]
    squares = sum(share**2 / freedom for share, (_, freedom) in zip(shares, components, strict=True))
    return WelchResult(difference, float(variance**0.5), 1 / squares)


def size_of_test(level: float, n_a: int, n_b: int) -> float:
    """The size of Welch's two-sided test at a nominal level.

    The largest rate of rejection under equal means, over all ratios of the two variances of normal data. Applied to a
    p-value it gives the p-value of a test that holds its level.

    Args:
        level: the nominal level, a fraction, or a p-value.
        n_a, n_b: runs of each arm, two or more.

    >>> f"{size_of_test(0.05, 5, 5):.4f}, {size_of_test(0.005, 5, 16):.4f}"
    '0.0536, 0.0097'
    """
    if level <= 0:
        return 0.0
    levels, sizes = _size_table(*_capped_counts(n_a, n_b))
    return float(np.exp(np.interp(np.log(level), levels, sizes)))


def one_sided_test_size(level: float, n_a: int, n_b: int) -> float:
    """The size of Welch's one-sided test: half that of the two-sided test at twice the level; levels above ½ as is."""
    return max(level, size_of_test(2 * level, n_a, n_b) / 2)


def nominal_level(target_size: float, n_a: int, n_b: int) -> float:
    """The nominal level at which Welch's two-sided test has the wanted size: the inverse of `size_of_test`.

    >>> f"{nominal_level(0.005, 5, 16):.4f}"
    '0.0017'
    """
    levels, sizes = _size_table(*_capped_counts(n_a, n_b))
    return float(np.exp(np.interp(np.log(target_size), sizes, levels)))


def family_level(alpha: float, comparisons: int, n_a: int, n_b: int) -> float:
    """The nominal level of simultaneous Welch intervals at 1 − alpha, one for each comparison of a family.

    A single comparison, and one with too few runs for a verdict, is not size-corrected.
    """
    level = alpha / max(comparisons, 1)
    return level if comparisons == 1 or min(n_a, n_b) < MIN_RUNS else nominal_level(level, n_a, n_b)


def observed_variances(n_a: int, n_b: int, true_share: Numbers | float) -> tuple[Numbers, Numbers, Numbers]:
    """Quadrature over A's share of the observed variances, for n_a and n_b runs with known true variances.

    That share is beta distributed and independent of the sum of the variances. Given the share, the degrees of freedom
    are fixed, and the test's t is Student's t with n_a + n_b − 2 degrees of freedom over a scale. So a rejection rate
    is a weighted sum.

    Args:
        true_share: A's share of the true squared standard error of the difference.

    Returns:
        (weights, scale, degrees_of_freedom) at the nodes (Gauss–Jacobi), the last dimension; the weights sum to one.
    """
    # With more runs the result hardly changes, and the weights overflow.
    f_a, f_b = min(n_a, MAX_RUNS) - 1, min(n_b, MAX_RUNS) - 1
    nodes, weights = roots_jacobi(32, f_b / 2 - 1, f_a / 2 - 1)
    share = (1 + nodes) / 2
    of_a, of_b = true_share * share / f_a, (1 - true_share) * (1 - share) / f_b
    both = of_a + of_b
    freedom = both**2 / (of_a**2 / f_a + of_b**2 / f_b)
    return weights / weights.sum(), np.sqrt(both * (f_a + f_b)), freedom


def _capped_counts(n_a: int, n_b: int) -> tuple[int, int]:
    """The numbers of runs to compute the size for: with many in both arms it hardly changes."""
    return (n_a, n_b) if min(n_a, n_b) < LARGE_SAMPLE else (LARGE_SAMPLE, LARGE_SAMPLE)


@lru_cache(maxsize=256)
def _size_table(n_a: int, n_b: int) -> tuple[Numbers, Numbers]:
    """Logarithms of nominal levels, ascending, and of the sizes at these levels."""
    levels = np.linspace(np.log(1e-8), 0.0, 33)
    weights, scale, freedom = observed_variances(n_a, n_b, expit(np.linspace(-6, 6, 31))[:, None])
    critical = -stdtrit(freedom, np.exp(levels)[:, None, None] / 2)
    rates = 2 * stdtr(min(n_a, MAX_RUNS) + min(n_b, MAX_RUNS) - 2, -critical * scale) @ weights
    return levels, np.log(np.maximum.accumulate(rates.max(axis=1)))
