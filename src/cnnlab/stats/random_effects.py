"""Would a difference hold with new seeds and on new images? An interval for both, of a two-way random-effects model.

The runs of both arms answer the same images, so runs and images are crossed: a table of runs × images an arm, right or
wrong. What is right is the arm's mean, an effect of the run, one of the image, and the chance of this run on this
image. The variance of the difference of two arms' means on new runs and new images has three parts:

- of the runs of each arm, the variance of their accuracies over their number. It holds the chance of single images;
- of the images, the variance of their gaps (A's share of right runs − B's) over their number, less what of it is the
  chance of single runs, which is estimated as the residual of each table, rows and columns taken out: the expected mean
  squares of an analysis of variance without replication (H. Scheffé: The Analysis of Variance, 1959, chapter 7).

The degrees of freedom are Satterthwaite's (F. E. Satterthwaite: An approximate distribution of estimates of variance
components, Biometrics Bulletin 2, 1946). The interval holds Welch's interval of the runs' accuracies.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt

from cnnlab.errors import UsageError
from cnnlab.stats.sample import Interval, Sample
from cnnlab.stats.welch import WelchResult, welch_test

BoolArray = npt.NDArray[np.bool_]


Numbers = npt.NDArray[np.float64]


def random_effects_interval(a: BoolArray, b: BoolArray, *, level: float = 0.95) -> Interval:
    """The interval of the difference in accuracy, A − B, for new seeds and new images, (low, high) as fractions.

    Args:
        a, b: whether each run (row) was right on each image (column), shapes S_a×N and S_b×N; the same N images.
        level: the confidence, between 0 and 1.

    Raises:
        UsageError: tables that don't fit, or fewer than two runs an arm or two images.
    """
    _check_tables(a, b)
    runs_a, runs_b = a.mean(axis=1), b.mean(axis=1)
    gaps = a.mean(axis=0) - b.mean(axis=0)
    of_images = max(float(gaps.var(ddof=1)) - _within_image_variance(a) - _within_image_variance(b), 0.0)
    parts = (
        (float(runs_a.var(ddof=1)) / len(runs_a), len(runs_a) - 1),
        (float(runs_b.var(ddof=1)) / len(runs_b), len(runs_b) - 1),
        (of_images / len(gaps), len(gaps) - 1),
    )
    variance = sum(part for part, _ in parts)
    squares = sum(part**2 / freedom for part, freedom in parts)
    freedom = variance**2 / squares if squares else 1.0
    outer = WelchResult(float(runs_a.mean() - runs_b.mean()), sqrt(variance), freedom).interval(level)
    inner = _welch(runs_a, runs_b, level)
    return min(inner[0], outer[0]), max(inner[1], outer[1])


def _within_image_variance(right: BoolArray) -> float:
    """The variance of an image's mean that is the chance of single runs on it: neither the run's nor the image's."""
    runs, images = right.shape
    residual = right - right.mean(axis=1, keepdims=True) - right.mean(axis=0, keepdims=True) + right.mean()
    return float(np.sum(residual**2) / ((runs - 1) * (images - 1) * runs))


def _welch(a: Numbers, b: Numbers, level: float) -> Interval:
    test = welch_test(Sample(name="a", values=tuple(a.tolist())), Sample(name="b", values=tuple(b.tolist())))
    if test is None:
        raise ValueError("fewer than two runs")
    return test.interval(level)


def _check_tables(a: BoolArray, b: BoolArray) -> None:
    fits = a.ndim == b.ndim == 2 and a.shape[1] == b.shape[1]
    if not fits or min(*a.shape, *b.shape) < 2:
        raise UsageError(
            "the variances of runs and images can't be told apart in these",
            where="a, b",
            received=f"shapes {'×'.join(map(str, a.shape))} and {'×'.join(map(str, b.shape))}",
            allowed="runs × images, the same images in both; two runs or more an arm, two images or more",
            next_step="give a row for each run, a column for each image",
        )
