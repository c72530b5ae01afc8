"""How many runs it takes to find a difference, or to show that there is none that matters."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log, sqrt

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import gammainc, gammaln, ndtr, ndtri, stdtrit

from cnnlab.errors import Problem, UsageError
from cnnlab.stats.welch import family_level, observed_variances

Numbers = npt.NDArray[np.float64]

POWER, ALPHA = 0.8, 0.05
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(128)


def seeds_to_detect(
    sd: float, difference: float, *, power: float = POWER, alpha: float = ALPHA, comparisons: int = 1
) -> int:
    """The runs an arm with which a two-sided t-test finds a true difference.

    Args:
        sd: between the runs of an arm, in the units of `difference`.
        difference: the true one, above 0.
        power: how often it is to be found, a fraction.
        alpha: how often any of the comparisons finds a difference where there is none.
        comparisons: of the family; each is tested at alpha/comparisons, size-corrected as in `analyze_ablation`.

    Returns:
        Two or more.

    Raises:
        UsageError: a number that can't be.

    >>> seeds_to_detect(0.003, 0.005), seeds_to_detect(0.003, 0.005, power=0.9)
    (7, 9)
    """
    _check(sd, difference, power, alpha)
    guess = _normal_approximation(sd, difference, alpha / comparisons / 2, power)
    return _smallest_sufficient(
        lambda n: power_of_difference(sd, difference, n, family_level(alpha, comparisons, n, n)) >= power, guess
    )


def seeds_for_equivalence(
    sd: float, delta: float, *, power: float = POWER, alpha: float = ALPHA, comparisons: int = 1
) -> int:
    """The runs an arm with which two one-sided t-tests show that arms that do not differ are within ±delta.

    Arguments and errors are those of `seeds_to_detect`; `alpha` is the level of each of the two tests.

    >>> seeds_for_equivalence(0.003, 0.005)
    7
    """
    _check(sd, delta, power, alpha)
    guess = _normal_approximation(sd, delta, alpha / comparisons, (1 + power) / 2)
    return _smallest_sufficient(
        lambda n: power_of_equivalence(sd, delta, n, family_level(alpha, comparisons, n, n)) >= power, guess
    )


def seeds_to_decide(
    sd: float, delta: float, *, power: float = POWER, alpha: float = ALPHA, comparisons: int = 1
) -> int:
    """The runs an arm that are enough for `seeds_to_detect` and for `seeds_for_equivalence`: the larger of the two.

    >>> seeds_to_decide(0.003, 0.002)
    40
    """
    _check(sd, delta, power, alpha)
    share = alpha / comparisons
    guess = max(
        _normal_approximation(sd, delta, share / 2, power), _normal_approximation(sd, delta, share, (1 + power) / 2)
    )

    def decides(n: int) -> bool:
        level = family_level(alpha, comparisons, n, n)
        return power_of_equivalence(sd, delta, n, level) >= power and power_of_difference(sd, delta, n, level) >= power

    return _smallest_sufficient(decides, guess)


def detectable_difference(
    sd: float, n: int, n_b: int | None = None, *, power: float = POWER, alpha: float = ALPHA, comparisons: int = 1
) -> float:
    """The smallest true difference that Welch's test of n against n_b runs finds so often, where both spread alike.

    Args:
        n, n_b: runs of the two arms; n_b is n where it is not given.
        alpha: how often any of the comparisons finds a difference where there is none.
        comparisons: of the family; each is tested at alpha/comparisons, size-corrected as in `analyze_ablation` where
            there are enough runs for a verdict.

    Returns:
        In the units of `sd`; infinite where a side has fewer than two runs.

    >>> f"{detectable_difference(0.003, 7):.4f}, {detectable_difference(0.003, 7, comparisons=6):.4f}"
    '0.0050, 0.0069'
    """
    other = n if n_b is None else n_b
    _check(sd, 1.0, power, alpha)
    if min(n, other) < 2:
        return inf
    if sd == 0:
        return 0.0
    level = family_level(alpha, comparisons, n, other)
    seen = observed_variances(n, other, other / (n + other))
    spreads, weights = _sd_quadrature(0.0, inf, n + other - 2)
    critical = np.outer(-stdtrit(seen.degrees_of_freedom, level / 2) * seen.scale, spreads)

    def missing(difference: float) -> float:
        """What is missing to the wanted power at this difference, in units of sd."""
        shift = difference / sqrt(1 / n + 1 / other)
        return power - float(seen.weights @ (ndtr(shift - critical) + ndtr(-shift - critical)) @ weights)

    high = 1.0
    while missing(high) > 0:
        high *= 2
    return sd * float(brentq(missing, 0.0, high))


def planning_sd(error: float, images: int, pilot: float | None = None) -> float:
    """The spread between runs to plan with: √(err/2N), or that of pilot runs where it is larger.

    Args:
        error: the expected share of wrong answers, 0 to 1.
        images: the number judged on, N.
        pilot: the pooled standard deviation of runs made before.

    Raises:
        UsageError: a number that can't be.

    >>> f"{planning_sd(0.25, 10_000):.4f}"
    '0.0035'
    """
    if not 0 <= error <= 1 or images < 1:
        raise UsageError(
            "no spread can be planned with these",
            where="error, images",
            received=f"{error:g}, {images}",
            allowed="an error from 0 to 1, and one image or more",
            next_step="give the error as a fraction, 0.25 for 25 %",
        )
    return max(sqrt(error / (2 * images)), pilot or 0.0)


def power_of_difference(sd: float, difference: float, n: int, alpha: float = ALPHA) -> float:
    """How often a two-sided t-test of n against n runs finds a true difference."""
    if sd == 0:
        return 1.0
    freedom = 2 * n - 2
    critical = float(stdtrit(freedom, 1 - alpha / 2))
    shift = difference / (sd * sqrt(2 / n))
    # On the wrong side it is found next to never.
    wrong = _noncentral_t_tail(-shift, critical, freedom) if shift < 8 else 0.0
    return _noncentral_t_tail(shift, critical, freedom) + wrong


def power_of_equivalence(sd: float, delta: float, n: int, alpha: float = ALPHA) -> float:
    """How often two one-sided t-tests of n against n runs that do not differ show that they are within ±delta.

    For a given spread, the difference must lie within delta − t·error; the mean over the spread's distribution is
    taken numerically, up to the spread that leaves no room.
    """
    if sd == 0:
        return 1.0
    freedom = 2 * n - 2
    critical = float(stdtrit(freedom, 1 - alpha))
    room = delta / (sd * sqrt(2 / n))
    return _expectation(lambda spread: 2 * ndtr(room - critical * spread) - 1, 0.0, room / critical, freedom)


def _noncentral_t_tail(shift: float, critical: float, freedom: int) -> float:
    """The probability that the noncentral t of this shift is above a critical value.

    scipy's own has no value at some large shifts. For a given spread it is Φ(shift − critical·spread), which goes from
    1 to 0 within a few 1/critical; below that only the spread's own distribution counts.
    """
    low, high = ((shift - reach) / critical for reach in (9, -9))
    certain = float(gammainc(freedom / 2, freedom / 2 * low**2)) if low > 0 else 0.0
    return certain + _expectation(lambda spread: ndtr(shift - critical * spread), low, high, freedom)


def _expectation(function: Callable[[Numbers], Numbers], low: float, high: float, freedom: int) -> float:
    """The integral of a function of the observed spread, relative to the true one, times its density."""
    spreads, weights = _sd_quadrature(low, high, freedom)
    return float(function(spreads) @ weights)


def _sd_quadrature(low: float, high: float, freedom: int) -> tuple[Numbers, Numbers]:
    """Spreads from low to high that may be observed, relative to the true one, and the weights of an integral."""
    # Beyond nine of its own standard deviations nothing of it is left.
    width = 9 / sqrt(2 * freedom)
    low, high = max(low, 1 - width, 0.0), min(high, 1 + width)
    if high <= low:
        return np.ones(1), np.zeros(1)
    spread = low + (high - low) * (_POINTS + 1) / 2
    half = freedom / 2
    constant = log(2) + half * log(half) - float(gammaln(half))
    density = np.exp(constant + (freedom - 1) * np.log(spread) - half * spread**2)
    return spread, (high - low) / 2 * _WEIGHTS * density


def _smallest_sufficient(enough: Callable[[int], bool], first: float) -> int:
    """The smallest number from two on that is enough: from a first guess in growing steps, then halved in."""
    step, low, high = 1, 1, max(2, round(first))
    while not enough(high):
        low, high, step = high, high + step, 2 * step
    while high - low > 1:
        # Without a lower bound yet, the guess was enough: fewer by growing steps.
        middle = (low + high) // 2 if low > 1 else max(high - step, (low + high) // 2)
        low, high, step = (low, middle, 2 * step) if enough(middle) else (middle, high, step)
    return high


def _normal_approximation(sd: float, difference: float, tail: float, power: float) -> float:
    """About how many runs an arm it takes: as many as were the spread known, and z²/4 for that it is not."""
    z = float(ndtri(1 - tail))
    return 2 * (sd / difference * (z + float(ndtri(power)))) ** 2 + z**2 / 4


def _check(sd: float, difference: float, power: float, alpha: float) -> None:
    rules = (
        ("sd", sd, 0 <= sd < inf, "a finite number, 0 or above", "give the standard deviation between runs"),
        ("difference", difference, 0 < difference < inf, "a finite number above 0", "give the smallest of interest"),
        ("power", power, 0 < power < 1, "a fraction between 0 and 1", "use 0.8 for 80 %"),
        ("alpha", alpha, 0 < alpha < 0.5, "a fraction between 0 and 0.5", "use 0.05 for 5 %"),
    )
    problems = [
        Problem("no number of runs can be planned with this", where, f"{value:g}", allowed, step)
        for where, value, holds, allowed, step in rules
        if not holds
    ]
    if problems:
        raise UsageError.from_problems(problems)
