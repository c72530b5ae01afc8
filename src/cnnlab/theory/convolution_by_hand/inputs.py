"""Validated input of a convolution by hand, as exact numbers."""

from __future__ import annotations

import math
import operator
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from cnnlab.errors import UsageError
from cnnlab.render.formatting import shorten
from cnnlab.theory.convolution_by_hand.result import Pair

Exact: TypeAlias = int | Fraction

# Keeps every product and sum far within the range of a float.
_MAX_MAGNITUDE = 10**100
_SHAPE_LETTERS = {0: "a number", 1: "a list of numbers", 2: "H×W", 3: "C×H×W", 4: "F×C×H×W"}


def exact_array(value: Any, where: str, dimensions: tuple[int, ...]) -> Any:
    """An array of `Exact` numbers from nested lists, tuples or arrays with one of these numbers of dimensions.

    Raises:
        UsageError: another number of dimensions, rows of different lengths, or values that are no finite numbers.
    """
    array = np.array(value.tolist() if hasattr(value, "tolist") else value, dtype=object)
    ragged = any(isinstance(item, list | tuple | np.ndarray) for item in array.flat)
    if ragged or array.ndim not in dimensions or not array.size:
        raise UsageError(
            "this is not a grid of numbers",
            where=where,
            received=shorten(repr(value)),
            allowed=f"{' or '.join(_SHAPE_LETTERS[number] for number in dimensions)}, rows of one length",
            next_step="write rows of numbers, as in [[1, 2], [3, 4]]",
        )
    exact = np.empty(array.shape, dtype=object)
    for index in np.ndindex(array.shape):
        exact[index] = _exact_number(array[index], where + "".join(f"[{position}]" for position in index))
    return exact


def _exact_number(value: Any, where: str) -> Exact:
    """An exact number; a float is the decimal that it is written as, so that 0.1 is a tenth."""
    value = value.item() if isinstance(value, np.generic) else value
    is_number = isinstance(value, int | float | Fraction) and not isinstance(value, bool)
    exact = Fraction(str(value)) if is_number and math.isfinite(value) else None
    if exact is None or abs(exact) > _MAX_MAGNITUDE:
        raise UsageError(
            "this is not a number that can be used",
            where=where,
            received=shorten(repr(value)),
            allowed="a finite number from -1e100 to 1e100",
        )
    return exact.numerator if exact.denominator == 1 else exact


def size_pair(value: Any, where: str, least: int) -> Pair:
    """One whole number for both dimensions, or (vertical, horizontal), as a pair.

    Raises:
        UsageError: something else, or less than `least`.
    """
    items = list(value) if isinstance(value, list | tuple | np.ndarray) else [value, value]
    try:
        high, wide = (operator.index(item) for item in items)
    except (TypeError, ValueError):
        high = wide = least - 1
    if min(high, wide) < least:
        raise UsageError(
            f"this is no {where}",
            where=where,
            received=shorten(repr(value)),
            allowed=f"a whole number from {least} on, or two (vertical, horizontal)"
            + (", or 'same'" if where == "padding" else ""),
        )
    return high, wide
