"""Receptive fields along one dimension, against sets of pixels that are followed one by one."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor, prod

from hypothesis import given
from hypothesis import strategies as st

from cnnlab.theory.receptive_field import ReceptiveField1d, widest

WINDOWS = st.tuples(st.just("window"), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2))
STEPS = st.lists(WINDOWS | st.tuples(st.sampled_from(["nearest", "bilinear"]), st.integers(1, 3)), max_size=5)


def _reached(node: int, steps: list[tuple]) -> set[int]:
    """The input pixels that one output node reaches, every weight of an enlargement taken from its definition."""
    nodes = {node}
    for kind, *numbers in reversed(steps):
        if kind == "window":
            kernel, stride, dilation, padding = numbers
            nodes = {at * stride - padding + step * dilation for at in nodes for step in range(kernel)}
        elif kind == "nearest":
            nodes = {floor(Fraction(at, numbers[0])) for at in nodes}
        else:
            places = {Fraction(2 * at + 1, 2 * numbers[0]) - Fraction(1, 2) for at in nodes}
            nodes = {pixel for place in places for pixel in (floor(place), ceil(place))}
    return nodes


def _followed(steps: list[tuple]) -> ReceptiveField1d:
    field = ReceptiveField1d()
    for kind, *numbers in steps:
        if kind == "window":
            kernel, stride, dilation, padding = numbers
            field = field.after_window(kernel, stride, dilation, padding)
        else:
            field = field.after_upsample(numbers[0], kind)
    return field


@given(st.lists(WINDOWS, max_size=5), st.integers(0, 5))
def test_size_and_jump_are_those_of_the_pixels_reached(windows: list[tuple], node: int) -> None:
    field = _followed(windows)
    pixels, next_pixels = _reached(node, windows), _reached(node + 1, windows)
    assert field.size == max(pixels) - min(pixels) + 1
    assert field.jump == min(next_pixels) - min(pixels)


@given(STEPS, st.integers(0, 7))
def test_the_view_is_from_the_first_to_the_last_pixel_reached(steps: list[tuple], node: int) -> None:
    reached = _reached(node, steps)
    assert _followed(steps).view(node) == (min(reached), max(reached))


@given(STEPS)
def test_the_first_centre_is_the_middle_of_the_first_nodes_view(steps: list[tuple]) -> None:
    pixels = _reached(0, steps)
    assert _followed(steps).first_centre == Fraction(min(pixels) + max(pixels), 2)


@given(STEPS.filter(bool), st.integers(0, 5), st.integers(0, 5))
def test_behind_a_span_is_what_all_its_nodes_see_one_map_back(steps: list[tuple], first: int, more: int) -> None:
    seen = set().union(*(_reached(node, steps[-1:]) for node in range(first, first + more + 1)))
    assert _followed(steps).input_range((first, first + more)) == (min(seen), max(seen))


@given(STEPS)
def test_after_enlarging_the_field_is_the_most_that_any_node_sees(steps: list[tuple]) -> None:
    field, phases = _followed(steps), prod(numbers[0] for kind, *numbers in steps if kind != "window")
    views = [_reached(node, steps) for node in range(phases)]
    assert field.size == max(max(view) - min(view) + 1 for view in views)


def test_the_widest_of_several_paths() -> None:
    narrow, wide = ReceptiveField1d().after_window(3), ReceptiveField1d().after_window(7)
    assert widest([narrow, wide]) is wide
