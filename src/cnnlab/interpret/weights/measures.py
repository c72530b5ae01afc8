"""Measures of filters: size, change, orientation, colour, dead and twin filters; and their order. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from cnnlab.errors import UsageError
from cnnlab.interpret.weights.filters import Floats, LayerFilters
from cnnlab.randomness import generator

Reals = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Pairs = tuple[tuple[int, int], ...]

SMALL_CHANGE = 0.01  # a relative change below this is hardly one
DEAD_NORM = 0.01  # as a share of the median norm
SIMILAR_COSINE = 0.99  # a cosine above this
MAX_PAIRS = 20  # 3,000 equal filters are 4.5 million pairs
MIN_NUMBERS = 4  # in a filter; of fewer numbers two are alike by chance
CHUNK_NUMBERS = 1 << 22  # numbers that are transformed together
RANDOM_FILTERS, RANDOM_QUANTILE = 1000, 0.95
MIN_RANDOM, MAX_RANDOM_NUMBERS = 200, 1 << 25  # filters; numbers in all their transforms
FINE_GRID_SIZE, MAX_CHANNELS_FINE_GRID = 64, 3


@dataclass(frozen=True)
class FilterMeasures:
    """Numbers for each of F filters; NaN where a filter has none, None where no filter of the layer has.

    Attributes:
        norm: the Euclidean norm of its weights.
        change: ‖after − before‖ / ‖before‖.
        cosine: of the angle between before and after.
        equal: whether each of its weights is bit for bit what it began as.
        orientation: the direction of its stripes in degrees, from 0 (lying) counter-clockwise to below 180; 90 stands.
        coherence: how clear the orientation is, from 0, none, to 1, a grating.
        frequency: where its spectrum is highest, in cycles a pixel, the mean of each channel taken away.
        colourfulness: the share of its squared weights that is not the same in red, green and blue; 0 for grey.
        axis: the angle of its colours' axis: 0 red–cyan, 60 yellow–blue, 120 green–magenta, to below 180.
        purity: how clear that axis is, from 0 to 1.
        coherence_before: as `coherence`, before training.
        random_coherence, random_purity: what 95 % of random filters of this shape stay below.
        dead: filters that are almost 0.
        broken: filters with weights that are NaN or ±Inf, which count as 0 in the numbers above; such a filter has no
            orientation, and is neither dead nor like another.
        twins: pairs of filters that point the same way, the first 20.
        opposites: pairs that point opposite ways, the first 20.
        twins_in_all, opposites_in_all: how many pairs there are.
        twin: whether another filter points the same way.
    """

    norm: Reals
    change: Reals | None
    cosine: Reals | None
    equal: Flags | None
    orientation: Reals | None
    coherence: Reals | None
    frequency: Reals | None
    colourfulness: Reals | None
    axis: Reals | None
    purity: Reals | None
    coherence_before: Reals | None
    random_coherence: float | None
    random_purity: float | None
    dead: tuple[int, ...]
    broken: tuple[int, ...]
    twins: Pairs
    opposites: Pairs
    twins_in_all: int
    opposites_in_all: int
    twin: Flags


def measure_filters(filters: LayerFilters) -> FilterMeasures:
    """All numbers of a layer's filters."""
    after = nan_to_zero(filters.after)
    flat = after.reshape(len(after), -1)
    norm = np.linalg.norm(flat, axis=1).astype(np.float64)
    broken = ~np.isfinite(np.asarray(filters.after)).reshape(flat.shape).all(axis=1)
    dead = norm < DEAD_NORM * np.median(norm[~broken]) if not broken.all() else norm < 0
    dead = (dead | (norm == 0)) & ~broken
    change, cosine, equal = _changes(filters, flat)
    orientation, coherence, frequency = orientations(after) if filters.is_spatial else (None, None, None)
    for numbers in (orientation, coherence, frequency):
        if numbers is not None:
            numbers[broken] = np.nan
    colourfulness, axis, purity = colour_axes(after) if filters.in_colour else (None, None, None)
    twins, opposites = similar_pairs(flat, ~(dead | broken))
    extent, before = filters.after.shape[1:], filters.before
    return FilterMeasures(
        norm=norm,
        change=change,
        cosine=cosine,
        equal=equal,
        orientation=orientation,
        coherence=coherence,
        frequency=frequency,
        colourfulness=colourfulness,
        axis=axis,
        purity=purity,
        coherence_before=orientations(before)[1] if filters.is_spatial and before is not None else None,
        random_coherence=random_coherence(*extent) if filters.is_spatial else None,
        random_purity=random_purity(*extent[1:]) if filters.in_colour else None,
        dead=tuple(map(int, np.flatnonzero(dead))),
        broken=tuple(map(int, np.flatnonzero(broken))),
        twins=twins.pairs,
        opposites=opposites.pairs,
        twins_in_all=twins.count,
        opposites_in_all=opposites.count,
        twin=twins.is_member,
    )


