"""Several tests at once: p-values adjusted for their number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values, in the order given: one below α comes up by mistake in no more than α of all families.

    Source: S. Holm: A simple sequentially rejective multiple test procedure, Scand. J. Statistics 6, 1979.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    count = len(p)
    order, ranks = _order(p)
    stepped = np.asarray(p, dtype=float)[order] * np.arange(count, 0, -1)
    return _clip_to_one(np.maximum.accumulate(stepped)[ranks])


def benjamini_hochberg(p: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values, in the order given: of those below α, a share of no more than α is there by mistake.

    Source: Y. Benjamini, Y. Hochberg: Controlling the false discovery rate, J. Royal Statistical Society B 57, 1995.

    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    (0.03, 0.04, 0.04)
    """
    count = len(p)
    order, ranks = _order(p)
    stepped = np.asarray(p, dtype=float)[order] * count / np.arange(1, count + 1)
    return _clip_to_one(np.minimum.accumulate(stepped[::-1])[::-1][ranks])


def per_test_levels(p: Sequence[float], alpha: float, *, screening: bool = False) -> tuple[float, ...]:
    """The level at which each test of a family was decided: p lies below it just where the adjusted p lies below alpha.

    Args:
        p: before adjusting.
        screening: by Benjamini and Hochberg, else by Holm.
    """
    count = len(p)
    if screening:
        passed = sum(value < alpha for value in benjamini_hochberg(p))
        return (alpha * max(passed, 1) / count,) * count if count else ()
    passed = sum(value < alpha for value in holm(p))
    return tuple(float(alpha / (count - min(rank, passed))) for rank in _order(p)[1])


def _order(p: Sequence[float]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    order = np.argsort(np.asarray(p, dtype=float), kind="stable")
    return order, np.argsort(order, kind="stable")


def _clip_to_one(p: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.minimum(p, 1.0).tolist())
