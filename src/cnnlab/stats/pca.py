"""Points of many dimensions on a plane: the two directions in which they spread most, and what the plane loses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def pca_2d(values: npt.NDArray[np.floating]) -> tuple[Numbers, tuple[float, float]]:
    """The points along their first two principal components, N×2, and the share of their variance along each.

    The components are those of a singular value decomposition of the centred points, had from the eigenvectors of the
    smaller of its two products, F×F or N×N. Each points to where its largest weight is above 0. Points that are all
    equal have shares of 0.

    Args:
        values: N×F, all finite; at least one point and one dimension.

    Source: H. Hotelling: Analysis of a complex of statistical variables into principal components, Journal of
    Educational Psychology 24, 1933.

    >>> points, shares = pca_2d(np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]))
    >>> points[:, 0].round(6).tolist(), shares
    ([-2.0, 0.0, 2.0], (1.0, 0.0))
    """
    centred = np.asarray(values, dtype=np.float64) - np.mean(values, axis=0, dtype=np.float64)
    whole = float((centred**2).sum())
    axes = _principal_directions(centred)
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    points = np.zeros((len(centred), 2))
    points[:, : axes.shape[1]] = centred @ (axes * np.where(signs == 0, 1, signs))
    along = (points**2).sum(axis=0)
    shares = along / whole if whole > 0 else np.zeros(2)
    return points, (float(shares[0]), float(shares[1]))


def nearest_centroid_accuracy(values: npt.NDArray[np.floating], labels: Indices) -> float:
    """The share of points whose nearest class centre is that of their own class.

    A point does not count in the centre of its own class; one that is alone in its class has no centre to be near to.
    Of centres that are equally near the first class's counts.

    Args:
        values: N×F.
        labels: N class indices.
    """
    exact = np.asarray(values, dtype=np.float64)
    kinds, own = np.unique(labels, return_inverse=True)
    counts = np.bincount(own)
    centres = np.stack([exact[own == kind].mean(axis=0) for kind in range(len(kinds))])
    # From the middle of all, so that points far from 0 lose no digits.
    middle = exact.mean(axis=0)
    exact, centres = exact - middle, centres - middle
    far = (exact**2).sum(axis=1)[:, None] - 2 * exact @ centres.T + (centres**2).sum(axis=1)
    rows, many = np.arange(len(exact)), counts[own]
    # Without the point itself the centre of its n points lies n / (n − 1) times as far from it.
    far[rows, own] *= (many / np.maximum(many - 1, 1)) ** 2
    return float(((far.argmin(axis=1) == own) & (many > 1)).mean())


def _principal_directions(centred: Numbers) -> Numbers:
    """F×d orthonormal directions of the most variance, d ≤ 2, the first one first."""
    count, size = centred.shape
    wanted = min(2, count, size)
    if size <= count:
        return _top_eigenvectors(centred.T @ centred, wanted)
    left = _top_eigenvectors(centred @ centred.T, wanted)
    axes = centred.T @ left
    lengths = np.linalg.norm(axes, axis=0)
    return np.asarray(axes / np.where(lengths > 0, lengths, 1))


def _top_eigenvectors(product: Numbers, wanted: int) -> Numbers:
    size = len(product)
    found = eigh(product, subset_by_index=(size - wanted, size - 1))[1]
    return np.asarray(found[:, ::-1])