def relative_change(before: Floats, after: Floats) -> Reals:
    """For each filter, the size of its change against its size before; against 1 where it was 0."""
    first = np.asarray(before, dtype=np.float64).reshape(len(before), -1)
    change = np.asarray(after, dtype=np.float64).reshape(first.shape) - first
    size = np.linalg.norm(first, axis=1)
    return np.asarray(np.linalg.norm(change, axis=1) / np.where(size > 0, size, 1.0))


def spectrum(weights: Floats, size: int) -> Reals:
    """The magnitude of each filter's two-dimensional Fourier transform, over all channels together.

    The root of the sum of the squared magnitudes of its channels, each filled up with zeros to `size`: the sign of a
    channel does not matter.

    Args:
        weights: F×C×H×W.
        size: the number of frequencies in each direction, at least H and W.

    Returns:
        F×size×size; frequency 0 is at [size // 2, size // 2], rows are vertical frequencies downwards.
    """
    found = np.empty((len(weights), size, size))
    for part in _chunks(weights, size):
        waves = np.fft.fft2(nan_to_zero(weights[part]), s=(size, size))
        found[part] = np.sqrt((np.abs(waves) ** 2).sum(axis=1))
    return np.fft.fftshift(found, axes=(1, 2))


def orientations(weights: Floats) -> tuple[Reals, Reals, Reals]:
    """The orientation in degrees, the coherence and the highest frequency of each filter, each of shape F.

    With P the power spectrum of a filter without the mean of each channel, and φ the angle of a frequency, its mean
    direction is half the angle of Σ P·exp(2iφ), and the coherence that sum's size over Σ P: the structure tensor's, as
    J. Bigün and G. Granlund: Optimal orientation detection of linear symmetry, ICCV 1987, without its weight for high
    frequencies, which the edge of a small kernel is full of. Stripes run at a right angle to it.
    """
    count, channels, height, width = weights.shape
    size = _grid_size(channels, max(height, width))
    steps = np.fft.fftfreq(size)
    down, right = np.meshgrid(steps, steps, indexing="ij")
    # The frequencies of −½ stand for +½ as well: they have no direction of their own.
    turning = np.where((down == -0.5) | (right == -0.5), 0, np.exp(2j * np.arctan2(-down, right)))
    turning[0, 0] = 0
    sums, totals, highest = np.empty(count, dtype=np.complex128), np.empty(count), np.empty(count)
    away = np.hypot(down, right).ravel()
    for part in _chunks(weights, size):
        values = nan_to_zero(weights[part])
        values = values - values.mean(axis=(2, 3), keepdims=True)
        power = (np.abs(np.fft.fft2(values, s=(size, size))) ** 2).sum(axis=1)
        sums[part] = (power * turning).sum(axis=(1, 2))
        totals[part] = power.sum(axis=(1, 2))
        highest[part] = away[power.reshape(len(power), -1).argmax(axis=1)]
    flat = totals <= 1e-12 * np.maximum((nan_to_zero(weights) ** 2).sum(axis=(1, 2, 3)) * size * size, 1e-300)
    coherence = np.where(flat, 0.0, np.abs(sums) / np.where(flat, 1.0, totals))
    angle = (np.degrees(np.angle(sums)) / 2 + 90) % 180
    return np.where(flat, np.nan, angle), coherence, np.where(flat, np.nan, highest)


