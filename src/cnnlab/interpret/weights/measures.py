"""Measures of filters: norm, change, dead and twin filters; and which filters are shown. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from cnnlab.errors import UsageError
from cnnlab.interpret.filter_numbers import flagged_numbers
from cnnlab.interpret.weights.filters import Floats, LayerFilters

Reals = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Pairs = tuple[tuple[int, int], ...]
FilterOrder = Literal["number", "norm"]
# The first ones, those of the largest norm, or those that the caller named.
FilterSelection = Literal["number", "norm", "chosen"]

SMALL_CHANGE = 0.01  # a relative change below this is hardly one
DEAD_NORM = 0.01  # as a share of the median norm
TWIN_COSINE = 0.99
MAX_PAIRS = 20  # listed; all are counted
MIN_NUMBERS = 4  # filters of fewer weights are twins by chance
MAX_PICTURES, MAX_KERNELS, MAX_ROWS = 64, 12, 256


@dataclass(frozen=True)
class FilterMeasures:
    """Measures of F filters; NaN where a filter has none, None where no filter of the layer has.

    Numbers of filters count from 1: measures of filter n are at index n − 1.

    Attributes:
        norm: the Euclidean norm of the weights.
        change: ‖after − before‖ / ‖before‖.
        cosine: of the angle between before and after.
        equal: whether every weight is bit for bit the initial one.
        twin: whether it has a twin, a filter of almost the same direction.
        dead: filters that are almost 0.
        broken: filters with NaN or ±Inf, which count as 0 in the other measures; they are neither dead nor twins.
        twins: pairs of twins, the first 20.
        twins_in_all: the number of such pairs.
    """

    norm: Reals
    change: Reals | None
    cosine: Reals | None
    equal: Flags | None
    twin: Flags
    dead: tuple[int, ...]
    broken: tuple[int, ...]
    twins: Pairs
    twins_in_all: int


def measure_filters(filters: LayerFilters) -> FilterMeasures:
    """Measure every filter of a layer."""
    after = nan_to_zero(filters.after).reshape(len(filters.after), -1)
    norm = np.linalg.norm(after, axis=1).astype(np.float64)
    broken: Flags = np.asarray(~np.isfinite(np.asarray(filters.after)).reshape(after.shape).all(axis=1))
    median = np.median(norm[~broken]) if not broken.all() else 0.0
    dead: Flags = np.asarray(((norm < DEAD_NORM * median) | (norm == 0)) & ~broken)
    change, cosine, equal = _changes(filters, after)
    twins = twin_matrix(after, ~(dead | broken))
    pairs = np.argwhere(twins)
    return FilterMeasures(
        norm=norm,
        change=change,
        cosine=cosine,
        equal=equal,
        twin=np.any(twins | twins.T, axis=1),
        dead=flagged_numbers(dead),
        broken=flagged_numbers(broken),
        twins=tuple((int(one) + 1, int(other) + 1) for one, other in pairs[:MAX_PAIRS]),
        twins_in_all=len(pairs),
    )


def relative_change(before: Floats, after: Floats) -> Reals:
    """‖after − before‖ / ‖before‖ of each filter; ‖after‖ where before is 0."""
    first = np.asarray(before, dtype=np.float64).reshape(len(before), -1)
    change = np.asarray(after, dtype=np.float64).reshape(first.shape) - first
    size = np.linalg.norm(first, axis=1)
    return np.asarray(np.linalg.norm(change, axis=1) / np.where(size > 0, size, 1.0))


def twin_matrix(flat: Floats, alive: Flags) -> Flags:
    """Whether two filters have a cosine above `TWIN_COSINE`, F×F; of a pair only the first filter's row is set.

    Args:
        flat: F×numbers.
        alive: F flags of the filters to compare.
    """
    if flat.shape[1] < MIN_NUMBERS:
        return np.zeros((len(flat), len(flat)), dtype=bool)
    size = np.linalg.norm(flat, axis=1, keepdims=True)
    units = np.where(alive[:, None], flat / np.where(size > 0, size, 1.0), 0.0).astype(np.float32)
    return np.triu(units @ units.T > TWIN_COSINE, 1)


def nan_to_zero(weights: Floats) -> Floats:
    """The weights with 0 for NaN and ±Inf."""
    return np.nan_to_num(np.asarray(weights), nan=0.0, posinf=0.0, neginf=0.0)


def resolve_order(order: FilterOrder | None, filters: LayerFilters) -> FilterOrder:
    """The requested order, or by default norm for rows of kernels, else number.

    Raises:
        UsageError: an unknown order.
    """
    if order is None:
        return "norm" if filters.is_spatial and not filters.is_single_picture else "number"
    if order not in get_args(FilterOrder):
        raise UsageError("unknown order", where="--order", received=str(order), allowed="number, norm")
    return order


def select_filters(
    filters: LayerFilters, measures: FilterMeasures, order: FilterOrder, max_filters: int | None
) -> list[int]:
    """The numbers, from 1, of the filters to show: the first ones, or those of the largest norm."""
    default = MAX_PICTURES if filters.is_single_picture else MAX_KERNELS if filters.is_spatial else MAX_ROWS
    by_norm = np.argsort(-measures.norm, kind="stable")
    indices = range(len(filters.after)) if order == "number" else by_norm.tolist()
    return [index + 1 for index in indices[: max_filters or default]]


def _changes(filters: LayerFilters, after: Floats) -> tuple[Reals | None, Reals | None, Flags | None]:
    if filters.before is None:
        return None, None, None
    before = nan_to_zero(filters.before).reshape(after.shape)
    sizes = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosine = np.einsum("ij,ij->i", before, after, dtype=np.float64) / np.where(sizes > 0, sizes, 1.0)
    equal = (_as_bytes(filters.before) == _as_bytes(filters.after)).all(axis=1)
    return relative_change(before, after), np.where(sizes > 0, np.clip(cosine, -1, 1), np.nan), np.asarray(equal)


def _as_bytes(weights: Floats) -> npt.NDArray[np.uint8]:
    """The bytes of each filter: −0 differs from 0, and NaN equals NaN."""
    return np.ascontiguousarray(weights).reshape(len(weights), -1).view(np.uint8)
