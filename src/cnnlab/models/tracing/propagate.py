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

from cnnlab.architecture.layer import Fields
from cnnlab.models.tracing.field_map import POOLED, WHOLE, Place, ends, equal, fields_on_grid, is_grid, on_grid, settled
from cnnlab.models.tracing.operations import Operation, pair, sides_padded
from cnnlab.theory.receptive_field import widest

# They keep each number as it is, and put it elsewhere or nowhere.
MOVES = frozenset(
    """
    view reshape permute transpose swapaxes swapdims movedim moveaxis flatten unflatten squeeze unsqueeze expand
    expand_as broadcast_to chunk split tensor_split unbind getitem select narrow t T mT roll flip repeat tile view_as
    reshape_as pixel_shuffle pixel_unshuffle channel_shuffle concatenate cat concat stack
    """.split()  # noqa: SIM905
)
# They give the numbers as they are.
COPIES = frozenset(
    "contiguous clone detach to float half bfloat16 double type type_as cpu cuda data requires_grad".split()  # noqa: SIM905
)
# They ask a tensor for its shape or kind only.
MADE_NEW = frozenset(
    "new_zeros new_ones new_empty new_full new_tensor zeros_like ones_like empty_like full_like rand_like".split()  # noqa: SIM905
)
# Each number by itself, or with others of its place; torch marks most functions of the first sort itself.
_IN_PLACE = frozenset(
    """
    relu6 dropout dropout2d dropout1d dropout3d alpha_dropout feature_alpha_dropout softsign softplus logsigmoid prelu
    rrelu celu selu tanhshrink softshrink hardshrink hardtanh iadd imul isub itruediv radd rmul rsub rtruediv truediv
    rdiv neg pow rpow ipow abs pos gt lt ge le eq ne batch_norm layer_norm group_norm instance_norm local_response_norm
    rms_norm where lerp hardswish hardsigmoid mish
    """.split()  # noqa: SIM905
)
_REDUCTIONS = frozenset("mean sum amax amin std var norm logsumexp prod std_mean var_mean".split())  # noqa: SIM905
_MIXING_ONE_AXIS = frozenset("softmax log_softmax softmin cumsum cumprod normalize sort".split())  # noqa: SIM905
_WINDOWS = frozenset(("conv2d", "max_pool2d", "max_pool2d_with_indices", "avg_pool2d", "lp_pool2d"))
_TRIED = (RuntimeError, NotImplementedError, TypeError, IndexError, ValueError)


def follow(call: Operation, tracked: dict[int, Place], outputs: Sequence[Tensor]) -> list[Place]:
    """Where the outputs of a call stand.

    Args:
        tracked: the places of those of its tensors that depend on the image, by their `id`.
    """
    if call.name in MOVES and call.word not in ("concatenate", "stack"):  # a second tensor only lends its shape
        tracked = {key: place for key, place in tracked.items() if key == id(call.args[0])} or tracked
    places = list(tracked.values())
    seeing = [place for place in places if place.fields is not None]
    if not seeing:
        return [POOLED if all(place.pooled for place in places) else WHOLE] * len(outputs)
    if len(seeing) < len(places) and (call.word != "multiply" or not all(p.pooled or p.fields for p in places)):
        return [WHOLE] * len(outputs)
    if call.name in COPIES or call.pads_nothing:
        return [places[0]] * len(outputs)
    if call.name in MOVES:
        return _moved(call, tracked, outputs)
    one = _one(call, tracked, seeing, outputs[0])
    return [one if output.shape == outputs[0].shape else WHOLE for output in outputs]


