"""What is said of sizes, and fractions as they are written."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cnnlab.theory.size_arithmetic.answers import SizeSolution, solve_kernel, solve_output, solve_padding, solve_stride
from cnnlab.theory.size_arithmetic.view import format_fraction


@given(st.fractions(max_denominator=65_536))
@example(Fraction(131_063, 65_532))
@example(Fraction(1, 65_536))
@example(Fraction(1, 10**9 + 7))
@example(Fraction(-(2**33) - 1, 2))
def test_no_fraction_looks_whole(value: Fraction) -> None:
    text = format_fraction(value).replace("−", "-")
    if value.denominator == 1:
        assert text == str(value)
        return
    written, sign, decimals = text.split(" ")
    assert Fraction(written) == value
    assert Fraction(decimals).denominator > 1
    assert (sign == "=") == (Fraction(decimals) == value)
    # Half of the last digit, at four digits or more.
    assert abs(Fraction(decimals) - value) <= abs(value) / 2000
    assert "e" not in decimals.lower()


def test_fractions_have_as_many_digits_as_they_need() -> None:
    told = [
        "33/2 = 16.5",
        "95/3 ≈ 31.67",
        "−1/3 ≈ −0.3333",
        "131063/65532 ≈ 1.99998",
        "24691/2 = 12345.5",
        "1/65536 ≈ 0.00001526",
    ]
    assert [format_fraction(text.split(" ")[0].replace("−", "-")) for text in told] == told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 32, "kernel": 3, "stride": 2}, "Never seen: the last row and column of the image (31)."),
        ({"size": 33, "kernel": 5, "stride": 5}, "Never seen: the last 3 rows and columns of the image (30–32)."),
        ({"size": (9, 8), "kernel": 2, "stride": 2}, "Never seen: the last row of the image (8)."),
        ({"size": 10, "kernel": 1, "stride": 3}, "6 rows and columns of the image: 1–2, 4–5, 7–8 (counted from 0)"),
        ({"size": 9, "kernel": 2, "dilation": 2, "stride": 2}, "The window's pixels lie 2 apart"),
        (
            {"size": 9, "kernel": 1, "stride": 2},
            "every second row and column of the image, from 1 to 7 (counted from 0)",
        ),
        ({"size": 10, "kernel": 1, "stride": 3}, "The windows span 1 and move by 3: they step over what lies between."),
        ({"size": 32, "kernel": 3, "stride": 3, "padding": 2}, "Every row and column of the image is seen, and all"),
        (
            {"size": 33, "kernel": 5, "stride": 4, "padding": 1},
            "Never seen: the last row and column of the image (32).",
        ),
        ({"size": 33, "kernel": 5, "stride": 4, "padding": 1}, "Nor is the last row and column of the padding."),
        ({"size": 7, "kernel": 2, "pool": True, "ceil": True}, "The last window sticks out by 1 row and column behind"),
        ({"size": 5, "kernel": 2, "stride": 3, "transposed": True}, "No input reaches every third row and column"),
        ({"size": 5, "kernel": 3, "stride": 2, "transposed": True}, "can show as a checkerboard"),
        ({"size": 5, "kernel": 1, "padding": 1, "transposed": True}, "cuts off all that comes of 2 rows and columns"),
    ],
)
def test_words_of_an_output(arguments: dict[str, Any], words: str) -> None:
    answer = solve_output(**arguments)
    assert any(words in note for axis in answer.axes for note in axis.notes), answer.axes


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (solve_padding(32, 4), "The padding is odd, 3 in all, so that no equal padding fits; padding='same' puts 1 in"),
        (solve_padding(32, 4), "No padding gives 32: in torch padding 1 gives 31 and padding 2 gives 33."),
        (solve_padding(32, 5, stride=2, output=16), "padding by hand can put 1 in front and 2 behind."),
        (solve_padding(32, 5, stride=2, output=16), "With padding 2: only padding is left over"),
        (solve_padding(32, 3, output=20), "Exactly, the padding would be −5, which is below 0."),
        (solve_padding(8, 2, stride=1, output=11, pool=True), "would be 2, but a pool's padding is half its kernel"),
        (solve_padding(8, 3, output=12), "Padding 3 is as wide as the window or wider"),
        (solve_stride(32, 1, 5), "Any stride from 28 on gives 1."),
        (solve_stride(32, 1, 5), "Where one window is wanted, the stride drops out of the formula."),
        (solve_stride(3, 1, 5), "No stride gives 1: in torch stride 1 is refused."),
        (solve_stride(1, 4, 4, transposed=True), "Where one pixel goes in, the stride drops out of the formula."),
        (solve_stride(32, 20, 3), "No stride gives 20: in torch stride 1 gives 30 and stride 2 gives 15."),
        (solve_kernel(16, 7, stride=2), "2 values of the kernel give 7; only one of them fits exactly."),
        (
            solve_kernel(32, 9, stride=3, dilation=2),
            "Exactly, the kernel would be 9/2 = 4.5, which is no whole number.",
        ),
    ],
)
def test_words_of_a_solution(answer: SizeSolution, words: str) -> None:
    assert any(words in note for axis in answer.axes for note in axis.notes), answer.axes
