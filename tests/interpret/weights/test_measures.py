"""Measures of filters against vectors computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.interpret.weights.filters import LayerFilters
from cnnlab.interpret.weights.measures import measure_filters, relative_change, twin_matrix


def test_change_norm_and_cosine_are_those_of_the_vectors() -> None:
    before = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]], dtype=np.float32).reshape(3, 1, 1, 2)
    after = np.array([[3.0, 4.0], [0.0, 2.0], [0.0, 5.0]], dtype=np.float32).reshape(3, 1, 1, 2)
    result = measure_filters(LayerFilters("x", before, after))
    np.testing.assert_allclose(result.norm, [5, 2, 5])
    np.testing.assert_allclose(result.change, [0, np.sqrt(5), 5])
    np.testing.assert_allclose(result.cosine, [1, 0, np.nan])
    assert result.equal.tolist() == [True, False, False]
    np.testing.assert_allclose(relative_change(before, after), result.change)


def test_equal_is_bit_for_bit() -> None:
    before = np.zeros((3, 1, 1, 2), dtype=np.float32)
    before[1, 0, 0, 0] = 1
    before[2] = np.nan
    after = before.copy()
    after[0, 0, 0, 0] = -0.0
    after[1, 0, 0, 0] = np.nextafter(np.float32(1), np.float32(2))
    assert measure_filters(LayerFilters("x", before, after)).equal.tolist() == [False, False, True]


def test_dead_and_twin_filters_are_found() -> None:
    weights = np.random.default_rng(0).standard_normal((5, 3, 3, 3))
    weights[1] = 1e-4 * weights[2]  # dead, and so no twin
    weights[4] = 2.5 * weights[0]
    measures = measure_filters(LayerFilters("x", None, weights))
    assert measures.dead == (2,)
    assert measures.twins == ((1, 5),)
    assert measures.twin.tolist() == [True, False, False, False, True]
    assert (measures.change, measures.cosine, measures.equal) == (None, None, None)


@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_twins_are_those_of_all_pairs(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    flat = random.standard_normal((5, 6))[random.integers(0, 5, count)] * random.uniform(0.5, 2, (count, 1))
    flat += 0.05 * random.standard_normal(flat.shape)
    units = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    cosines = units @ units.T
    near = np.abs(cosines - 0.99) < 1e-5  # rounding may take these either way
    result = set(map(tuple, np.argwhere(twin_matrix(flat, np.ones(count, dtype=bool))).tolist()))
    expected = {(a, b) for a in range(count) for b in range(a + 1, count) if cosines[a, b] > 0.99 and not near[a, b]}
    assert expected <= result
    assert all(cosines[pair] > 0.99 or near[pair] for pair in result)


def test_of_many_pairs_all_are_counted_and_the_first_kept() -> None:
    weights = np.ones((200, 1, 2, 2))
    weights[7] = -1
    measures = measure_filters(LayerFilters("x", None, weights))
    assert measures.twins_in_all == 199 * 198 // 2
    assert measures.twins == tuple((1, number) for number in range(2, 23) if number != 8)
    assert np.flatnonzero(~measures.twin).tolist() == [7]


def test_filters_of_two_numbers_are_no_twins() -> None:
    assert not twin_matrix(np.ones((3, 2)), np.ones(3, dtype=bool)).any()


def test_a_filter_with_nan_is_broken_and_nothing_else() -> None:
    weights = np.random.default_rng(0).standard_normal((4, 1, 5, 5)).astype(np.float32)
    weights[2] = weights[0]
    weights[0, 0, 0, 0], weights[1] = np.inf, np.nan
    measures = measure_filters(LayerFilters("x", None, weights))
    assert (measures.broken, measures.dead, measures.twins) == ((1, 2), (), ())
    assert measures.norm[1] == 0
    assert measures.norm[0] == pytest.approx(np.linalg.norm(weights[0].ravel()[1:]))
