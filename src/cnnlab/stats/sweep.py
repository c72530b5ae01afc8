"""Sweep curves: how a metric changes with one setting, and which values can't be told from the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from cnnlab.records import Record, also_read_as
from cnnlab.stats.multiple_testing import holm
from cnnlab.stats.sample import MIN_RUNS, Sample, best_arm
from cnnlab.stats.welch import size_of_test, welch_test

MIN_VALUES = 6

Three = tuple[float, float, float]


class SweepCurve(Record):
    """A metric against the values of a sweep.

    Attributes:
        sweep_values, samples: in the given order; a sample holds one run for each seed.
        p_any: p-value of Alexander and Govern's test that the value has no effect.
        coefficients: of a quadratic fitted to all finite runs, highest power first; None for fewer than three values.
        coefficient_errors: their HC3 standard errors, valid for unequal spreads; None where a value that the fit
            depends on has a single run.
        best: index of the best mean, among values with five finite runs if `enough`.
        plateau: indices of the values not distinguishable from the best, the best included.
        p_plateau: Welch's p-value of each value against the best, size-corrected (`size_of_test`) and Holm-adjusted;
            1 for the best itself, None for a value with fewer than two finite runs.
        enough: whether six values or more have five finite runs or more. If not, there is no plateau.
    """

    sweep_values: Annotated[tuple[float, ...], also_read_as("sweep_values", "doses")]
    samples: tuple[Sample, ...]
    p_any: float | None
    coefficients: Three | None
    coefficient_errors: Three | None
    best: int | None
    plateau: tuple[int, ...]
    p_plateau: tuple[float | None, ...]
    alpha: float
    enough: bool
    higher_is_better: bool = True

    @property
    def optimum(self) -> float | None:
        """The vertex of the fitted curve if it is the best point and lies within the range of values, else None."""
        if self.coefficients is None or self.coefficients[0] == 0:
            return None
        square, line, _ = self.coefficients
        turn = -line / (2 * square)
        bends = (square < 0) == self.higher_is_better
        return turn if bends and min(self.sweep_values) <= turn <= max(self.sweep_values) else None


def sweep_curve(
    values: Sequence[float], samples: Sequence[Sample], *, alpha: float = 0.05, higher_is_better: bool = True
) -> SweepCurve:
    """Fit a sweep curve.

    Args:
        values: finite and distinct.
        samples: the runs at each value, as many.
        alpha: significance level, below 0.5.
        higher_is_better: False for a loss.
    """
    assert len(values) == len(samples) == len(set(values)), values
    enough = sum(sample.n >= MIN_RUNS for sample in samples) >= MIN_VALUES
    best = best_arm(samples, min_runs=MIN_RUNS if enough else 1, higher_is_better=higher_is_better)
    against_best = _p_against_best(samples, best)
    coefficients, errors = fit_quadratic(values, samples)
    return SweepCurve(
        sweep_values=tuple(values),
        samples=tuple(samples),
        p_any=alexander_govern(samples),
        coefficients=coefficients,
        coefficient_errors=errors,
        best=best,
        plateau=_plateau(samples, against_best, alpha) if enough else (),
        p_plateau=against_best,
        alpha=alpha,
        enough=enough,
        higher_is_better=higher_is_better,
    )


def alexander_govern(samples: Sequence[Sample]) -> float | None:
    """The p-value of equal means of several arms whose spreads may differ; None for fewer than two arms to test.

    Arms with fewer than two finite runs are left out. An arm without spread is the limit of ever smaller ones: its mean
    is the common mean.

    Source: R. A. Alexander, D. M. Govern: A new and simpler approximation for ANOVA under variance heterogeneity,
    J. Educational Statistics 19, 1994; `scipy.stats.alexandergovern`, which has no value for an arm without spread.
    """
    from scipy import stats

    arms = [np.array(sample.finite) for sample in samples if len(sample.finite) > 1]
    constant = {float(arm[0]) for arm in arms if np.ptp(arm) == 0}
    varying = [arm for arm in arms if np.ptp(arm) > 0]
    if len(arms) < 2 or len(constant) > 1:
        return None if len(arms) < 2 else 0.0
    if not constant:
        return float(stats.alexandergovern(*varying).pvalue)
    (mean,) = constant
    normal = [stats.norm.isf(stats.t.sf(abs(stats.ttest_1samp(arm, mean).statistic), len(arm) - 1)) for arm in varying]
    return float(stats.chi2.sf(np.square(normal).sum(), len(arms) - 1))


def fit_quadratic(values: Sequence[float], samples: Sequence[Sample]) -> tuple[Three | None, Three | None]:
    """The coefficients of a quadratic fitted by least squares, highest power first, and their HC3 standard errors.

    None for fewer than three values with runs; no errors where a value that the fit depends on has a single run.

    Source: J. G. MacKinnon, H. White: Some heteroskedasticity-consistent covariance matrix estimators with improved
    finite sample properties, J. Econometrics 29, 1985.
    """
    runs = [(value, metric) for value, sample in zip(values, samples, strict=True) for metric in sample.finite]
    if len({value for value, _ in runs}) < 3:
        return None, None
    x, y = np.array(runs, dtype=float).T
    # Scaled columns, so that the powers of small values are no rounding errors.
    powers = np.vander(x, 3)
    scale = np.abs(powers).max(axis=0)
    inverse = np.linalg.pinv(powers / scale) / scale[:, None]
    fitted = inverse @ y
    # 1 − the leverage of each run
    room = 1 - np.einsum("ij,ji->i", powers, inverse)
    first, second, third = fitted.tolist()
    if room.min() < 1e-9:
        return (first, second, third), None
    spread = inverse * ((y - powers @ fitted) / room)
    errors = np.sqrt((spread**2).sum(axis=1)).tolist()
    return (first, second, third), (errors[0], errors[1], errors[2])


def _p_against_best(samples: Sequence[Sample], best: int | None) -> tuple[float | None, ...]:
    if best is None:
        return (None,) * len(samples)
    tests = {index: welch_test(arm, samples[best]) for index, arm in enumerate(samples) if index != best}
    # An arm with a single run has no test; it counts in the family with p = 1.
    p = [
        1.0 if test is None else size_of_test(test.p, samples[index].n, samples[best].n)
        for index, test in tests.items()
    ]
    adjusted = dict(zip(tests, holm(p), strict=True))
    known = {index: adjusted[index] for index, test in tests.items() if test is not None}
    return tuple(1.0 if index == best else known.get(index) for index in range(len(samples)))


def _plateau(samples: Sequence[Sample], p: Sequence[float | None], alpha: float) -> tuple[int, ...]:
    return tuple(
        index
        for index, (arm, value) in enumerate(zip(samples, p, strict=True))
        if arm.n >= MIN_RUNS and value is not None and value >= alpha
    )
