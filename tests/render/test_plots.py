"""Plots: names of lines keep apart, and a file of its own has its colours."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.render.plots import label_line_ends, minimal_axes, new_figure, spread_positions, to_svg


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


def test_lines_are_named_at_their_ends_in_their_colours() -> None:
    axes = minimal_axes(new_figure(80, 60), 10, 10, 60, 40)
    axes.set_ylim(0, 2)
    label_line_ends(axes, [("low", 1.0, "#0072b2"), ("$high$", 2.0, "#d55e00")])
    names = {text.get_text(): (text.get_color(), text.xy[1]) for text in axes.texts}
    assert names == {"low": ("#0072b2", pytest.approx(0.5)), "$high$": ("#d55e00", pytest.approx(1.0))}


@given(st.lists(st.floats(0, 100), min_size=1, max_size=7))
def test_spread_positions_are_apart_within_and_in_order(positions: list[float]) -> None:
    spread = spread_positions(positions, 14.0, 0.0, 100.0)
    ordered = sorted(range(len(positions)), key=lambda number: positions[number])
    assert all(spread[high] - spread[low] >= 14 - 1e-9 for low, high in pairwise(ordered))
    assert min(spread) >= 0
    assert max(spread) <= 100 + 1e-9


def test_positions_that_the_layout_finds_are_rounded() -> None:
    """The last digits of Matplotlib's solver vary from one process to the next, and with them the ids of an SVG."""
    figure = new_figure(300, 200)
    figure.set_layout_engine("constrained")
    for axes in figure.subplots(2, 1):
        axes.set_title("a title")
    to_svg(figure, "it", "seen")
    edges = [edge for axes in figure.axes for edge in axes.get_position().bounds]
    assert edges == [pytest.approx(round(edge, 4), abs=1e-12) for edge in edges]
