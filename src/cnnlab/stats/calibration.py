"""Calibration of predicted probabilities: reliability in bins, the expected calibration error, temperature scaling.

A network is calibrated if the accuracy of its predictions with probability p is p. The expected calibration error is
the mean over bins of the probability of |accuracy − mean probability|, weighted by the images in each bin (M. P.
Naeini, G. F. Cooper, M. Hauskrecht: Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015; C. Guo,
G. Pleiss, Y. Sun, K. Q. Weinberger: On calibration of modern neural networks, ICML 2017).

On a finite number of images it is above 0 even for a calibrated network. How large it is then depends on the number of
images and on their probabilities, so it is simulated for these probabilities, as in J. Bröcker, L. A. Smith: Increasing
the reliability of reliability diagrams, Weather and Forecasting 22, 2007.

Temperature scaling divides the logits by a temperature T before the softmax: above 1 the probabilities are less
confident. T is fitted by maximum likelihood (C. Guo and others, 2017). The loss is convex in β = 1/T, so its derivative
has at most one root.
"""

from __future__ import annotations

from math import exp, inf, log, sqrt

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import log_softmax, ndtri, softmax

from cnnlab.records import Record

Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

NUM_BINS = 15
NUM_DRAWS = 1000
LEVEL = 0.95


class CalibrationBin(Record):
    """The images whose probability lies in a bin.

    `low` and `high` are its edges (bins of equal width) or the least and largest probability in it (bins of equal
    mass); `confidence` is the mean probability, and `band` holds the accuracy of 95 % of simulated calibrated networks.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float
    band: tuple[float, float]


class CalibrationError(Record):
    """The expected calibration error, and that of a calibrated network on as many images.

    `chance` is the mean for simulated calibrated networks, `limit` their 97.5th percentile.
    """

    value: float
    chance: float
    limit: float
    bins: tuple[CalibrationBin, ...]


class CalibrationMetrics(Record):
    """Metrics of predicted probabilities. `loss` is the mean cross-entropy in nats; `brier` is from 0 to 2."""

    loss: float
    brier: float
    confidence: float
    accuracy: float
    width: CalibrationError
    mass: CalibrationError


def calibration_metrics(
    logits: Numbers, labels: Indices, generator: np.random.Generator, draws: int = NUM_DRAWS
) -> CalibrationMetrics:
    """Compute all metrics of the probabilities of N images.

    Args:
        logits: N×K, all finite; at least one image.
        labels: N class indices.
        generator: for the simulated calibrated networks.
        draws: number of simulations.
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
    """The mean over images of Σ (probability − truth)² over all classes, from 0 (best) to 2.

    Source: G. W. Brier: Verification of forecasts expressed in terms of probability, Monthly Weather Review 78, 1950.

    >>> brier_score(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 0]))
    0.25
    """
    own = probabilities[np.arange(len(labels)), labels]
    # Σ (p − t)² = Σ p² − 2 p_true + 1
    return float(((probabilities**2).sum(axis=1) - 2 * own + 1).mean())


def equal_width_bins(confidence: Numbers, bins: int = NUM_BINS) -> Indices:
    """The bin index of each probability: (0, 1/M], (1/M, 2/M], … as in Guo and others.

    >>> equal_width_bins(np.array([0.05, 0.5, 0.51, 1.0]), bins=2).tolist()
    [0, 0, 1, 1]
    """
    return np.searchsorted(np.arange(1, bins) / bins, confidence, side="left").astype(np.int64)


