"""The receptive field of a tensor's numbers, propagated through calls of torch functions.

The rules are those of convolutional networks: windows, pointwise functions, sums, concatenations, gates, and views of
the same numbers. Any other function, such as an attention, is taken to see the whole image.

Two things are left out, as published receptive fields leave them out: the statistics of normalisations, and gates,
which multiply a map by one number for each channel (squeeze-and-excitation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor

from cnnlab.architecture.layer import Layer, Pair, ReceptiveFieldPair
from cnnlab.architecture.layers import Upsample
from cnnlab.models.tracing.function_call import FunctionCall
from cnnlab.theory.receptive_field import ReceptiveField1d, widest

# What a function does to the numbers of a tensor; torch tags most pointwise functions itself.
_FUNCTIONS = {
    "view": """view reshape permute transpose flatten unflatten squeeze unsqueeze expand expand_as chunk split getitem
        view_as reshape_as""",
    "join": "concatenate cat concat",
    # these move numbers along the map, or merge its axes with others
    "rearrange": """stack roll flip repeat tile pixel_shuffle pixel_unshuffle channel_shuffle swapaxes swapdims movedim
        moveaxis broadcast_to tensor_split unbind select narrow t T mT""",
    "copy": "contiguous clone detach to float half bfloat16 double type type_as cpu cuda data requires_grad",
    # only a tensor's shape or type is read
    "factory": "new_zeros new_ones new_empty new_full new_tensor zeros_like ones_like empty_like full_like rand_like",
    "pointwise": """relu6 dropout dropout2d dropout1d dropout3d alpha_dropout feature_alpha_dropout softsign softplus
        logsigmoid prelu rrelu celu selu tanhshrink softshrink hardshrink hardtanh iadd imul isub itruediv radd rmul
        rsub rtruediv truediv rdiv neg pow rpow ipow abs pos gt lt ge le eq ne batch_norm layer_norm group_norm
        instance_norm local_response_norm rms_norm where lerp hardswish hardsigmoid mish""",
}
_GROUPS = {name: group for group, names in _FUNCTIONS.items() for name in names.split()}


def function_group(name: str) -> str:
    """What a function does to the numbers of a tensor; "" where it is not known."""
    return _GROUPS.get(name) or ("pointwise" if _is_pointwise(name) else "")


def is_rearrangement(name: str) -> bool:
    """Whether a function keeps each number as it is, and moves, repeats or drops it."""
    return _GROUPS.get(name) in ("view", "join", "rearrange")


@cache
def _is_pointwise(name: str) -> bool:
    """Whether torch itself tags a function as pointwise."""
    packet = getattr(torch.ops.aten, name, None)
    overloads = packet.overloads() if packet is not None else []
    return any(torch.Tag.pointwise in getattr(packet, overload).tags for overload in overloads)


@dataclass(frozen=True)
class TensorField:
    """What the numbers of a tensor see of the image.

    Attributes:
        fields: vertical and horizontal receptive field.
        axes: the axes of rows and columns; None where they have been merged with other axes, as by flattening.
    """

    fields: ReceptiveFieldPair
    axes: Pair | None


IMAGE_FIELD = TensorField((ReceptiveField1d(), ReceptiveField1d()), (2, 3))
# A tensor that depends on the image, with its field; None where each number sees the whole image.
Input: TypeAlias = tuple[Tensor, TensorField | None]


def propagate(call: FunctionCall, layer: Layer | None, inputs: Sequence[Input]) -> list[TensorField | None]:
    """The fields of the outputs of a call; None for the whole image.

    Args:
        layer: the layer that the call is, where a table has one.
        inputs: the call's tensors that depend on the image.
    """
    first, field = inputs[0]
    group = function_group(call.name)
    if group == "copy" or call.is_empty_pad:
        return [field] * len(call.outputs)
    if group == "view":  # a second tensor only lends its shape
        return [_after_view(call, first, field, output) for output in call.outputs]
    if group == "pointwise":
        field = _combined(call, inputs)
    elif group == "join":
        field = _joined(call, inputs)
    elif len(inputs) > 1 or field is None or field.axes is None:
        field = None
    else:
        field = _after_layer(call, layer, field)
    return [field if output.shape == call.output.shape else None for output in call.outputs]


def _after_layer(call: FunctionCall, layer: Layer | None, field: TensorField) -> TensorField | None:
    """A dense layer over channels, a margin, a sliding window, or an enlargement."""
    assert field.axes is not None
    if call.name == "linear":
        return None if call.output.ndim - 1 in field.axes else field
    if field.axes != (2, 3) or call.output.ndim != 4:
        return None
    if call.name == "pad":
        sides = (*call.get("pad", ()), 0, 0, 0)  # left, right, top, …
        vertical, horizontal = field.fields
        return TensorField(
            (vertical.after_window(1, padding=int(sides[2])), horizontal.after_window(1, padding=int(sides[0]))), (2, 3)
        )
    if layer is None or not (layer.window() or isinstance(layer, Upsample)):
        return None
    seen = layer.receptive_field(field.fields)
    return None if seen is None else TensorField(seen, (2, 3))


def _combined(call: FunctionCall, inputs: Sequence[Input]) -> TensorField | None:
    """Tensors combined position by position: the widest field, where rows and columns are the same axes."""
    known = [(tensor, field) for tensor, field in inputs if field is not None]
    axes = {_axes_in_output(tensor, field, call.output) for tensor, field in known}
    if len(axes) != 1:
        return None
    common = axes.pop()
    for tensor, field in inputs:
        if field is None and not (call.kind == "multiply" and _is_gate(tensor, common, call.output)):
            return None
    return TensorField(_widest_fields([field for _, field in known]), common)


def _axes_in_output(tensor: Tensor, field: TensorField, output: Tensor) -> Pair | None:
    """The axes of rows and columns after broadcasting, which aligns axes at the last one."""
    if field.axes is None:
        return None
    added = output.ndim - tensor.ndim
    rows, columns = field.axes[0] + added, field.axes[1] + added
    is_whole = (output.shape[rows], output.shape[columns]) == tuple(tensor.shape[axis] for axis in field.axes)
    return (rows, columns) if is_whole else None


def _is_gate(tensor: Tensor, axes: Pair | None, output: Tensor) -> bool:
    """Whether a tensor has the same numbers at all positions of a map."""
    gate = tensor.expand(output.shape)
    return axes is not None and all(gate.stride(axis) == 0 or gate.shape[axis] == 1 for axis in axes)


def _joined(call: FunctionCall, inputs: Sequence[Input]) -> TensorField | None:
    """Concatenated tensors: the widest field, unless they are joined along rows or columns."""
    known = [field for _, field in inputs if field is not None]
    axis = int(call.get("dim", call.kwargs.get("axis", 0))) % call.output.ndim
    if len(known) < len(inputs) or len({field.axes for field in known}) != 1 or axis in (known[0].axes or ()):
        return None
    return TensorField(_widest_fields(known), known[0].axes)


def _widest_fields(known: Sequence[TensorField]) -> ReceptiveFieldPair:
    return widest([field.fields[0] for field in known]), widest([field.fields[1] for field in known])


def _after_view(call: FunctionCall, source: Tensor, field: TensorField | None, output: Tensor) -> TensorField | None:
    """The axes of rows and columns after a view; None where it takes a part of them, which others may be added to."""
    if field is None or field.axes is None:
        return field
    if call.name in ("permute", "transpose"):
        order = _order_of_axes(call, source.ndim)
        return replace(field, axes=(order.index(field.axes[0]), order.index(field.axes[1])))
    if call.name == "getitem":
        return _after_slices(call.args[1], source, field, output)
    rows, columns = field.axes
    added = output.ndim - source.ndim
    # Numbers keep their order in a view: an axis is the same if all axes before it, or all after it, have equal sizes.
    if added + rows >= 0 and output.shape[rows + added :] == source.shape[rows:]:
        return replace(field, axes=(rows + added, columns + added))
    if output.shape[: columns + 1] == source.shape[: columns + 1]:
        return field
    return replace(field, axes=None) if output.numel() == source.numel() else None


def _order_of_axes(call: FunctionCall, count: int) -> list[int]:
    """For each axis of a permuted tensor the axis that it was."""
    given = (*call.args[1:], *call.kwargs.values())
    axes = [axis % count for axis in (given[0] if isinstance(given[0], Sequence) else given)]
    if call.name == "permute":
        return axes
    order = list(range(count))
    order[axes[0]], order[axes[1]] = axes[1], axes[0]
    return order


def _after_slices(index: Any, source: Tensor, field: TensorField, output: Tensor) -> TensorField | None:
    """Slices that take all rows and columns, or every second, third, … from the first on."""
    slices = index if isinstance(index, tuple) else (index,)
    if field.axes is None or not all(isinstance(part, slice) for part in slices):
        return None
    seen = []
    for axis, one in zip(field.axes, field.fields, strict=True):
        part = slices[axis] if axis < len(slices) else slice(None)
        step = part.step or 1
        if part.start or output.shape[axis] != -(-source.shape[axis] // step):
            return None
        seen.append(one if step == 1 else one.after_window(1, step))
    return TensorField((seen[0], seen[1]), field.axes)
