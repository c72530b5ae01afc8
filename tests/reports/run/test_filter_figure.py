"""Arrays as pictures."""

import pytest

from cnnlab.render.plots import to_svg
from cnnlab.reports.run import figures


@pytest.mark.parametrize(("number", "shown"), [(1, 1), (6, 6), (32, 32), (64, 64), (65, 64)])
def test_filters_are_numbered_from_0_and_at_most_64_are_shown(make_filters, number, shown):
    figure = figures.filter_figure(make_filters(number=number).after, "after")
    axes = figure.axes[0]
    assert len(axes.images) == shown
    assert [text.get_text() for text in (*figure.texts, *axes.texts)] == ["after", *map(str, range(shown))]


def test_a_title_is_drawn_as_it_is(make_filters):
    assert "$x_{$" in to_svg(figures.filter_figure(make_filters(1).after, "$x_{$"), "f", "")


def test_filters_that_are_not_square_keep_their_shape(make_filters):
    figure = figures.filter_figure(make_filters().after[:, :, :2, :], "after")
    left, right, bottom, top = figure.axes[0].images[0].get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(5 / 2)


def test_pixels_are_sharp(make_filters):
    assert "image-rendering:crisp-edges" in to_svg(figures.filter_figure(make_filters(1).after, "after"), "f", "")
