"""Calibration of predicted probabilities: reliability in bins, the expected calibration error, temperature scaling.

A network is calibrated when, of the images that it names with a probability of p, a share of p is named right. The
expected calibration error sums over bins of the probability |share right − mean probability|, each bin by its share of
the images (M. P. Naeini, G. F. Cooper, M. Hauskrecht: Obtaining well calibrated probabilities using Bayesian binning,
AAAI 2015; C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger: On calibration of modern neural networks, ICML 2017).

It is never 0 on a finite number of images, also for a network that is calibrated: chance moves each bin. How large it
then is depends on the number of images and on their probabilities, so it is simulated for these very probabilities,
as in J. Bröcker, L. A. Smith: Increasing the reliability of reliability diagrams, Weather and Forecasting 22, 2007.

Temperature scaling divides the logits by a temperature T before the softmax: above 1 the probabilities are less
confident. T is fitted by maximum likelihood (C. Guo and others, 2017). In β = 1/T the loss is convex, so that its slope
has one zero at most, which is found without a starting point or a rate.
"""

from __future__ import annotations

from math import exp, isfinite, log, sqrt

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax

from cnnlab.records import Record

Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

NUM_BINS = 15
NUM_DRAWS = 1000
LEVEL = 0.95
# So many simulated answers lie in memory at a time.
SIMULATED_AT_A_TIME = 2**22


