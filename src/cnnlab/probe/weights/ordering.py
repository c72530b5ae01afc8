"""In which order filters are shown, and which of them. No torch."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from cnnlab.errors import UsageError
from cnnlab.probe.weights.filters import Filters
from cnnlab.probe.weights.measures import Measures

Order = Literal["number", "orientation", "colour", "norm"]
GREY = 0.2  # a smaller share of colour is hardly seen
MOST_PICTURES, MOST_KERNELS, MOST_ROWS = 64, 12, 256


def check_order(order: Order | None, filters: Filters) -> Order:
    """The order that was asked for, or the one that suits the layer: by norm for rows of kernels, else by number.

    Raises:
        UsageError: an unknown order, or one that these filters don't have.
    """
    if order is None:
        return "norm" if filters.has_extent and not filters.as_pictures else "number"
    if order not in get_args(Order):
        raise UsageError("unknown order", where="--order", received=str(order), allowed=", ".join(get_args(Order)))
    if order == "colour" and not filters.in_colour:
        what = f"the {filters.noun}s of {filters.layer} do not look at red, green and blue"
    elif order == "orientation" and not filters.has_extent:
        what = f"the {filters.noun}s of {filters.layer} have one number a channel, and so no orientation"
    else:
        return order
    raise UsageError(what, where="--order", received=order, next_step="--order norm, or --order number")


def chosen(filters: Filters, measures: Measures, order: Order, most: int | None) -> list[int]:
    """The numbers of the filters to show, in their order.

    By number the first ones are shown; in any other order those of the largest norm. By orientation, and by colour,
    those come last that have no clear one; grey ones come first by colour.
    """
    default = MOST_PICTURES if filters.as_pictures else MOST_KERNELS if filters.has_extent else MOST_ROWS
    limit = min(default if most is None else most, len(filters.after))
    if order == "number":
        return list(range(limit))
    largest = [int(number) for number in np.argsort(-measures.norm, kind="stable")[:limit]]
    if order == "norm":
        return largest
    if order == "orientation":
        return sorted(largest, key=lambda number: _turned(measures, number))
    return sorted(largest, key=lambda number: _coloured(measures, number))


def is_clear(measures: Measures, number: int) -> bool:
    """Whether a filter is oriented more clearly than 95 % of random ones are."""
    if measures.coherence is None or measures.random_coherence is None:
        return False
    return bool(measures.coherence[number] > measures.random_coherence)


def has_axis(measures: Measures, number: int) -> bool:
    """Whether a filter's colours lie on one axis more clearly than those of 95 % of random ones do."""
    if measures.purity is None or measures.random_purity is None or is_grey(measures, number):
        return False
    return bool(measures.purity[number] > measures.random_purity)


def is_grey(measures: Measures, number: int) -> bool:
    """Whether a filter hardly tells colours apart."""
    return measures.colourfulness is None or bool(measures.colourfulness[number] < GREY)


def _turned(measures: Measures, number: int) -> tuple[bool, float, int]:
    assert measures.orientation is not None
    return not is_clear(measures, number), float(np.nan_to_num(measures.orientation[number])), number


def _coloured(measures: Measures, number: int) -> tuple[int, float, int]:
    assert measures.axis is not None
    if is_grey(measures, number):
        return 0, 0.0, number
    return 1 if has_axis(measures, number) else 2, float(measures.axis[number]), number