def _one(call: Operation, tracked: dict[int, Place], seeing: list[Place], output: Tensor) -> Place:
    """The place of the one output of a call that computes something."""
    first = tracked.get(id(call.args[0])) if call.args else None
    if call.name in _WINDOWS or call.name in ("pad", "interpolate"):
        return WHOLE if first is None or len(tracked) > 1 else _slid(call, first, output)
    if call.name == "linear":
        tokens = first is not None and len(tracked) == 1 and output.ndim > 2  # else a vector: all of the image
        return _without_mixing(first, (-1,), output.shape) if first is not None and tokens else WHOLE
    if call.name.startswith("adaptive_"):
        return POOLED if tuple(output.shape[-2:]) == (1, 1) else WHOLE
    if call.name in _REDUCTIONS:
        return WHOLE if first is None else _reduced(call, first, output)
    if call.name == "softmax" and output.ndim == 2:  # a norm, as tables have it
        return seeing[0]
    if call.name in _MIXING_ONE_AXIS:
        told = call.get("dim", call.kwargs.get("axis")) is not None
        axes = call.dimensions() if told else (-1 if call.name == "sort" else 1,)
        return WHOLE if first is None else _without_mixing(first, axes, output.shape)
    if call.name in _IN_PLACE or _is_pointwise(call.name):
        return _together(seeing, output)
    return WHOLE


@lru_cache(maxsize=512)
def _is_pointwise(name: str) -> bool:
    """Whether torch itself says that a function works on each number alone."""
    packet = getattr(torch.ops.aten, name, None)
    overloads = packet.overloads() if packet is not None else []
    return any(torch.Tag.pointwise in getattr(packet, overload).tags for overload in overloads)


def _together(seeing: Sequence[Place], output: Tensor) -> Place:
    """Numbers that are put together place by place: the widest view, where the places agree."""
    first = max(seeing, key=lambda place: 0 if place.rows is None else place.rows.numel())
    try:
        maps = [_broadcast(place, output.shape) for place in seeing]
    except _TRIED:
        return WHOLE
    rows, columns = _broadcast(first, output.shape)
    for other_rows, other_columns in maps:
        if not equal(rows, other_rows) or not equal(columns, other_columns):
            return WHOLE
    return Place(_widest(seeing), rows, columns)


