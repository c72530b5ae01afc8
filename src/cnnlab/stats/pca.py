"""Principal components, and the accuracy of the nearest class centroid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def pca_2d(values: npt.NDArray[np.floating]) -> tuple[Numbers, tuple[float, float]]:
    """The first two principal components of N points, N×2, and the share of the variance along each.

    Computed from the eigenvectors of the N×N Gram matrix. The largest coordinate along each component is positive.
    Equal points have shares of 0.

    Args:
        values: N×F, all finite; at least one point and one dimension.

    >>> points, shares = pca_2d(np.array([[0.0, 1.0], [2.0, 1.0], [7.0, 1.0]]))
    >>> points[:, 0].round(6).tolist(), round(shares[0], 6)
    ([-3.0, -1.0, 4.0], 1.0)
    """
    centred = np.asarray(values, dtype=np.float64) - np.mean(values, axis=0, dtype=np.float64)
    gram = centred @ centred.T
    wanted = min(2, len(gram))
    variances, directions = eigh(gram, subset_by_index=(len(gram) - wanted, len(gram) - 1))
    points, shares = np.zeros((len(gram), 2)), np.zeros(2)
    along = np.maximum(variances[::-1], 0.0)
    signs = np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(wanted)])
    points[:, :wanted] = (directions * signs)[:, ::-1] * np.sqrt(along)
    shares[:wanted] = along / max(float(np.trace(gram)), np.finfo(float).tiny)
    return points, (float(shares[0]), float(shares[1]))


def nearest_centroid_accuracy(values: npt.NDArray[np.floating], labels: Indices) -> float:
    """The share of points whose nearest class centroid is that of their own class.

    The point itself is left out of its class's centroid; a point that is alone in its class counts as wrong. Ties go to
    the first class.

    Args:
        values: N×F.
        labels: N class indices.
    """
    exact = np.asarray(values, dtype=np.float64)
    kinds, own = np.unique(labels, return_inverse=True)
    counts = np.bincount(own)
    centres = np.stack([exact[own == kind].mean(axis=0) for kind in range(len(kinds))])
    # Centred, so that points far from 0 lose no digits.
    middle = exact.mean(axis=0)
    exact, centres = exact - middle, centres - middle
    far = (exact**2).sum(axis=1)[:, None] - 2 * exact @ centres.T + (centres**2).sum(axis=1)
    rows, many = np.arange(len(exact)), counts[own]
    # Without the point itself, the centroid of its n points is n / (n − 1) times as far from it.
    far[rows, own] *= (many / np.maximum(many - 1, 1)) ** 2
    return float(((far.argmin(axis=1) == own) & (many > 1)).mean())
