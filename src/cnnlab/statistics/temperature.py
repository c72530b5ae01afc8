"""One number that makes a network less sure, or surer, without changing what it names.

Logits are divided by a temperature T before they become probabilities: above 1 they are less sure. T is fitted by
maximum likelihood (C. Guo and others: On calibration of modern neural networks, ICML 2017). In β = 1/T the loss is
convex, so that its slope has one zero at most, which is found without a starting point or a rate.
"""

from __future__ import annotations

from math import exp, isfinite, log, sqrt

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import softmax

from cnnlab.records import Record

Numbers = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

# Beyond these a network is as good as certain, or as good as guessing.
LOWEST, HIGHEST = 0.01, 100.0
DRAWS = 1000
# So many points of the slope lie about the fitted temperature, over so many standard errors on either side.
POINTS, REACH = 33, 6.0
# So many images' slopes are computed at a time: their K numbers each are not held for all.
AT_A_TIME = 20_000


class Temperature(Record):
    """A fitted temperature with its 95 % interval; `at_bound` where the best one lies beyond what is looked at.

    `indifferent` where each image's logits are all equal: every temperature gives the same probabilities, and the value
    is 1.
    """

    value: float
    low: float
    high: float
    images: int
    indifferent: bool = False

    @property
    def at_bound(self) -> bool:
        return self.value in (LOWEST, HIGHEST)


def fit_temperature(logits: Numbers, labels: Places) -> float:
    """The temperature with the least loss, from 0.01 to 100, whose ends stand for what lies beyond them.

    Args:
        logits: N×K, all finite; at least one image.
        labels: N class indices.
    """

    def slope(power: float) -> float:
        return float(_slopes(logits, labels, exp(power)).mean())

    if is_indifferent(logits):
        return 1.0
    least, most = -log(HIGHEST), -log(LOWEST)
    # All named right: the surer the better. Worse than guessing: the less sure the better.
    if slope(most) <= 0:
        return LOWEST
    if slope(least) >= 0:
        return HIGHEST
    return exp(-float(brentq(slope, least, most, xtol=1e-10)))


def temperature(
    logits: Numbers, labels: Places, generator: np.random.Generator, draws: int = DRAWS, level: float = 0.95
) -> Temperature:
    """The fitted temperature, and where it would lie with other images: percentiles of a bootstrap over images.

    The slope of each image's loss is computed once, on a grid about the fitted value; a resampled slope is a sum of
    these, and its zero is found between the points of the grid.

    Args:
        logits, labels: as for `fit_temperature`.
        generator: draws the images.
        draws: how often they are resampled.
    """
    value, count = fit_temperature(logits, labels), len(labels)
    if is_indifferent(logits):
        return Temperature(value=value, low=LOWEST, high=HIGHEST, images=count, indifferent=True)
    powers = _grid(logits, labels, -log(value))
    slopes = np.stack([_slopes(logits, labels, exp(power)) for power in powers], axis=1)
    found = np.empty(draws)
    for number in range(draws):
        times = np.bincount(generator.integers(count, size=count), minlength=count)
        found[number] = _zero(powers, times @ slopes)
    low, high = np.quantile(np.exp(-found), [(1 - level) / 2, (1 + level) / 2])
    return Temperature(value=value, low=min(float(low), value), high=max(float(high), value), images=count)


def is_indifferent(logits: Numbers) -> bool:
    """Whether no temperature changes anything: the logits of each image are all equal."""
    return bool((np.ptp(logits, axis=1) == 0).all())


def cooled_by_halves(
    logits: Numbers, labels: Places, generator: np.random.Generator
) -> tuple[Numbers, tuple[float, float]]:
    """The logits over a temperature that was fitted without them: each half over that of the other; and the two.

    Args:
        logits, labels: as for `fit_temperature`; at least two images.
        generator: draws the halves.
    """
    order = generator.permutation(len(labels))
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    cooled, fitted = np.empty(logits.shape, dtype=np.float64), []
    for fits, judged in ((first, second), (second, first)):
        fitted.append(fit_temperature(logits[fits], labels[fits]))
        cooled[judged] = logits[judged] / fitted[-1]
    return cooled, (fitted[0], fitted[1])


def _slopes(logits: Numbers, labels: Places, beta: float) -> Numbers:
    """The derivative of each image's loss by β, at β: Σ p z − z_true, shape N."""
    found = np.empty(len(labels))
    for start in range(0, len(labels), AT_A_TIME):
        some = slice(start, start + AT_A_TIME)
        part = np.asarray(logits[some], dtype=np.float64)
        # From the true class's logit, so that large logits lose no digits.
        part = part - part[np.arange(len(part)), labels[some]][:, None]
        found[some] = (softmax(beta * part, axis=1) * part).sum(axis=1)
    return found


def _grid(logits: Numbers, labels: Places, power: float) -> Numbers:
    """Logarithms of β about the fitted one, as far as resampled ones may lie."""
    step, beta = 1e-3, exp(power)
    slopes = _slopes(logits, labels, beta)
    curve = (_slopes(logits, labels, beta * (1 + step)) - slopes).mean() / (beta * step)
    error = slopes.std() / sqrt(len(labels)) / curve / beta if curve > 0 else float("inf")
    reach = REACH * error if isfinite(error) and error > 0 else float("inf")
    least, most = max(power - reach, -log(HIGHEST)), min(power + reach, -log(LOWEST))
    return np.linspace(least, most, POINTS)


def _zero(powers: Numbers, slopes: Numbers) -> float:
    """Where a slope that rises with β goes through 0; an end of the grid where it does not."""
    return float(np.interp(0.0, slopes, powers))
