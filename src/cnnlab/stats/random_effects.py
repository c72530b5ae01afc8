"""The interval of a difference in accuracy for new seeds and new images: a two-way random-effects model.

The runs of both arms are evaluated on the same images, so runs and images are crossed: each arm is a table of runs ×
images, right or wrong. A cell is the arm's mean, an effect of the run, an effect of the image, and a residual. The
variance of the difference of two arms' means has three components:

- of the runs of each arm, the variance of their accuracies over their number, which includes the residual;
- of the images, the variance over their number of the difference in accuracy on each image, less what the residuals
  contribute, estimated from each table without its row and column means: the expected mean squares of an analysis of
  variance without replication (H. Scheffé: The Analysis of Variance, 1959, chapter 7).

The degrees of freedom are Satterthwaite's (F. E. Satterthwaite: An approximate distribution of estimates of variance
components, Biometrics Bulletin 2, 1946). The interval is at least as wide as Welch's interval of the runs' accuracies.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from cnnlab.stats.ablation import Ablation
from cnnlab.stats.sample import Interval
from cnnlab.stats.welch import family_level, satterthwaite_test

BoolArray = npt.NDArray[np.bool_]


def random_effects_interval(a: BoolArray, b: BoolArray, *, level: float = 0.95) -> Interval:
    """The interval of the difference in accuracy, A − B, for new seeds and new images, (low, high) as fractions.

    Args:
        a, b: whether each run (row) was right on each image (column), shapes S_a×N and S_b×N: two runs or more each,
            on the same N images, two or more.
        level: the confidence, between 0 and 1.
    """
    assert a.shape[1] == b.shape[1], (a.shape, b.shape)
    runs_a, runs_b = a.mean(axis=1), b.mean(axis=1)
    gaps = a.mean(axis=0) - b.mean(axis=0)
    of_images = max(float(gaps.var(ddof=1)) - _residual_variance(a) - _residual_variance(b), 0.0)
    components = (
        (float(runs_a.var(ddof=1)) / len(runs_a), len(runs_a) - 1),
        (float(runs_b.var(ddof=1)) / len(runs_b), len(runs_b) - 1),
        (of_images / len(gaps), len(gaps) - 1),
    )
    difference = float(runs_a.mean() - runs_b.mean())
    welch, crossed = (satterthwaite_test(difference, parts).interval(level) for parts in (components[:2], components))
    return min(welch[0], crossed[0]), max(welch[1], crossed[1])


def with_new_images(ablation: Ablation, correct: Mapping[str, BoolArray]) -> Ablation:
    """The ablation with intervals for new images, for the arms whose predictions are given.

    Args:
        correct: by the name of the arm, whether each finite run (row) was right on each image (column); the same images
            for all.
    """
    baseline = correct.get(ablation.baseline.name)
    comparisons = []
    for comparison in ablation.comparisons:
        arm = correct.get(comparison.a)
        if arm is not None and baseline is not None and min(len(arm), len(baseline)) > 1:
            level = 1 - family_level(comparison.alpha, len(ablation.comparisons), len(arm), len(baseline))
            interval = random_effects_interval(arm, baseline, level=level)
            comparison = comparison.model_copy(update={"new_images": interval})
        comparisons.append(comparison)
    return ablation.model_copy(update={"comparisons": tuple(comparisons)})


def _residual_variance(right: BoolArray) -> float:
    """The variance of an image's mean over the runs that neither the runs' nor the images' effects explain."""
    runs, images = right.shape
    residual = right - right.mean(axis=1, keepdims=True) - right.mean(axis=0, keepdims=True) + right.mean()
    return float(np.sum(residual**2) / ((runs - 1) * (images - 1) * runs))
