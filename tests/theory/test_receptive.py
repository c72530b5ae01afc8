"""Receptive fields along one dimension, against sets of pixels that are followed one by one."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from cnnlab.theory.receptive import Field, widest

WINDOWS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3)), max_size=5)


def _seen(node: int, windows: list[tuple[int, int, int]]) -> set[int]:
    """The input pixels that one output node reaches."""
    nodes = {node}
    for kernel, stride, dilation in reversed(windows):
        nodes = {at * stride + step * dilation for at in nodes for step in range(kernel)}
    return nodes


@given(WINDOWS, st.integers(0, 5))
def test_size_and_jump_are_those_of_the_pixels_reached(windows: list[tuple[int, int, int]], node: int) -> None:
    field = Field()
    for kernel, stride, dilation in windows:
        field = field.through(kernel, stride, dilation)
    pixels, next_pixels = _seen(node, windows), _seen(node + 1, windows)
    assert field.size == field.pixels == max(pixels) - min(pixels) + 1
    assert field.jump == min(next_pixels) - min(pixels)


def test_known_networks() -> None:
    # A. Araujo, W. Norris, J. Sim, 2019, table 1: AlexNet's field is 195 with a jump of 32; VGG-16's is 212.
    alexnet = [(11, 4), (3, 2), (5, 1), (3, 2), (3, 1), (3, 1), (3, 1), (3, 2)]
    vgg16 = [*[(3, 1), (3, 1), (2, 2)] * 2, *[(3, 1), (3, 1), (3, 1), (2, 2)] * 3]
    assert _through(alexnet) == Field(Fraction(195), Fraction(32))
    assert _through(vgg16) == Field(Fraction(212), Fraction(32))


def _through(windows: list[tuple[int, int]]) -> Field:
    field = Field()
    for kernel, stride in windows:
        field = field.through(kernel, stride)
    return field


@given(st.integers(1, 4), st.integers(1, 9))
def test_after_enlarging_the_field_is_the_most_that_any_node_sees(scale: int, kernel: int) -> None:
    field = Field().upsampled(scale).through(kernel)
    counts = [len({(node + step) // scale for step in range(kernel)}) for node in range(scale)]
    assert field.pixels == max(counts)


def test_bilinear_enlarging_mixes_two_neighbours() -> None:
    assert Field().upsampled(2, kernel=2) == Field(Fraction(2), Fraction(1, 2))


def test_the_widest_of_several_paths() -> None:
    narrow, wide = Field(Fraction(3)), Field(Fraction(7))
    assert widest([narrow, wide, narrow]) == wide
