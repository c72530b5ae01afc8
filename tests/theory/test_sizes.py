"""Output sizes, against windows that are counted one by one."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.theory.sizes import output_size

SMALL = st.integers(1, 12)


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
