"""Where in the image a tensor's numbers look, followed through any torch function.

Beside each tensor go two maps of its own shape: the row and the column of the last feature map that each number
stands at. A function that only moves numbers moves the maps alike, whatever it is, so that no layout (channels last,
windows, shuffled channels) needs a rule of its own. What is not known to keep the places apart sees the whole image.

Two things are left out, as published receptive fields leave them out: the statistics of normalisations, and gates,
which multiply a map by what comes from its global mean (squeeze-and-excitation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from cnnlab.architecture.layer import ReceptiveFieldPair
from cnnlab.models.tracing.field_map import (
    GLOBAL_POOL,
    WHOLE_IMAGE,
    FieldMap,
    grid_field_map,
    grid_fields,
    is_index_grid,
    maps_equal,
    min_max_along,
    shared_field_map,
)
from cnnlab.models.tracing.operations import FunctionCall, padding_per_side, pair
from cnnlab.theory.receptive_field import widest

# They keep each number as it is, and put it elsewhere or nowhere.
REARRANGING_FUNCTIONS = frozenset(
    """
    view reshape permute transpose swapaxes swapdims movedim moveaxis flatten unflatten squeeze unsqueeze expand
    expand_as broadcast_to chunk split tensor_split unbind getitem select narrow t T mT roll flip repeat tile view_as
    reshape_as pixel_shuffle pixel_unshuffle channel_shuffle concatenate cat concat stack
    """.split()  # noqa: SIM905
)
# They give the numbers as they are.
COPYING_FUNCTIONS = frozenset(
    "contiguous clone detach to float half bfloat16 double type type_as cpu cuda data requires_grad".split()  # noqa: SIM905
)
# They ask a tensor for its shape or kind only.
FACTORY_FUNCTIONS = frozenset(
    "new_zeros new_ones new_empty new_full new_tensor zeros_like ones_like empty_like full_like rand_like".split()  # noqa: SIM905
)
# Each number by itself, or with others of its place; torch marks most functions of the first sort itself.
_POINTWISE_FUNCTIONS = frozenset(
    """
    relu6 dropout dropout2d dropout1d dropout3d alpha_dropout feature_alpha_dropout softsign softplus logsigmoid prelu
    rrelu celu selu tanhshrink softshrink hardshrink hardtanh iadd imul isub itruediv radd rmul rsub rtruediv truediv
    rdiv neg pow rpow ipow abs pos gt lt ge le eq ne batch_norm layer_norm group_norm instance_norm local_response_norm
    rms_norm where lerp hardswish hardsigmoid mish
    """.split()  # noqa: SIM905
)
_REDUCTION_FUNCTIONS = frozenset("mean sum amax amin std var norm logsumexp prod std_mean var_mean".split())  # noqa: SIM905
_SINGLE_AXIS_FUNCTIONS = frozenset("softmax log_softmax softmin cumsum cumprod normalize sort".split())  # noqa: SIM905
_WINDOW_FUNCTIONS = frozenset(("conv2d", "max_pool2d", "max_pool2d_with_indices", "avg_pool2d", "lp_pool2d"))
_REPLAY_ERRORS = (RuntimeError, NotImplementedError, TypeError, IndexError, ValueError)


def propagate(call: FunctionCall, field_maps: dict[int, FieldMap], outputs: Sequence[Tensor]) -> list[FieldMap]:
    """The field maps of the outputs of a call.

    Args:
        field_maps: those of its tensors that depend on the image, by their `id`.
    """
    # Of what is not joined, a second tensor only lends its shape.
    if call.name in REARRANGING_FUNCTIONS and call.kind not in ("concatenate", "stack"):
        field_maps = {key: field_map for key, field_map in field_maps.items() if key == id(call.args[0])} or field_maps
    all_maps = list(field_maps.values())
    known_maps = [field_map for field_map in all_maps if field_map.fields is not None]
    if not known_maps:
        return [GLOBAL_POOL if all(field_map.is_pooled for field_map in all_maps) else WHOLE_IMAGE] * len(outputs)
    if len(known_maps) < len(all_maps) and (
        call.kind != "multiply" or not all(field_map.is_pooled or field_map.fields for field_map in all_maps)
    ):
        return [WHOLE_IMAGE] * len(outputs)
    if call.name in COPYING_FUNCTIONS or call.is_empty_pad:
        return [all_maps[0]] * len(outputs)
    if call.name in REARRANGING_FUNCTIONS:
        return _propagate_rearrangement(call, field_maps, outputs)
    one = _propagate_computation(call, field_maps, known_maps, outputs[0])
    return [one if output.shape == outputs[0].shape else WHOLE_IMAGE for output in outputs]


def _propagate_computation(
    call: FunctionCall, field_maps: dict[int, FieldMap], known_maps: list[FieldMap], output: Tensor
) -> FieldMap:
    """The field map of the one output of a call that computes something."""
    first = field_maps.get(id(call.args[0])) if call.args else None
    if call.name in _WINDOW_FUNCTIONS or call.name in ("pad", "interpolate"):
        return WHOLE_IMAGE if first is None or len(field_maps) > 1 else _propagate_window(call, first, output)
    if call.name == "linear":
        tokens = first is not None and len(field_maps) == 1 and output.ndim > 2  # else a vector: all of the image
        return _reduce_along(first, (-1,), output.shape) if first is not None and tokens else WHOLE_IMAGE
    if call.name.startswith("adaptive_"):
        return GLOBAL_POOL if tuple(output.shape[-2:]) == (1, 1) else WHOLE_IMAGE
    if call.name in _REDUCTION_FUNCTIONS:
        return WHOLE_IMAGE if first is None else _propagate_reduction(call, first, output)
    if call.name == "softmax" and output.ndim == 2:  # a norm, as tables have it
        return known_maps[0]
    if call.name in _SINGLE_AXIS_FUNCTIONS:
        has_dim = call.get("dim", call.kwargs.get("axis")) is not None
        axes = call.dims() if has_dim else (-1 if call.name == "sort" else 1,)
        return WHOLE_IMAGE if first is None else _reduce_along(first, axes, output.shape)
    if call.name in _POINTWISE_FUNCTIONS or _is_pointwise(call.name):
        return _combine_pointwise(known_maps, output)
    return WHOLE_IMAGE


@lru_cache(maxsize=512)
def _is_pointwise(name: str) -> bool:
    """Whether torch itself says that a function works on each number alone."""
    packet = getattr(torch.ops.aten, name, None)
    overloads = packet.overloads() if packet is not None else []
    return any(torch.Tag.pointwise in getattr(packet, overload).tags for overload in overloads)


def _combine_pointwise(known_maps: Sequence[FieldMap], output: Tensor) -> FieldMap:
    """Numbers that are put together place by place: the widest view, where the places agree."""
    first = max(known_maps, key=lambda field_map: 0 if field_map.rows is None else field_map.rows.numel())
    try:
        maps = [_broadcast(field_map, output.shape) for field_map in known_maps]
    except _REPLAY_ERRORS:
        return WHOLE_IMAGE
    rows, columns = _broadcast(first, output.shape)
    for other_rows, other_columns in maps:
        if not maps_equal(rows, other_rows) or not maps_equal(columns, other_columns):
            return WHOLE_IMAGE
    return FieldMap(_widest_fields(known_maps), rows, columns)


def _broadcast(field_map: FieldMap, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    assert field_map.rows is not None
    assert field_map.columns is not None
    if field_map.rows.shape == shape:
        return field_map.rows, field_map.columns
    return field_map.rows.broadcast_to(shape), field_map.columns.broadcast_to(shape)


def _widest_fields(field_maps: Sequence[FieldMap]) -> ReceptiveFieldPair:
    found = [field_map.fields for field_map in field_maps if field_map.fields is not None]
    return widest([fields[0] for fields in found]), widest([fields[1] for fields in found])


def _propagate_rearrangement(
    call: FunctionCall, field_maps: dict[int, FieldMap], outputs: Sequence[Tensor]
) -> list[FieldMap]:
    """The same call on the maps."""
    known_maps = list(field_maps.values())
    if call.kind == "concatenate" and outputs[0].ndim == 4 and _concatenates_channels(call, field_maps):
        return [grid_field_map(_widest_fields(known_maps), outputs[0].shape)]
    # A view of the tensor need not be one of its map, whose numbers share memory.
    move = torch.reshape if call.name == "view" else call.function
    if call.name == "view" and not isinstance(call.args[1], list | tuple):
        call = replace(call, args=(call.args[0], call.args[1:]))
    try:
        maps = [
            _as_list(
                move(*_replace_by_maps(call.args, field_maps, side), **_replace_by_maps(call.kwargs, field_maps, side))
            )
            for side in ("rows", "columns")
        ]
    except _REPLAY_ERRORS:
        return [WHOLE_IMAGE] * len(outputs)
    fields = _widest_fields(known_maps)
    return [
        shared_field_map(fields, rows, columns) if rows.shape == output.shape else WHOLE_IMAGE
        for rows, columns, output in zip(*maps, outputs, strict=True)
    ]


def _concatenates_channels(call: FunctionCall, field_maps: dict[int, FieldMap]) -> bool:
    """Whether whole maps are put behind one another: the common case, for which no map needs to be made."""
    maps = [field_maps.get(id(tensor)) for tensor in call.args[0]]
    return call.get("dim", 0) in (1, -3) and all(
        field_map is not None and field_map.rows is not None and is_index_grid(field_map.rows) for field_map in maps
    )


def _replace_by_maps(value: Any, field_maps: dict[int, FieldMap], side: str) -> Any:
    """An argument with each tensor's map in its stead; what does not depend on the image stands at the first place."""
    if isinstance(value, Tensor):
        field_map = field_maps.get(id(value))
        return torch.zeros((), dtype=torch.int32).expand(value.shape) if field_map is None else getattr(field_map, side)
    if isinstance(value, dict):
        return {key: _replace_by_maps(item, field_maps, side) for key, item in value.items()}
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return type(value)(_replace_by_maps(item, field_maps, side) for item in value)
    return value


