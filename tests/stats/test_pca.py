"""Planes of points against scikit-learn, and nearest centres against a loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from cnnlab.stats.pca import nearest_centroid_accuracy, pca_2d


@given(st.integers(0, 2**32), st.integers(3, 40), st.integers(2, 40))
def test_the_plane_is_scikit_learns_up_to_sign(seed: int, count: int, size: int) -> None:
    numbers = np.random.default_rng(seed)
    values = numbers.normal(3, 1, (count, size)) * np.linspace(0.1, 5, size)
    points, shares = pca_2d(values.astype(np.float32))
    oracle = PCA(2, svd_solver="full").fit(values)
    expected = oracle.transform(values)
    assert shares == pytest.approx(oracle.explained_variance_ratio_, abs=1e-5)
    first, second, third = [*PCA(svd_solver="full").fit(values).explained_variance_, 0.0, 0.0][:3]
    # A direction whose variance another has nearly as well is nobody's.
    for along, clear in ((0, first - second), (1, min(first - second, second - third))):
        if clear > 0.1 * first:
            sign = np.sign(points[:, along] @ expected[:, along])
            np.testing.assert_allclose(points[:, along] * sign, expected[:, along], atol=1e-3)


@pytest.mark.parametrize("values", [np.ones((4, 3)), np.ones((1, 5)), np.array([[1.0], [3.0]])])
def test_points_without_two_directions_are_no_trouble(values: np.ndarray) -> None:
    points, shares = pca_2d(values)
    assert points.shape == (len(values), 2)
    assert np.isfinite(points).all()
    assert sum(shares) == pytest.approx(0 if np.ptp(values) == 0 else 1)


@given(st.integers(0, 2**32), st.integers(2, 25), st.integers(1, 5))
def test_nearest_centres_are_those_of_a_loop(seed: int, count: int, kinds: int) -> None:
    numbers = np.random.default_rng(seed)
    labels = numbers.integers(0, kinds, count)
    values = numbers.normal(1000, 1, (count, 3)) + labels[:, None]
    hits = 0
    for place, kind in enumerate(labels):
        far = {}
        for other in np.unique(labels):
            members = [n for n in range(count) if labels[n] == other and n != place]
            if members:
                far[other] = np.linalg.norm(values[place] - values[members].mean(axis=0))
        hits += bool(far) and min(far, key=lambda other: far[other]) == kind
    # The only class of a point that is alone has no centre.
    assert nearest_centroid_accuracy(values, labels) == pytest.approx(hits / count)
