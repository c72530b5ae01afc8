"""What does not go together is told in words."""

from __future__ import annotations

import re
from typing import Any

import pytest

from cnnlab.errors import UsageError
from cnnlab.theory.size_arithmetic.compute import solve_output


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: solve_output(3, 5), "a window of 5 pixels does not fit on 3\n.*size 3, padding 0.*kernel smaller"),
        (lambda: solve_output(3, 3, dilation=2), "a window of 5 pixels does not fit on 3\n.*kernel 3, dilation 2"),
        (lambda: solve_output(0, 5), "size: size must be a whole number.*\n.*0\n.*1 to 65,536"),
        (lambda: solve_output(9, 2.5), "kernel must be a whole number.*\n.*2.5"),  # type: ignore[arg-type]
        (lambda: solve_output((1, 2, 3), 5), "size must be a whole number, or two"),  # type: ignore[arg-type]
        (lambda: solve_output(9, 3, ceil=True), "only pools round up.*\n.*leave ceil out"),
        (lambda: solve_output(9, 3, pool=True, transposed=True), "a pool is not transposed"),
        (lambda: solve_output(9, 3, output_padding=1), "only transposed convolutions have output padding"),
        (
            lambda: solve_output(9, 3, stride=2, transposed=True, output_padding=2),
            "less than the stride.*\n.*\n.*0 to 1",
        ),
        (lambda: solve_output(9, 3, padding=2, pool=True), "half its kernel at most\n.*padding 2, kernel 3\n.*0 to 1"),
        (
            lambda: solve_output(2, 1, padding=1, transposed=True),
            "no possible size\n.*0 pixels, with padding 1\n?.*1 to 65,536",
        ),
        (lambda: solve_output(60_000, 3, stride=2, transposed=True), "no possible size\n.*120,001 pixels"),
        (lambda: solve_output(9, 3, channels=3), "need channels and filters\n.*give both"),
        (lambda: solve_output(9, 3, pool=True, channels=3, filters=3), "a pool has no filters"),
    ],
)
def test_errors_say_what_and_where(call: Any, words: str) -> None:
    with pytest.raises(UsageError, match=re.compile(words, re.DOTALL)):
        call()
