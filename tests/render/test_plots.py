"""Plots: names of lines keep apart, and a file of its own has its colours."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from cnnlab.render.plots import label_line_ends, minimal_axes, new_figure, to_svg


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


def test_lines_are_named_from_the_highest_end_down_in_their_colours() -> None:
    axes = minimal_axes(new_figure(80, 60), 10, 10, 60, 40)
    label_line_ends(axes, [("low", 1.0, "#0072b2"), ("$high$", 2.0, "#d55e00")])
    names = {text.get_text(): text.get_color() for text in axes.get_legend().get_texts()}
    assert list(names.items()) == [("$high$", "#d55e00"), ("low", "#0072b2")]