def _as_list(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


def _reduce_along(field_map: FieldMap, axes: Sequence[int], shape: Sequence[int]) -> FieldMap:
    """The field map of numbers reduced along these axes: kept where all along them stand at one position."""
    assert field_map.rows is not None
    assert field_map.columns is not None
    maps = []
    for side in (field_map.rows, field_map.columns):
        low, high = min_max_along(side, axes)
        if not maps_equal(low, high):
            return WHOLE_IMAGE
        maps.append(low.expand(shape))
    return FieldMap(field_map.fields, maps[0], maps[1])


def _propagate_reduction(call: FunctionCall, field_map: FieldMap, output: Tensor) -> FieldMap:
    axes = call.dims()
    if call.is_global_reduction and _covers_all_positions(field_map, axes):
        return GLOBAL_POOL
    kept = [1 if axis in axes else size for axis, size in enumerate(call.args[0].shape)]
    reduced = _reduce_along(field_map, axes, kept)
    if reduced.rows is None or reduced.columns is None:
        return GLOBAL_POOL if _covers_all_positions(field_map, axes) else WHOLE_IMAGE
    return replace(reduced, rows=reduced.rows.reshape(output.shape), columns=reduced.columns.reshape(output.shape))


def _covers_all_positions(field_map: FieldMap, axes: Sequence[int]) -> bool:
    """Whether all positions of the map lie along these axes."""
    for side in (field_map.rows, field_map.columns):
        assert side is not None
        low, high = min_max_along(side, axes)
        if bool((low != side.min()).any() or (high != side.max()).any()):
            return False
    return True


def _propagate_window(call: FunctionCall, field_map: FieldMap, output: Tensor) -> FieldMap:
    """After a window that slides, a margin, or an enlargement: N×C×H×W to N×C×H×W."""
    fields = grid_fields(field_map)
    if fields is None or output.ndim != 4:
        return WHOLE_IMAGE
    if call.name == "pad":
        sides = padding_per_side(call)
        if sides is None:
            return WHOLE_IMAGE
        return grid_field_map(
            _map_axes(fields, lambda axis, field: field.after_window(1, padding=sides[axis][0])), output.shape
        )
    if call.name == "interpolate":
        return _propagate_upsampling(call, fields, output)
    kernel = pair(tuple(call.weight.shape[2:]) if call.name == "conv2d" else call.get("kernel_size"))
    stride = pair(call.get("stride") or (1 if call.name == "conv2d" else kernel))
    dilation = (1, 1) if call.name.startswith(("avg", "lp")) else pair(call.get("dilation", 1))
    margins = _leading_padding(call, kernel, dilation)
    return grid_field_map(
        _map_axes(
            fields, lambda axis, field: field.after_window(kernel[axis], stride[axis], dilation[axis], margins[axis])
        ),
        output.shape,
    )


def _leading_padding(call: FunctionCall, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    """The padding in front, vertically and horizontally."""
    padding = 0 if call.name.startswith("lp") else call.get("padding", 0)
    if padding == "same":
        return (dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2)
    return (0, 0) if padding == "valid" else pair(padding)


def _propagate_upsampling(call: FunctionCall, fields: ReceptiveFieldPair, output: Tensor) -> FieldMap:
    sizes = tuple(call.args[0].shape[-2:])
    mode = call.get("mode", "nearest")
    exact = mode in ("nearest", "nearest-exact") or (mode == "bilinear" and not call.get("align_corners"))
    if not exact or any(after % before for after, before in zip(output.shape[-2:], sizes, strict=True)):
        return WHOLE_IMAGE
    scales = [after // before for after, before in zip(output.shape[-2:], sizes, strict=True)]
    kind = "bilinear" if mode == "bilinear" else "nearest"
    return grid_field_map(_map_axes(fields, lambda axis, field: field.after_upsample(scales[axis], kind)), output.shape)


def _map_axes(fields: ReceptiveFieldPair, update: Any) -> ReceptiveFieldPair:
    return update(0, fields[0]), update(1, fields[1])