def colour_axes(weights: Floats) -> tuple[Reals, Reals, Reals]:
    """The colourfulness, the angle of the colours' axis in degrees and its purity, of filters F×3×H×W.

    What is the same in the three channels is grey. The rest lies in a plane where red, green and blue are 120° apart; a
    filter that finds one colour against its opposite has its weights along one axis there, in both directions. Its
    angle is half that of Σ (a + ib)², as that of an orientation.
    """
    values = nan_to_zero(weights).astype(np.float64)
    red, green, blue = values[:, 0], values[:, 1], values[:, 2]
    plane = (2 * red - green - blue) / np.sqrt(6) + 1j * (green - blue) / np.sqrt(2)
    coloured, whole = (np.abs(plane) ** 2).sum(axis=(1, 2)), (values**2).sum(axis=(1, 2, 3))
    sums = (plane**2).sum(axis=(1, 2))
    share = coloured / np.where(whole > 0, whole, 1.0)
    grey = share <= 1e-12
    axis = (np.degrees(np.angle(sums)) / 2) % 180
    return share, np.where(grey, np.nan, axis), np.where(grey, 0.0, np.abs(sums) / np.where(grey, 1.0, coloured))


@dataclass(frozen=True)
class SimilarPairs:
    """Pairs of filters: the first ones, how many there are in all, and whether each of F filters is in one."""

    pairs: Pairs
    count: int
    is_member: Flags


