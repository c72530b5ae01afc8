"""Plots: names of lines keep apart, and a file of its own has its colours."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.render.plots import minimal_axes, new_figure, spread_positions, to_svg


@given(st.lists(st.floats(0, 100), min_size=1, max_size=7))
def test_spread_places_are_apart_within_and_in_order(places: list[float]) -> None:
    heights = spread_positions(places, 14.0, 0.0, 100.0)
    ordered = sorted(range(len(places)), key=lambda number: places[number])
    assert all(heights[high] - heights[low] >= 14 - 1e-9 for low, high in pairwise(ordered))
    assert min(heights) >= 0
    assert max(heights) <= 100 + 1e-9


def test_places_far_apart_stay() -> None:
    assert spread_positions([80.0, 10.0, 40.0], 14.0, 0.0, 100.0) == [80.0, 10.0, 40.0]


@pytest.mark.parametrize("standalone", [False, True])
def test_a_file_of_its_own_has_colours_a_ground_and_a_dark_side(standalone: bool) -> None:
    figure = new_figure(80, 60)
    minimal_axes(figure, 10, 10, 60, 40)
    root = ElementTree.fromstring(to_svg(figure, "it", "seen", standalone=standalone))
    children = [child.tag.rpartition("}")[2] for child in root]
    assert children[0] == "title"
    assert (children[1:3] == ["style", "rect"]) is standalone
    text = ElementTree.tostring(root, encoding="unicode")
    assert ("prefers-color-scheme: dark" in text) is standalone