def _broadcast(place: Place, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    assert place.rows is not None
    assert place.columns is not None
    if place.rows.shape == shape:
        return place.rows, place.columns
    return place.rows.broadcast_to(shape), place.columns.broadcast_to(shape)


def _widest(places: Sequence[Place]) -> Fields:
    found = [place.fields for place in places if place.fields is not None]
    return widest([fields[0] for fields in found]), widest([fields[1] for fields in found])


def _moved(call: Operation, tracked: dict[int, Place], outputs: Sequence[Tensor]) -> list[Place]:
    """The same call on the maps."""
    seeing = list(tracked.values())
    if call.word == "concatenate" and outputs[0].ndim == 4 and _joins_channels(call, tracked):
        return [on_grid(_widest(seeing), outputs[0].shape)]
    # A view of the tensor need not be one of its map, whose numbers share memory.
    move = torch.reshape if call.name == "view" else call.function
    if call.name == "view" and not isinstance(call.args[1], list | tuple):
        call = replace(call, args=(call.args[0], call.args[1:]))
    try:
        maps = [
            _as_list(move(*_swap(call.args, tracked, side), **_swap(call.kwargs, tracked, side)))
            for side in ("rows", "columns")
        ]
    except _TRIED:
        return [WHOLE] * len(outputs)
    fields = _widest(seeing)
    return [
        settled(fields, rows, columns) if rows.shape == output.shape else WHOLE
        for rows, columns, output in zip(*maps, outputs, strict=True)
    ]


def _joins_channels(call: Operation, tracked: dict[int, Place]) -> bool:
    """Whether whole maps are put behind one another: the common case, for which no map needs to be made."""
    maps = [tracked.get(id(tensor)) for tensor in call.args[0]]
    return call.get("dim", 0) in (1, -3) and all(
        place is not None and place.rows is not None and is_grid(place.rows) for place in maps
    )


def _swap(value: Any, tracked: dict[int, Place], side: str) -> Any:
    """An argument with each tensor's map in its stead; what does not depend on the image stands at the first place."""
    if isinstance(value, Tensor):
        place = tracked.get(id(value))
        return torch.zeros((), dtype=torch.int32).expand(value.shape) if place is None else getattr(place, side)
    if isinstance(value, dict):
        return {key: _swap(item, tracked, side) for key, item in value.items()}
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return type(value)(_swap(item, tracked, side) for item in value)
    return value


def _as_list(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


def _without_mixing(place: Place, axes: Sequence[int], shape: Sequence[int]) -> Place:
    """The place of numbers that are made of all those along these axes: kept where these are of one place."""
    assert place.rows is not None
    assert place.columns is not None
    maps = []
    for side in (place.rows, place.columns):
        low, high = ends(side, axes)
        if not equal(low, high):
            return WHOLE
        maps.append(low.expand(shape))
    return Place(place.fields, maps[0], maps[1])


def _reduced(call: Operation, place: Place, output: Tensor) -> Place:
    axes = call.dimensions()
    if call.is_global and _covers(place, axes):
        return POOLED
    kept = [1 if axis in axes else size for axis, size in enumerate(call.args[0].shape)]
    within = _without_mixing(place, axes, kept)
    if within.rows is None or within.columns is None:
        return POOLED if _covers(place, axes) else WHOLE
    return replace(within, rows=within.rows.reshape(output.shape), columns=within.columns.reshape(output.shape))


def _covers(place: Place, axes: Sequence[int]) -> bool:
    """Whether all places of the map lie along these axes."""
    for side in (place.rows, place.columns):
        assert side is not None
        low, high = ends(side, axes)
        if bool((low != side.min()).any() or (high != side.max()).any()):
            return False
    return True


def _slid(call: Operation, place: Place, output: Tensor) -> Place:
    """After a window that slides, a margin, or an enlargement: N×C×H×W to N×C×H×W."""
    fields = fields_on_grid(place)
    if fields is None or output.ndim != 4:
        return WHOLE
    if call.name == "pad":
        sides = sides_padded(call)
        if sides is None:
            return WHOLE
        return on_grid(_each(fields, lambda axis, field: field.through(1, padding=sides[axis][0])), output.shape)
    if call.name == "interpolate":
        return _enlarged(call, fields, output)
    kernel = pair(tuple(call.weight.shape[2:]) if call.name == "conv2d" else call.get("kernel_size"))
    stride = pair(call.get("stride") or (1 if call.name == "conv2d" else kernel))
    dilation = (1, 1) if call.name.startswith(("avg", "lp")) else pair(call.get("dilation", 1))
    margins = _margins(call, kernel, dilation)
    return on_grid(
        _each(fields, lambda axis, field: field.through(kernel[axis], stride[axis], dilation[axis], margins[axis])),
        output.shape,
    )


def _margins(call: Operation, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    """The padding in front, vertically and horizontally."""
    padding = 0 if call.name.startswith("lp") else call.get("padding", 0)
    if padding == "same":
        return (dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2)
    return (0, 0) if padding == "valid" else pair(padding)


def _enlarged(call: Operation, fields: Fields, output: Tensor) -> Place:
    sizes = tuple(call.args[0].shape[-2:])
    mode = call.get("mode", "nearest")
    exact = mode in ("nearest", "nearest-exact") or (mode == "bilinear" and not call.get("align_corners"))
    if not exact or any(after % before for after, before in zip(output.shape[-2:], sizes, strict=True)):
        return WHOLE
    scales = [after // before for after, before in zip(output.shape[-2:], sizes, strict=True)]
    kind = "bilinear" if mode == "bilinear" else "nearest"
    return on_grid(_each(fields, lambda axis, field: field.enlarged(scales[axis], kind)), output.shape)


def _each(fields: Fields, step: Any) -> Fields:
    return step(0, fields[0]), step(1, fields[1])