def similar_pairs(flat: Floats, alive: Flags, max_pairs: int = MAX_PAIRS) -> tuple[SimilarPairs, SimilarPairs]:
    """Pairs of living filters with a cosine above `SIMILAR_COSINE`, and pairs with one below −`SIMILAR_COSINE`.

    Args:
        flat: F×numbers.
        alive: which to compare, shape F.
        max_pairs: so many pairs are listed; all are counted.
    """
    size = np.linalg.norm(flat, axis=1, keepdims=True)
    units = (flat / np.where(size > 0, size, 1.0)).astype(np.float32)
    units[~alive] = 0
    found = []
    for sign in (1, -1):
        first: list[tuple[int, int]] = []
        count, of = 0, np.zeros(len(flat), dtype=bool)
        # Of fewer numbers two are alike by chance.
        for start in range(0, len(units) if flat.shape[1] >= MIN_NUMBERS else 0, 1024):
            rows = sign * (units[start : start + 1024] @ units[start:].T) > SIMILAR_COSINE
            rows = np.triu(rows, 1)
            count += int(np.count_nonzero(rows))
            of[start : start + len(rows)] |= rows.any(axis=1)
            of[start:] |= rows.any(axis=0)
            places = np.flatnonzero(rows)[: max_pairs - len(first)]
            first += [(start + int(place) // rows.shape[1], start + int(place) % rows.shape[1]) for place in places]
        found.append(SimilarPairs(tuple(first), count, of))
    return found[0], found[1]


@cache
def random_coherence(channels: int, height: int, width: int) -> float:
    """The coherence that 95 % of random filters of a shape stay below: 1,000 normally distributed ones, or fewer."""
    each = channels * _grid_size(channels, max(height, width)) ** 2
    shape = (min(RANDOM_FILTERS, max(MIN_RANDOM, MAX_RANDOM_NUMBERS // each)), channels, height, width)
    drawn = generator(0, "coherence", channels, height, width).standard_normal(shape, dtype=np.float32)
    return float(np.quantile(orientations(drawn)[1], RANDOM_QUANTILE))


@cache
def random_purity(height: int, width: int) -> float:
    """The purity of the colours' axis that 95 % of random filters stay below."""
    drawn = generator(0, "purity", height, width).standard_normal((RANDOM_FILTERS, 3, height, width), dtype=np.float32)
    return float(np.quantile(colour_axes(drawn)[2], RANDOM_QUANTILE))


def nan_to_zero(weights: Floats) -> Floats:
    """The weights with 0 for what is not a number."""
    return np.nan_to_num(np.asarray(weights), nan=0.0, posinf=0.0, neginf=0.0)


def _changes(filters: LayerFilters, after: Floats) -> tuple[Reals | None, Reals | None, Flags | None]:
    if filters.before is None:
        return None, None, None
    before = nan_to_zero(filters.before).reshape(after.shape)
    sizes = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosine = np.einsum("ij,ij->i", before, after, dtype=np.float64) / np.where(sizes > 0, sizes, 1.0)
    equal = (_as_bytes(filters.before) == _as_bytes(filters.after)).all(axis=1)
    return relative_change(before, after), np.where(sizes > 0, np.clip(cosine, -1, 1), np.nan), np.asarray(equal)


def _as_bytes(weights: Floats) -> npt.NDArray[np.uint8]:
    """The bytes of each filter: −0 is not 0, and NaN is NaN."""
    return np.ascontiguousarray(weights).reshape(len(weights), -1).view(np.uint8)


def _grid_size(channels: int, side: int) -> int:
    """How many frequencies to look at in each direction.

    Twice the size: a power spectrum is the transform of an autocorrelation, which is that long. More only make the
    highest frequency finer, which is had for the few channels of an image.
    """
    least = 1 << (2 * side - 1).bit_length()
    return max(least, FINE_GRID_SIZE) if channels <= MAX_CHANNELS_FINE_GRID else least


def _chunks(weights: Floats, size: int) -> Iterator[slice]:
    """So many filters at once that their transforms fit into the memory."""
    step = max(1, CHUNK_NUMBERS // (weights.shape[1] * size * size))
    return (slice(first, first + step) for first in range(0, len(weights), step))


FilterOrder = Literal["number", "orientation", "colour", "norm"]
GREY_THRESHOLD = 0.2  # a smaller share of colour is hardly seen
MAX_PICTURES, MAX_KERNELS, MAX_ROWS = 64, 12, 256


def resolve_order(order: FilterOrder | None, filters: LayerFilters) -> FilterOrder:
    """The order that was asked for, or the one that suits the layer: by norm for rows of kernels, else by number.

    Raises:
        UsageError: an unknown order, or one that these filters don't have.
    """
    if order is None:
        return "norm" if filters.is_spatial and not filters.is_single_picture else "number"
    if order not in get_args(FilterOrder):
        raise UsageError(
            "unknown order", where="--order", received=str(order), allowed=", ".join(get_args(FilterOrder))
        )
    if order == "colour" and not filters.in_colour:
        what = f"the {filters.noun}s of {filters.layer} do not look at red, green and blue"
    elif order == "orientation" and not filters.is_spatial:
        what = f"the {filters.noun}s of {filters.layer} have one number a channel, and so no orientation"
    else:
        return order
    raise UsageError(what, where="--order", received=order, next_step="--order norm, or --order number")


def select_filters(
    filters: LayerFilters, measures: FilterMeasures, order: FilterOrder, max_filters: int | None
) -> list[int]:
    """The numbers of the filters to show, in their order.

    By number the first ones are shown; in any other order those of the largest norm. By orientation, and by colour,
    those come last that have no clear one; grey ones come first by colour.
    """
    default = MAX_PICTURES if filters.is_single_picture else MAX_KERNELS if filters.is_spatial else MAX_ROWS
    limit = min(default if max_filters is None else max_filters, len(filters.after))
    if order == "number":
        return list(range(limit))
    largest = [int(number) for number in np.argsort(-measures.norm, kind="stable")[:limit]]
    if order == "norm":
        return largest
    if order == "orientation":
        return sorted(largest, key=lambda number: _orientation_key(measures, number))
    return sorted(largest, key=lambda number: _colour_key(measures, number))


def is_oriented(measures: FilterMeasures, number: int) -> bool:
    """Whether a filter is oriented more clearly than 95 % of random ones are."""
    if measures.coherence is None or measures.random_coherence is None:
        return False
    return bool(measures.coherence[number] > measures.random_coherence)


def has_colour_axis(measures: FilterMeasures, number: int) -> bool:
    """Whether a filter's colours lie on one axis more clearly than those of 95 % of random ones do."""
    if measures.purity is None or measures.random_purity is None or is_grey(measures, number):
        return False
    return bool(measures.purity[number] > measures.random_purity)


def is_grey(measures: FilterMeasures, number: int) -> bool:
    """Whether a filter hardly tells colours apart."""
    return measures.colourfulness is None or bool(measures.colourfulness[number] < GREY_THRESHOLD)


def _orientation_key(measures: FilterMeasures, number: int) -> tuple[bool, float, int]:
    assert measures.orientation is not None
    return not is_oriented(measures, number), float(np.nan_to_num(measures.orientation[number])), number


def _colour_key(measures: FilterMeasures, number: int) -> tuple[int, float, int]:
    assert measures.axis is not None
    if is_grey(measures, number):
        return 0, 0.0, number
    return 1 if has_colour_axis(measures, number) else 2, float(measures.axis[number]), number
