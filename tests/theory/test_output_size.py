"""Output sizes, against windows counted one by one; rules for a map's size, against sizes layer by layer."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cnnlab.theory.output_size import SizeExpression, output_size

SMALL = st.integers(1, 12)
WINDOW = st.tuples(st.integers(1, 7), st.integers(1, 4), st.integers(1, 3), st.integers(0, 6))
STEPS = st.lists(WINDOW | st.integers(1, 4), max_size=7)


def _slid(size: int, kernel: int, stride: int, padding: int, dilation: int) -> list[list[int]]:
    """The positions that each window covers, sliding until it would leave the padded input."""
    reach = [step * dilation for step in range(kernel)]
    windows = []
    start = 0
    while start + reach[-1] < size + padding:
        windows.append([start + offset for offset in reach])
        start += stride
    return windows


@given(st.integers(1, 40), SMALL, SMALL, st.integers(0, 12), st.integers(1, 4))
def test_the_size_is_the_number_of_windows(size: int, kernel: int, stride: int, padding: int, dilation: int) -> None:
    windows = _slid(size, kernel, stride, padding, dilation)
    found = output_size(size, kernel, stride, padding, dilation)
    if not windows:
        assert found.size < 1
        return
    unseen = size + padding - 1 - windows[-1][-1]
    assert (found.size, found.unseen, found.fits) == (len(windows), unseen, unseen == 0)
    assert found.exact == found.size + Fraction(unseen, stride)


@pytest.mark.parametrize(
    ("arguments", "size", "exact", "fits"),
    [
        # V. Dumoulin, F. Visin, 2016: figures 2.1, 2.2, 2.3, 2.5, 2.6, 2.7, 5.1 (padding of both sides together)
        ({"size": 4, "kernel": 3}, 2, "2", True),
        ({"size": 5, "kernel": 4, "padding": 4}, 6, "6", True),
        ({"size": 5, "kernel": 3, "padding": 2}, 5, "5", True),
        ({"size": 5, "kernel": 3, "stride": 2}, 2, "2", True),
        ({"size": 5, "kernel": 3, "padding": 2, "stride": 2}, 3, "3", True),
        ({"size": 6, "kernel": 3, "padding": 2, "stride": 2}, 3, "7/2", False),
        ({"size": 7, "kernel": 3, "dilation": 2}, 3, "3", True),
    ],
)
def test_published_examples(arguments: dict[str, int], size: int, exact: str, fits: bool) -> None:
    found = output_size(**arguments)
    assert (found.size, found.exact, found.fits) == (size, Fraction(exact), fits)


def _rule(steps: list[tuple[int, int, int, int] | int]) -> SizeExpression | None:
    rule: SizeExpression | None = SizeExpression()
    for step in steps:
        if rule is not None:
            rule = rule.after_upsample(step) if isinstance(step, int) else rule.after_window(*step)
    return rule


@given(STEPS, st.integers(-20, 500))
def test_the_closed_form_is_the_sizes_one_after_the_other(
    steps: list[tuple[int, int, int, int] | int], side: int
) -> None:
    size, rule = side, _rule(steps)
    assume(rule is not None)
    for step in steps:
        if isinstance(step, int):
            size *= step
        else:
            kernel, stride, dilation, padding = step
            size = output_size(size, kernel, stride, padding, dilation).size
    assert rule.size(side) == size


@given(STEPS, st.integers(1, 500))
def test_the_text_means_what_the_rule_computes(steps: list[tuple[int, int, int, int] | int], side: int) -> None:
    rule = _rule(steps)
    assume(rule is not None)
    # The text as Python: ⌊x⌋ is floor, and a number in front of A is a factor.
    text = rule.text("A").replace("⌊", "floor(").replace("⌋", ")").replace("−", "-")
    for digit in "0123456789":
        text = text.replace(f"{digit}A", f"{digit}*A")
    assert eval(text, {"floor": floor, "A": side}) == rule.size(side)


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([], "A"),
        ([(5, 1, 1, 0), (3, 1, 1, 0)], "A − 6"),
        ([(5, 1, 1, 0), (3, 1, 1, 0), (2, 2, 1, 0)], "⌊(A − 6)/2⌋"),
        ([(3, 2, 1, 2)] * 5, "⌊(A + 31)/32⌋"),
        ([2], "2A"),
        ([(5, 1, 1, 0), 2], "2A − 8"),
        ([4, (2, 2, 1, 0)], "2A"),
        ([3, (2, 2, 1, 0)], "⌊3A/2⌋"),
    ],
)
def test_rules_as_they_are_written(steps: list[tuple[int, int, int, int] | int], text: str) -> None:
    assert _rule(steps).text() == text


def test_a_rounded_size_that_is_enlarged_has_no_rule() -> None:
    assert _rule([(2, 2, 1, 0), 2]) is None
    assert _rule([(2, 2, 1, 0), (3, 1, 1, 2)]) is not None


def test_a_fixed_size_stays_whatever_the_image() -> None:
    rule = SizeExpression.fixed(7).after_window(3)
    assert (rule.text(), rule.size(4), rule.size(400)) == ("5", 5, 5)
