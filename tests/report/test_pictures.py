"""Arrays as pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cnnlab.paper.plots import to_svg
from cnnlab.report import pictures

values = st.integers(-1000, 1000).map(lambda number: number / 8)


@given(
    arrays.arrays(np.float64, arrays.array_shapes(min_dims=4, max_dims=4, max_side=5), elements=values),
    st.floats(0.01, 100),
)
def test_filters_are_centred_on_grey_and_their_own_scale_does_not_matter(weights, factor):
    shown = pictures.filter_pictures(weights)
    assert shown.shape == (len(weights), *weights.shape[2:], 3)
    assert shown.min() >= 0
    assert shown.max() <= 1
    np.testing.assert_allclose(pictures.filter_pictures(-weights), 1 - shown, atol=1e-9)
    np.testing.assert_allclose(pictures.filter_pictures(weights * factor), shown, atol=1e-6)


def test_three_channels_are_red_green_and_blue():
    weights = np.array([1.0, 0.0, -2.0]).reshape(1, 3, 1, 1)
    assert pictures.filter_pictures(weights).ravel().tolist() == [0.75, 0.5, 0.0]


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_other_numbers_of_channels_are_grey_by_their_mean(channels):
    weights = np.arange(2.0 * channels).reshape(2, channels, 1, 1)
    shown = pictures.filter_pictures(weights)
    assert np.ptp(shown, axis=-1).max() == 0
    assert shown[1].ravel().tolist() == [1.0, 1.0, 1.0]


def test_weights_that_are_not_numbers_are_drawn_as_zero():
    weights = np.full((1, 1, 1, 3), [np.nan, np.inf, -2.0])
    assert pictures.filter_pictures(weights)[0, 0, :, 0].tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize(("number", "shown"), [(1, 1), (6, 6), (32, 32), (64, 64), (65, 64)])
def test_filters_are_numbered_from_0_and_at_most_64_are_shown(make_filters, number, shown):
    figure = pictures.filter_figure(make_filters(number=number).after, "after")
    axes = figure.axes[0]
    assert len(axes.images) == shown
    assert [text.get_text() for text in axes.texts] == ["after", *map(str, range(shown))]


def test_a_title_is_drawn_as_it_is(make_filters):
    assert "$x_{$" in to_svg(pictures.filter_figure(make_filters(1).after, "$x_{$"), "f", "")


def test_filters_that_are_not_square_keep_their_shape(make_filters):
    figure = pictures.filter_figure(make_filters().after[:, :, :2, :], "after")
    left, right, bottom, top = figure.axes[0].images[0].get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(5 / 2)


def test_pixels_are_sharp(make_filters):
    assert "image-rendering:crisp-edges" in to_svg(pictures.filter_figure(make_filters(1).after, "after"), "f", "")
