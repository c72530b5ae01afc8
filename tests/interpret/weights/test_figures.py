"""Weights as colours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cnnlab.interpret.weights.figures import weights_to_rgb

values = st.integers(-1000, 1000).map(lambda number: number / 8)


@given(
    arrays.arrays(np.float64, arrays.array_shapes(min_dims=4, max_dims=4, max_side=5), elements=values),
    st.floats(0.01, 100),
)
def test_filters_are_centred_on_grey_and_their_own_scale_does_not_matter(weights, factor):
    shown = weights_to_rgb(weights)
    assert shown.shape == (len(weights), *weights.shape[2:], 3)
    assert shown.min() >= 0
    assert shown.max() <= 1
    np.testing.assert_allclose(weights_to_rgb(-weights), 1 - shown, atol=1e-9)
    np.testing.assert_allclose(weights_to_rgb(weights * factor), shown, atol=1e-6)


def test_three_channels_are_red_green_and_blue():
    weights = np.array([1.0, 0.0, -2.0]).reshape(1, 3, 1, 1)
    assert weights_to_rgb(weights).ravel().tolist() == [0.75, 0.5, 0.0]


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_other_numbers_of_channels_are_grey_by_their_mean(channels):
    weights = np.arange(2.0 * channels).reshape(2, channels, 1, 1)
    shown = weights_to_rgb(weights)
    assert np.ptp(shown, axis=-1).max() == 0
    assert shown[1].ravel().tolist() == [1.0, 1.0, 1.0]


def test_weights_that_are_not_numbers_are_drawn_as_zero():
    weights = np.full((1, 1, 1, 3), [np.nan, np.inf, -2.0])
    assert weights_to_rgb(weights)[0, 0, :, 0].tolist() == [0.5, 0.5, 0.0]


def test_a_larger_scale_shows_that_weights_are_smaller():
    weights = np.array([[1.0], [-2.0]]).reshape(2, 1, 1, 1)
    assert weights_to_rgb(weights, np.array([4.0, 2.0]))[:, 0, 0, 0].tolist() == [0.625, 0.0]
