"""P-values adjusted for the number of tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# More tests than these are a screening: Benjamini–Hochberg instead of Holm.
MAX_ARMS = 20


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values in the given order, by Holm's step-down procedure (family-wise error rate).

    Source: S. Holm: A simple sequentially rejective multiple test procedure, Scand. J. Statistics 6, 1979.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(np.asarray(p, dtype=float)[order] * np.arange(len(p), 0, -1))
    return tuple(np.minimum(adjusted, 1.0).tolist())


def benjamini_hochberg(p: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values in the given order, by Benjamini and Hochberg's procedure (false discovery rate).

    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    (0.03, 0.04, 0.04)
    """
    from scipy.stats import false_discovery_control

    return tuple(false_discovery_control(p).tolist()) if p else ()


def per_test_levels(p: Sequence[float], alpha: float, *, screening: bool = False) -> tuple[float, ...]:
    """The level of each test of a family: p is below it exactly where the adjusted p is below alpha.

    Args:
        p: unadjusted p-values.
        screening: by Benjamini and Hochberg, else by Holm.
    """
    adjusted = benjamini_hochberg(p) if screening else holm(p)
    passed = sum(value < alpha for value in adjusted)
    if screening:
        return (alpha * max(passed, 1) / len(p),) * len(p) if p else ()
    ranks = np.argsort(np.argsort(p, kind="stable"), kind="stable")
    return tuple(float(alpha / (len(p) - min(rank, passed))) for rank in ranks)


def adjust_family(p: Sequence[float], p_equal: Sequence[float], alpha: float) -> list[tuple[float, float, float]]:
    """The adjusted p-values of a family's tests of difference and of equivalence, and the level of each of the latter.

    Each of the two is a family of its own: by Holm, past 20 tests by Benjamini and Hochberg.
    """
    screening = len(p) > MAX_ARMS
    adjusted = benjamini_hochberg if screening else holm
    return list(zip(adjusted(p), adjusted(p_equal), per_test_levels(p_equal, alpha, screening=screening), strict=True))
