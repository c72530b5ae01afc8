"""A gallery: every tile in its place within the figure, and numbers as colours that can be told apart."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cnnlab.render.gallery import (
    GalleryPanel,
    Tile,
    draw_gallery,
    to_diverging_rgb,
    to_hwc,
    to_viridis_rgb,
)
from cnnlab.render.plots import to_png, to_svg

VALUES = hnp.arrays(np.float64, (3, 4), elements=st.floats(-1e6, 1e6))


def boxes(figure: Any) -> list[tuple[float, ...]]:
    """Left, right, bottom, top of every picture, as they are drawn."""
    return [tuple(image.get_extent()) for image in figure.axes[0].images]


@given(
    st.lists(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 8)), min_size=1, max_size=3), min_size=1, max_size=3),
    st.integers(1, 3),
)
def test_tiles_lie_within_the_figure_and_apart(rows: list[list[tuple[int, int]]], lines: int) -> None:
    tile = Tile(np.zeros((5, 7, 3)), ("a line that is too long for its tile",) * lines)
    figure = draw_gallery(
        "title", [[GalleryPanel("heading", (tile,) * n, across) for n, across in row] for row in rows], ["note"]
    )
    (left, right), (bottom, top) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
    found = boxes(figure)
    assert len(found) == sum(n for row in rows for n, _ in row)
    for box in found:
        assert left < box[0] < box[1] < right
        assert top < box[3] < box[2] < bottom
        assert (box[1] - box[0]) / (box[2] - box[3]) == pytest.approx(7 / 5)
    for number, one in enumerate(found):
        for other in found[number + 1 :]:
            assert one[1] < other[0] or other[1] < one[0] or one[2] < other[3] or other[2] < one[3]


@given(VALUES)
def test_viridis_grows_lighter_all_the_way(values: np.ndarray) -> None:
    order = np.argsort(values, axis=None)
    lightness = to_viridis_rgb(values) @ np.array([0.299, 0.587, 0.114])
    assert all(a <= b + 1e-2 for a, b in pairwise(lightness.ravel()[order]))


@given(VALUES)
def test_signs_are_two_colours_and_zero_is_white(values: np.ndarray) -> None:
    found = to_diverging_rgb(values)
    blue, orange = found[..., 2] - found[..., 0] > 1e-9, found[..., 0] - found[..., 2] > 1e-9
    assert not (blue & (values >= 0)).any()
    assert not (orange & (values <= 0)).any()
    assert np.allclose(found[values == 0], 1)


def test_what_is_no_number_is_drawn_all_the_same() -> None:
    odd = np.array([[np.nan, np.inf, -np.inf, 1.0]])
    for colours in (to_viridis_rgb, to_diverging_rgb):
        assert np.isfinite(colours(odd)).all()


def test_pixels_are_shown_as_they_are() -> None:
    grey = to_hwc(np.array([[[0, 255]]], np.uint8))
    assert grey.tolist() == [[[0, 0, 0], [1, 1, 1]]]
    assert to_hwc(np.zeros((3, 2, 4), np.uint8)).shape == (2, 4, 3)


def test_the_same_gallery_gives_the_same_bytes() -> None:
    made = [draw_gallery("t", [[GalleryPanel("p", (Tile(np.eye(4)[..., None].repeat(3, 2)),), 4)]]) for _ in range(2)]
    assert to_png(made[0]) == to_png(made[1])
    assert to_svg(made[0], "g", "seen", standalone=True) == to_svg(made[1], "g", "seen", standalone=True)
