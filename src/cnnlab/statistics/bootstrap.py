"""Would a difference hold with new seeds and on new images? An interval for both.

The runs of both arms answer the same images, so seeds and images are crossed: a table of runs × images, right or wrong.
Resampling rows and columns is A. B. Owen's pigeonhole bootstrap (Annals of Applied Statistics 1, 2007). As it stands
it errs twice here:

- With few seeds that spread widely it is too narrow: n resampled runs spread by (n − 1)/n of the variance, and
  percentiles know nothing of Student's t. So each arm's resampled runs are widened by √(n/(n − 1)), and a t quantile
  takes the place of the percentiles (T. Hesterberg: What teachers should know about the bootstrap, The American
  Statistician 69, 2015). Its degrees of freedom are Satterthwaite's, of the two arms' runs and the images.
- It counts the chance of one run on one image three times, with the rows, with the columns, and once more; between runs
  of a network this is most of the spread. The runs' own spread already holds it once. So it is estimated as the
  residual of the table (rows and columns taken out), and the resampled images are shrunk by its part of their variance,
  as estimated variance components are (R. L. Brennan, D. J. Harris, B. A. Hanson: The bootstrap and other procedures
  for examining the variability of estimated variance components in testing contexts, ACT Research Report 87-7, 1987).

Whatever the draws, the interval holds Welch's interval of the runs' accuracies.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from cnnlab.errors import UsageError
from cnnlab.statistics.samples import Interval, Sample
from cnnlab.statistics.welch import welch

Right = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


def crossed_bootstrap(
    a: Right, b: Right, generator: np.random.Generator, *, level: float = 0.95, draws: int = 2000
) -> Interval:
    """The interval of the difference in accuracy, A − B, for new seeds and new images, (low, high) as fractions.

    Args:
        a, b: whether each run (row) was right on each image (column), shapes S_a×N and S_b×N; the same N images.
        generator: draws the runs and the images.
        level: the confidence, between 0 and 1.
        draws: how often runs and images are resampled.

    Raises:
        UsageError: tables that don't fit, or fewer than two runs an arm or two images.
    """
    _check(a, b)
    runs_a, runs_b = a.mean(axis=1), b.mean(axis=1)
    gaps = a.mean(axis=0) - b.mean(axis=0)
    images, chance = float(gaps.var(ddof=1)), _chance(a) + _chance(b)
    of_images = max(images - chance, 0.0)
    drawn = _of_runs(runs_a, generator, draws) - _of_runs(runs_b, generator, draws)
    if of_images:
        drawn = drawn + sqrt(of_images / images) * _of_images(gaps, generator, draws)
    parts = (
        (float(runs_a.var(ddof=1)) / len(runs_a), len(runs_a) - 1),
        (float(runs_b.var(ddof=1)) / len(runs_b), len(runs_b) - 1),
        (of_images / len(gaps), len(gaps) - 1),
    )
    squares = sum(part**2 / freedom for part, freedom in parts)
    freedom = sum(part for part, _ in parts) ** 2 / squares if squares else 1.0
    half = float(stdtrit(freedom, (1 + level) / 2)) * float(drawn.std())
    centre = float(runs_a.mean() - runs_b.mean())
    return _holding(_welch(runs_a, runs_b, level), (centre - half, centre + half))


def _of_runs(runs: Numbers, generator: np.random.Generator, draws: int) -> Numbers:
    """Means of resampled runs, about their mean, with the variance that the mean of new runs has."""
    count = len(runs)
    means = runs[generator.integers(count, size=(draws, count))].mean(axis=1)
    return np.asarray((means - runs.mean()) * sqrt(count / (count - 1)))


def _of_images(gaps: Numbers, generator: np.random.Generator, draws: int) -> Numbers:
    """Means of resampled images, about their mean. Gaps take few values: how often each is drawn is all it takes."""
    count = len(gaps)
    values, times = np.unique(gaps, return_counts=True)
    means = generator.multinomial(count, times / count, size=draws) @ values / count
    return np.asarray((means - gaps.mean()) * sqrt(count / (count - 1)))


def _chance(right: Right) -> float:
    """The variance of an image's mean that is the chance of single runs on it: neither the run's nor the image's."""
    runs, images = right.shape
    residual = right - right.mean(axis=1, keepdims=True) - right.mean(axis=0, keepdims=True) + right.mean()
    return float(np.sum(residual**2) / ((runs - 1) * (images - 1) * runs))


def _welch(a: Numbers, b: Numbers, level: float) -> Interval:
    test = welch(Sample(name="a", values=tuple(a.tolist())), Sample(name="b", values=tuple(b.tolist())))
    if test is None:
        raise ValueError("fewer than two runs")
    return test.interval(level)


def _holding(inner: Interval, outer: Interval) -> Interval:
    return min(inner[0], outer[0]), max(inner[1], outer[1])


def _check(a: Right, b: Right) -> None:
    fits = a.ndim == b.ndim == 2 and a.shape[1] == b.shape[1]
    if not fits or min(*a.shape, *b.shape) < 2:
        raise UsageError(
            "runs and images can't be resampled from these",
            where="a, b",
            received=f"shapes {'×'.join(map(str, a.shape))} and {'×'.join(map(str, b.shape))}",
            allowed="runs × images, the same images in both; two runs or more an arm, two images or more",
            next_step="give a row for each run, a column for each image",
        )