class CalibrationBin(Record):
    """The images whose probability lies in a bin.

    `low` and `high` are its edges (of equal width) or the least and largest probability in it (of equal mass);
    `confidence` is the mean probability, `accuracy` the share named right, and `band` holds that share in 95 % of
    simulated answers of a calibrated network.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float
    band: tuple[float, float]


class CalibrationError(Record):
    """The expected calibration error, and what a calibrated network would show on as many images.

    `chance` is its mean for a calibrated network, `limit` what it stays below in 97.5 % of the simulated answers.
    """

    value: float
    chance: float
    limit: float
    bins: tuple[CalibrationBin, ...]

    @property
    def beyond_chance(self) -> bool:
        """Whether it is larger than chance alone would explain."""
        return self.value > self.limit


class CalibrationMetrics(Record):
    """How good probabilities are. `loss` is the mean cross-entropy in nats, `brier_score` from 0 to 2."""

    loss: float
    brier: float
    confidence: float
    accuracy: float
    width: CalibrationError
    mass: CalibrationError


def calibration_metrics(
    logits: Numbers, labels: Indices, generator: np.random.Generator, draws: int = NUM_DRAWS
) -> CalibrationMetrics:
    """Every figure of the probabilities of N images.

    Args:
        logits: N×K, all finite; at least one image.
        labels: N class indices.
        generator: draws the answers of a calibrated network.
        draws: how many of them.
    """
    logs = log_softmax(np.asarray(logits, dtype=np.float64), axis=1)
    probabilities = np.exp(logs)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    return CalibrationMetrics(
        loss=float(-logs[np.arange(len(labels)), labels].mean()),
        brier=brier_score(probabilities, labels),
        confidence=float(confidence.mean()),
        accuracy=float(right.mean()),
        width=calibration_error(confidence, right, equal_width_bins(confidence), generator, draws, edges=True),
        mass=calibration_error(confidence, right, equal_mass_bins(confidence), generator, draws),
    )


def brier_score(probabilities: Numbers, labels: Indices) -> float:
    """The mean over images of Σ (probability − truth)² over all classes: 0 for the best, 2 for the worst.

    Source: G. W. Brier: Verification of forecasts expressed in terms of probability, Monthly Weather Review 78, 1950.

    >>> brier_score(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 0]))
    0.25
    """
    own = probabilities[np.arange(len(labels)), labels]
    # Σ (p − t)² = Σ p² − 2 p_true + 1
    return float(((probabilities**2).sum(axis=1) - 2 * own + 1).mean())


def equal_width_bins(confidence: Numbers, bins: int = NUM_BINS) -> Indices:
    """The bin of each probability: (0, 1/M], (1/M, 2/M], … as in Guo and others, counted from 0.

    >>> equal_width_bins(np.array([0.05, 0.5, 0.51, 1.0]), bins=2).tolist()
    [0, 0, 1, 1]
    """
    return np.searchsorted(np.arange(1, bins) / bins, confidence, side="left").astype(np.int64)


def equal_mass_bins(confidence: Numbers, bins: int = NUM_BINS) -> Indices:
    """The bin of each probability, as many images in each as equal probabilities, which stay together, allow.

    >>> equal_mass_bins(np.array([0.9, 0.2, 0.5, 0.6]), bins=2).tolist()
    [1, 0, 0, 1]
    """
    ordered, count = np.sort(confidence), len(confidence)
    cuts = np.unique(ordered[[count * number // bins for number in range(1, bins)]])
    return np.searchsorted(cuts, confidence, side="right").astype(np.int64)


def calibration_error(
    confidence: Numbers,
    correct: Flags,
    bin_indices: Indices,
    generator: np.random.Generator,
    draws: int = NUM_DRAWS,
    *,
    edges: bool = False,
) -> CalibrationError:
    """The expected calibration error over bins, and what chance gives a calibrated network.

    Args:
        confidence: N probabilities of the class that was named.
        correct: whether each image was named right, N.
        bin_indices: the bin of each image, N; bins without images count for nothing.
        draws: how many answers of a calibrated network are simulated: right with the stated probability.
        edges: whether the bins are those of `equal_width_bins`, whose edges are then given.
    """
    order = np.argsort(bin_indices, kind="stable")
    kinds, starts, images = np.unique(bin_indices[order], return_index=True, return_counts=True)
    stated, true = (np.add.reduceat(values[order].astype(np.float64), starts) for values in (confidence, correct))
    drawn = _simulate_correct(confidence[order], starts, generator, draws)
    errors = np.abs(drawn - stated).sum(axis=1) / len(confidence)
    low, high = (np.quantile(drawn / images, (1 + sign * LEVEL) / 2, axis=0) for sign in (-1, 1))
    bounds = np.stack([kinds, kinds + 1], axis=1) / NUM_BINS if edges else _bin_ranges(confidence[order], starts)
    return CalibrationError(
        value=float(np.abs(true - stated).sum() / len(confidence)),
        chance=float(errors.mean()),
        limit=float(np.quantile(errors, (1 + LEVEL) / 2)),
        bins=tuple(
            CalibrationBin(
                low=float(bounds[k, 0]),
                high=float(bounds[k, 1]),
                images=int(images[k]),
                confidence=float(stated[k] / images[k]),
                accuracy=float(true[k] / images[k]),
                band=(float(low[k]), float(high[k])),
            )
            for k in range(len(kinds))
        ),
    )


def _simulate_correct(confidence: Numbers, starts: Indices, generator: np.random.Generator, draws: int) -> Numbers:
    """How many are right in each bin, draws×bins, of images in the order of their bins."""
    rows = max(1, SIMULATED_AT_A_TIME // len(confidence))
    pieces = [min(rows, draws - start) for start in range(0, draws, rows)]
    found = [
        np.add.reduceat(generator.random((rows, len(confidence))) < confidence, starts, axis=1, dtype=np.float64)
        for rows in pieces
    ]
    return np.concatenate(found)


def _bin_ranges(ordered: Numbers, starts: Indices) -> Numbers:
    """The least and the largest probability of each bin."""
    return np.stack([ufunc.reduceat(ordered, starts) for ufunc in (np.minimum, np.maximum)], axis=1)


# Beyond these a network is as good as certain, or as good as guessing.
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100.0
TEMPERATURE_DRAWS = 1000
# So many points of the slope lie about the fitted temperature, over so many standard errors on either side.
GRID_POINTS, GRID_HALF_WIDTH = 33, 6.0
# So many images' slopes are computed at a time: their K numbers each are not held for all.
IMAGES_AT_A_TIME = 20_000


class Temperature(Record):
    """A fitted temperature with its 95 % interval; `at_bound` where the best one lies beyond the range searched.

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
        return self.value in (MIN_TEMPERATURE, MAX_TEMPERATURE)


