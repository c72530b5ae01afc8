"""Power: how many runs it takes to find a difference, or to show that there is none that matters."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from math import inf, log, sqrt

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import gammaln, nctdtr, ndtr, stdtrit

from cnnlab.stats.defaults import ALPHA
from cnnlab.stats.welch import family_level, observed_variances

Numbers = npt.NDArray[np.float64]

POWER = 0.8
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(128)


def seeds_to_detect(
    sd: float, difference: float, *, power: float = POWER, alpha: float = ALPHA, comparisons: int = 1
) -> int:
    """The runs per arm with which a two-sided t-test finds a true difference.

    Args:
        sd: standard deviation between the runs of an arm, 0 or above, in the units of `difference`.
        difference: the true difference, above 0.
        power: the probability of finding it, a fraction.
        alpha: the family-wise rate of finding a difference where there is none.
        comparisons: size of the family; each test is at alpha/comparisons, size-corrected as in `analyze_ablation`.

    Returns:
        Two or more.

    >>> seeds_to_detect(0.003, 0.005), seeds_to_detect(0.003, 0.005, power=0.9)
    (7, 9)
    """
    assert sd >= 0 < difference, (sd, difference)
    return _smallest_sufficient(
        lambda n: power_of_difference(sd, difference, n, family_level(alpha, comparisons, n, n)) >= power
    )


def seeds_for_equivalence(
    sd: float, delta: float, *, power: float = POWER, alpha: float = ALPHA, comparisons: int = 1
) -> int:
    """The runs per arm with which two one-sided t-tests show that equal arms are within ±delta.

    Arguments are those of `seeds_to_detect`; `alpha` is the level of each of the two tests.

    >>> seeds_for_equivalence(0.003, 0.005)
    7
    """
    assert sd >= 0 < delta, (sd, delta)
    return _smallest_sufficient(
        lambda n: power_of_equivalence(sd, delta, n, family_level(alpha, comparisons, n, n)) >= power
    )


def detectable_difference(
    sd: float, n: int, n_b: int | None = None, *, power: float = POWER, alpha: float = ALPHA, comparisons: int = 1
) -> float:
    """The smallest true difference that Welch's test finds with this power, for arms of equal spread.

    Args:
        n, n_b: runs of the two arms; n_b is n by default.
        alpha: the family-wise rate of finding a difference where there is none.
        comparisons: size of the family; each test is at alpha/comparisons, size-corrected as in `analyze_ablation`
            where there are enough runs for a verdict.

    Returns:
        In the units of `sd`; infinite where an arm has fewer than two runs.

    >>> f"{detectable_difference(0.003, 7):.4f}, {detectable_difference(0.003, 7, comparisons=6):.4f}"
    '0.0050, 0.0069'
    """
    other = n if n_b is None else n_b
    if min(n, other) < 2:
        return inf
    if sd == 0:
        return 0.0
    level = family_level(alpha, comparisons, n, other)
    nodes, scale, freedom = observed_variances(n, other, other / (n + other))
    spreads, weights = _sd_quadrature(inf, n + other - 2)
    critical = np.outer(-stdtrit(freedom, level / 2) * scale, spreads)

    def lacking_power(difference: float) -> float:
        """The wanted power less the power at this difference, in units of sd."""
        shift = difference / sqrt(1 / n + 1 / other)
        return power - float(nodes @ (ndtr(shift - critical) + ndtr(-shift - critical)) @ weights)

    high = 1.0
    while lacking_power(high) > 0:
        high *= 2
    return sd * float(brentq(lacking_power, 0.0, high))


def planning_sd(error: float, images: int, pilot: float | None = None) -> float:
    """The standard deviation between runs to plan with: √(err/2N), or that of pilot runs where it is larger.

    Args:
        error: the expected error rate, 0 to 1.
        images: the number of images judged on, N.
        pilot: the pooled standard deviation of earlier runs.

    >>> f"{planning_sd(0.25, 10_000):.4f}"
    '0.0035'
    """
    assert 0 <= error <= 1 <= images, (error, images)
    return max(sqrt(error / (2 * images)), pilot or 0.0)


def power_of_difference(sd: float, difference: float, n: int, alpha: float = ALPHA) -> float:
    """The probability that a two-sided t-test of n against n runs finds a true difference (noncentral t)."""
    if sd == 0:
        return 1.0
    freedom = 2 * n - 2
    critical = float(stdtrit(freedom, 1 - alpha / 2))
    shift = difference / (sd * sqrt(2 / n))
    # scipy gives NaN for probabilities too small to compute.
    below, wrong_side = np.nan_to_num(nctdtr(freedom, shift, [critical, -critical]))
    return float(1 - below + wrong_side)


def power_of_equivalence(sd: float, delta: float, n: int, alpha: float = ALPHA) -> float:
    """The probability that two one-sided t-tests of n against n equal runs show that they are within ±delta.

    Given the observed spread, the difference must lie within delta − t·error; this probability is integrated over the
    distribution of the spread, up to the spread that leaves no room.
    """
    if sd == 0:
        return 1.0
    freedom = 2 * n - 2
    critical = float(stdtrit(freedom, 1 - alpha))
    room = delta / (sd * sqrt(2 / n))
    spreads, weights = _sd_quadrature(room / critical, freedom)
    return float((2 * ndtr(room - critical * spreads) - 1) @ weights)


def _sd_quadrature(high: float, freedom: int) -> tuple[Numbers, Numbers]:
    """Nodes and weights of an integral over the observed spread, relative to the true one, from 0 to high."""
    # Nine standard deviations hold all of its distribution that a float can show.
    width = 9 / sqrt(2 * freedom)
    low, high = max(1 - width, 0.0), min(high, 1 + width)
    if high <= low:
        return np.ones(1), np.zeros(1)
    spread = low + (high - low) * (_POINTS + 1) / 2
    half = freedom / 2
    constant = log(2) + half * log(half) - float(gammaln(half))
    density = np.exp(constant + (freedom - 1) * np.log(spread) - half * spread**2)
    return spread, (high - low) / 2 * _WEIGHTS * density


def _smallest_sufficient(enough: Callable[[int], bool]) -> int:
    """The smallest number from two on that is enough."""
    high = 2
    while not enough(high):
        high *= 2
    return bisect_left(range(high), True, lo=max(2, high // 2), key=enough)
