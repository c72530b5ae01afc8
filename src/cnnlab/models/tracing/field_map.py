"""Where on a feature map each number of a tensor stands: two maps of its own shape, of rows and of columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from cnnlab.architecture.layer import ReceptiveFieldPair
from cnnlab.theory.receptive_field import ReceptiveField1d


@dataclass(frozen=True, eq=False)
class FieldMap:
    """What the numbers of a tensor see. `fields` is None where each sees the whole image.

    `rows` and `columns` say where on the map with these fields a number stands. `is_pooled` is True of what is the same
    at all places, because it comes from a global mean.
    """

    fields: ReceptiveFieldPair | None
    rows: Tensor | None = None
    columns: Tensor | None = None
    is_pooled: bool = False


WHOLE_IMAGE = FieldMap(None)
GLOBAL_POOL = FieldMap(None, is_pooled=True)


def grid_field_map(fields: ReceptiveFieldPair, shape: Sequence[int]) -> FieldMap:
    """The field map of an N×C×H×W tensor whose nodes have these fields."""
    return FieldMap(fields, *_index_grid(tuple(shape)))


def shared_field_map(fields: ReceptiveFieldPair, rows: Tensor, columns: Tensor) -> FieldMap:
    """The field map with these index maps; the shared grids where they are equal to these."""
    if rows.ndim == 4:
        common = _index_grid(tuple(rows.shape))
        if maps_equal(rows, common[0]) and maps_equal(columns, common[1]):
            return FieldMap(fields, *common)
    return FieldMap(fields, rows, columns)


def grid_fields(field_map: FieldMap) -> ReceptiveFieldPair | None:
    """The fields of the nodes of an N×C×H×W map, or None where its last two axes are not rows and columns.

    What was cut out or spaced out on the way is a window: where the channels of a node come from several rows (space
    to depth), it sees all of these.
    """
    if field_map.rows is None or field_map.columns is None or field_map.fields is None or field_map.rows.ndim != 4:
        return None
    if is_index_grid(field_map.rows):
        return field_map.fields
    found: list[ReceptiveField1d] = []
    for side, field, axis in ((field_map.rows, field_map.fields[0], -2), (field_map.columns, field_map.fields[1], -1)):
        across = -1 if axis == -2 else -2
        low, high = min_max_along(side, (0, 1))
        if not (maps_equal(*min_max_along(low, (across,))) and maps_equal(*min_max_along(high, (across,)))):
            return None  # what should be rows changes from column to column
        starts, stops = low.select(across, 0).flatten(), high.select(across, 0).flatten()
        begin, reach = starts.tolist(), (stops - starts).tolist()
        steps = {after - before for before, after in pairwise(begin)} or {1}
        if len(steps) > 1 or len(set(reach)) > 1 or min(steps) < 1:
            return None
        kernel, stride = reach[0] + 1, min(steps)
        unchanged = (kernel, stride, begin[0]) == (1, 1, 0)
        found.append(field if unchanged else field.after_window(kernel, stride, padding=-begin[0]))
    return found[0], found[1]


def is_index_grid(rows: Tensor) -> bool:
    return rows.ndim > 1 and rows is _index_grid(tuple(rows.shape))[0]


def maps_equal(one: Tensor, other: Tensor) -> bool:
    """Whether two maps of one shape are equal. Axes along which neither changes are not gone through."""
    if one is other:
        return True
    is_constant = [one.stride(axis) == other.stride(axis) == 0 for axis in range(one.ndim)]
    index = tuple(slice(1) if constant else slice(None) for constant in is_constant)
    return torch.equal(one[index], other[index])


def min_max_along(index_map: Tensor, axes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The least and the greatest number of a map along these axes, which keep a length of 1."""
    chosen = {axis % index_map.ndim for axis in axes}
    kept = [1 if axis in chosen else size for axis, size in enumerate(index_map.shape)]
    thin = index_map[tuple(slice(1) if step == 0 else slice(None) for step in index_map.stride())]
    return thin.amin(tuple(chosen), keepdim=True).expand(kept), thin.amax(tuple(chosen), keepdim=True).expand(kept)


@lru_cache(maxsize=256)
def _index_grid(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The maps of a tensor whose last two axes are rows and columns. Cached: equal maps are mostly the same."""
    high, wide = shape[-2:]
    rows = torch.arange(high, dtype=torch.int32, device="cpu").view(high, 1).expand(shape)
    return rows, torch.arange(wide, dtype=torch.int32, device="cpu").expand(shape)