def fit_temperature(logits: Numbers, labels: Indices) -> float:
    """The temperature with the least loss, from 0.01 to 100, whose ends stand for what lies beyond them.

    Args:
        logits: N×K, all finite; at least one image.
        labels: N class indices.
    """

    def slope(power: float) -> float:
        return float(_loss_gradients(logits, labels, exp(power)).mean())

    if has_uniform_logits(logits):
        return 1.0
    least, most = -log(MAX_TEMPERATURE), -log(MIN_TEMPERATURE)
    # All named right: the surer the better. Worse than guessing: the less sure the better.
    if slope(most) <= 0:
        return MIN_TEMPERATURE
    if slope(least) >= 0:
        return MAX_TEMPERATURE
    return exp(-float(brentq(slope, least, most, xtol=1e-10)))


def bootstrap_temperature(
    logits: Numbers,
    labels: Indices,
    generator: np.random.Generator,
    draws: int = TEMPERATURE_DRAWS,
    level: float = 0.95,
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
    if has_uniform_logits(logits):
        return Temperature(value=value, low=MIN_TEMPERATURE, high=MAX_TEMPERATURE, images=count, indifferent=True)
    powers = _grid(logits, labels, -log(value))
    slopes = np.stack([_loss_gradients(logits, labels, exp(power)) for power in powers], axis=1)
    found = np.empty(draws)
    for number in range(draws):
        times = np.bincount(generator.integers(count, size=count), minlength=count)
        found[number] = _find_zero(powers, times @ slopes)
    low, high = np.quantile(np.exp(-found), [(1 - level) / 2, (1 + level) / 2])
    return Temperature(value=value, low=min(float(low), value), high=max(float(high), value), images=count)


def has_uniform_logits(logits: Numbers) -> bool:
    """Whether no temperature changes anything: the logits of each image are all equal."""
    return bool((np.ptp(logits, axis=1) == 0).all())


def cross_fitted_logits(
    logits: Numbers, labels: Indices, generator: np.random.Generator
) -> tuple[Numbers, tuple[float, float]]:
    """The logits over a temperature that was fitted without them: each half over that of the other; and the two.

    Args:
        logits, labels: as for `fit_temperature`; at least two images.
        generator: draws the halves.
    """
    order = generator.permutation(len(labels))
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    cooled, fitted = np.empty(logits.shape, dtype=np.float64), []
    for fits, held_out in ((first, second), (second, first)):
        fitted.append(fit_temperature(logits[fits], labels[fits]))
        cooled[held_out] = logits[held_out] / fitted[-1]
    return cooled, (fitted[0], fitted[1])


def _loss_gradients(logits: Numbers, labels: Indices, beta: float) -> Numbers:
    """The derivative of each image's loss by β, at β: Σ p z − z_true, shape N."""
    found = np.empty(len(labels))
    for start in range(0, len(labels), IMAGES_AT_A_TIME):
        some = slice(start, start + IMAGES_AT_A_TIME)
        part = np.asarray(logits[some], dtype=np.float64)
        # From the true class's logit, so that large logits lose no digits.
        part = part - part[np.arange(len(part)), labels[some]][:, None]
        found[some] = (softmax(beta * part, axis=1) * part).sum(axis=1)
    return found


def _grid(logits: Numbers, labels: Indices, power: float) -> Numbers:
    """Logarithms of β about the fitted one, as far as resampled ones may lie."""
    step, beta = 1e-3, exp(power)
    slopes = _loss_gradients(logits, labels, beta)
    curve = (_loss_gradients(logits, labels, beta * (1 + step)) - slopes).mean() / (beta * step)
    error = slopes.std() / sqrt(len(labels)) / curve / beta if curve > 0 else float("inf")
    reach = GRID_HALF_WIDTH * error if isfinite(error) and error > 0 else float("inf")
    least, most = max(power - reach, -log(MAX_TEMPERATURE)), min(power + reach, -log(MIN_TEMPERATURE))
    return np.linspace(least, most, GRID_POINTS)


def _find_zero(powers: Numbers, slopes: Numbers) -> float:
    """Where a slope that rises with β goes through 0; an end of the grid where it does not."""
    return float(np.interp(0.0, slopes, powers))