def equal_mass_bins(confidence: Numbers, bins: int = NUM_BINS) -> Indices:
    """The bin index of each probability, with equal numbers of images; equal probabilities share a bin.

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
    """The expected calibration error over bins, with that of simulated calibrated networks.

    Args:
        confidence: N probabilities of the predicted class.
        correct: whether each prediction is right, N.
        bin_indices: the bin of each image, N.
        draws: number of simulations, in which each prediction is right with its probability.
        edges: whether the bins are those of `equal_width_bins`, whose edges are then reported.
    """
    order = np.argsort(bin_indices, kind="stable")
    kinds, starts, images = np.unique(bin_indices[order], return_index=True, return_counts=True)
    stated, true = (np.add.reduceat(values[order].astype(np.float64), starts) for values in (confidence, correct))
    ordered = confidence[order]
    simulations = (generator.random(len(ordered)) < ordered for _ in range(draws))
    drawn = np.stack([np.add.reduceat(right, starts, dtype=np.float64) for right in simulations])
    errors = np.abs(drawn - stated).sum(axis=1) / len(confidence)
    low, high = (np.quantile(drawn / images, (1 + sign * LEVEL) / 2, axis=0) for sign in (-1, 1))
    bounds = (
        [kinds / NUM_BINS, (kinds + 1) / NUM_BINS]
        if edges
        else [extreme.reduceat(ordered, starts) for extreme in (np.minimum, np.maximum)]
    )
    return CalibrationError(
        value=float(np.abs(true - stated).sum() / len(confidence)),
        chance=float(errors.mean()),
        limit=float(np.quantile(errors, (1 + LEVEL) / 2)),
        bins=tuple(
            CalibrationBin(
                low=float(bounds[0][k]),
                high=float(bounds[1][k]),
                images=int(images[k]),
                confidence=float(stated[k] / images[k]),
                accuracy=float(true[k] / images[k]),
                band=(float(low[k]), float(high[k])),
            )
            for k in range(len(kinds))
        ),
    )


# Beyond these the probabilities are practically 0 and 1, or uniform.
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100.0


class Temperature(Record):
    """A fitted temperature with its 95 % interval.

    `at_bound`: the best temperature is beyond the range searched. `indifferent`: the logits of each image are all
    equal, so that every temperature gives the same probabilities; the value is 1.
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
    """The temperature with the lowest loss, clipped to 0.01…100.

    Args:
        logits: N×K, all finite; at least one image.
        labels: N class indices.
    """

    def slope(power: float) -> float:
        return float(_loss_gradients(logits, labels, exp(power)).mean())

    if has_uniform_logits(logits):
        return 1.0
    least, most = -log(MAX_TEMPERATURE), -log(MIN_TEMPERATURE)
    # All predictions right: the lower the better. Worse than guessing: the higher the better.
    if slope(most) <= 0:
        return MIN_TEMPERATURE
    if slope(least) >= 0:
        return MAX_TEMPERATURE
    return exp(-float(brentq(slope, least, most, xtol=1e-10)))


def temperature_interval(logits: Numbers, labels: Indices, level: float = 0.95) -> Temperature:
    """The fitted temperature with an interval for new images.

    The interval is Wald's of log T, with the sandwich standard error of an M-estimator (P. J. Huber, 1967), which holds
    for probabilities that no temperature makes right.

    Args:
        logits, labels: as for `fit_temperature`.
        level: the confidence, between 0 and 1.
    """
    value, count = fit_temperature(logits, labels), len(labels)
    if has_uniform_logits(logits):
        return Temperature(value=value, low=MIN_TEMPERATURE, high=MAX_TEMPERATURE, images=count, indifferent=True)
    beta, step = 1 / value, 1e-3
    gradients = _loss_gradients(logits, labels, beta)
    curvature = float((_loss_gradients(logits, labels, beta * (1 + step)) - gradients).mean()) / step
    # Without any curvature, as where all predictions are right, no temperature is excluded.
    half = float(ndtri((1 + level) / 2)) * float(gradients.std()) / sqrt(count) / curvature if curvature > 0 else inf
    reach = exp(min(half, log(MAX_TEMPERATURE / MIN_TEMPERATURE)))
    low, high = max(value / reach, MIN_TEMPERATURE), min(value * reach, MAX_TEMPERATURE)
    return Temperature(value=value, low=low, high=high, images=count)


def has_uniform_logits(logits: Numbers) -> bool:
    """Whether the logits of each image are all equal, so that no temperature changes the probabilities."""
    return bool((np.ptp(logits, axis=1) == 0).all())


def cross_fitted_logits(
    logits: Numbers, labels: Indices, generator: np.random.Generator
) -> tuple[Numbers, tuple[float, float]]:
    """Two-fold cross-fitting: each half of the logits divided by the temperature of the other half, and the two.

    Args:
        logits, labels: as for `fit_temperature`; at least two images.
        generator: for the halves.
    """
    order = generator.permutation(len(labels))
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    cooled, fitted = np.empty(logits.shape, dtype=np.float64), []
    for fits, held_out in ((first, second), (second, first)):
        fitted.append(fit_temperature(logits[fits], labels[fits]))
        cooled[held_out] = logits[held_out] / fitted[-1]
    return cooled, (fitted[0], fitted[1])


def _loss_gradients(logits: Numbers, labels: Indices, beta: float) -> Numbers:
    """The derivative of each image's loss with respect to β: Σ p z − z_true, shape N."""
    # Relative to the true class's logit, so that large logits lose no digits.
    relative = np.asarray(logits, dtype=np.float64)
    relative = relative - relative[np.arange(len(labels)), labels][:, None]
    return np.asarray((softmax(beta * relative, axis=1) * relative).sum(axis=1))
