"""The receptive field of a tensor's numbers, propagated through calls of torch functions.

The rules are those of convolutional networks: windows, pointwise functions, sums, concatenations, gates, and views of
the same numbers. Beside its field a tensor has the two axes that are rows and columns. A function that no rule knows,
such as an attention, is taken to see the whole image.

Two things are left out, as published receptive fields leave them out: the statistics of normalisations, and gates,
which multiply a map by what comes from its global mean (squeeze-and-excitation).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from cnnlab.architecture.layer import Pair, ReceptiveFieldPair
from cnnlab.models.tracing.function_call import FunctionCall, padding_per_side, pair
from cnnlab.theory.receptive_field import ReceptiveField1d, widest

# What a function does to the numbers of a tensor; torch tags most pointwise functions itself.
_FUNCTIONS = {
    "view": """view reshape permute transpose swapaxes swapdims movedim moveaxis flatten unflatten squeeze unsqueeze
        expand expand_as broadcast_to chunk split tensor_split unbind getitem select narrow t T mT view_as
        reshape_as""",
    "join": "concatenate cat concat stack",
    "rearrange": "roll flip repeat tile pixel_shuffle pixel_unshuffle channel_shuffle",
    "copy": "contiguous clone detach to float half bfloat16 double type type_as cpu cuda data requires_grad",
    # only a tensor's shape or type is read
    "factory": "new_zeros new_ones new_empty new_full new_tensor zeros_like ones_like empty_like full_like rand_like",
    "pointwise": """relu6 dropout dropout2d dropout1d dropout3d alpha_dropout feature_alpha_dropout softsign softplus
        logsigmoid prelu rrelu celu selu tanhshrink softshrink hardshrink hardtanh iadd imul isub itruediv radd rmul
        rsub rtruediv truediv rdiv neg pow rpow ipow abs pos gt lt ge le eq ne batch_norm layer_norm group_norm
        instance_norm local_response_norm rms_norm where lerp hardswish hardsigmoid mish""",
    "window": "conv2d max_pool2d max_pool2d_with_indices avg_pool2d pad interpolate",
    "reduction": "mean sum amax amin std var norm logsumexp adaptive_avg_pool2d adaptive_max_pool2d",
}
_GROUPS = {name: group for group, names in _FUNCTIONS.items() for name in names.split()}


def function_group(name: str) -> str:
    """What a function does to the numbers of a tensor; "" where it is not known."""
    return _GROUPS.get(name) or ("pointwise" if _is_pointwise(name) else "")


def is_rearrangement(name: str) -> bool:
    """Whether a function keeps each number as it is, and moves, repeats or drops it."""
    return _GROUPS.get(name) in ("view", "join", "rearrange")


@dataclass(frozen=True)
class TensorField:
    """What the numbers of a tensor see of the image.

    Attributes:
        fields: vertical and horizontal receptive field; None where each number sees the whole image.
        axes: the axes of rows and columns; None where positions have been mixed with other axes, as by flattening.
        is_pooled: whether all comes from a global pool, so that it is the same at all positions.
    """

    fields: ReceptiveFieldPair | None
    axes: Pair | None = None
    is_pooled: bool = False


IMAGE_FIELD = TensorField((ReceptiveField1d(), ReceptiveField1d()), (2, 3))
WHOLE_IMAGE = TensorField(None)
GLOBAL_POOL = TensorField(None, is_pooled=True)


def propagate(call: FunctionCall, fields: dict[int, TensorField], outputs: Sequence[Tensor]) -> list[TensorField]:
    """The fields of the outputs of a call.

    Args:
        fields: those of its tensors that depend on the image, by their `id`.
    """
    group = function_group(call.name)
    if group in ("view", "rearrange"):  # a second tensor only lends its shape
        fields = {key: field for key, field in fields.items() if key == id(call.args[0])} or fields
    every = list(fields.values())
    known = [field for field in every if field.fields is not None]
    if not known:
        return [GLOBAL_POOL if all(field.is_pooled for field in every) else WHOLE_IMAGE] * len(outputs)
    is_gate = call.kind == "multiply" and all(field.is_pooled or field.fields for field in every)
    if len(known) < len(every) and not is_gate:
        return [WHOLE_IMAGE] * len(outputs)
    if group == "copy" or call.is_empty_pad:
        return [every[0]] * len(outputs)
    if group == "view":
        return _through_view(call, known[0], outputs)
    field = _computed_field(call, group, fields, known, outputs[0])
    return [field if output.shape == outputs[0].shape else WHOLE_IMAGE for output in outputs]


def _computed_field(
    call: FunctionCall, group: str, fields: dict[int, TensorField], known: list[TensorField], output: Tensor
) -> TensorField:
    """The field of the first output of a call that computes something or joins tensors."""
    if call.name in ("cat", "concat", "concatenate"):
        return _joined(call, known)
    if group == "pointwise":
        return _combined(call, fields, output)
    first = fields.get(id(call.args[0])) if call.args else None
    if first is None or first.axes is None or len(fields) > 1:
        return WHOLE_IMAGE
    if group == "window":
        return _through_window(call, first, output)
    if call.name == "linear" and output.ndim - 1 not in first.axes:
        return first
    if group == "reduction":
        is_global = tuple(output.shape[-2:]) == (1, 1) if "pool" in call.name else set(call.dims()) >= set(first.axes)
        return GLOBAL_POOL if is_global else WHOLE_IMAGE
    return WHOLE_IMAGE


@cache
def _is_pointwise(name: str) -> bool:
    """Whether torch itself tags a function as pointwise."""
    packet = getattr(torch.ops.aten, name, None)
    overloads = packet.overloads() if packet is not None else []
    return any(torch.Tag.pointwise in getattr(packet, overload).tags for overload in overloads)


def _combined(call: FunctionCall, fields: dict[int, TensorField], output: Tensor) -> TensorField:
    """Tensors combined position by position: the widest field, where rows and columns are the same axes."""
    tensors = [tensor for tensor in (*call.args, *call.kwargs.values()) if isinstance(tensor, Tensor)]
    known = [(tensor, field) for tensor in tensors if (field := fields.get(id(tensor))) is not None and field.fields]
    axes = {_axes_in_output(tensor, field, output) for tensor, field in known}
    if len(axes) != 1:
        return WHOLE_IMAGE
    return TensorField(_widest_fields([field for _, field in known]), axes.pop())


def _axes_in_output(tensor: Tensor, field: TensorField, output: Tensor) -> Pair | None:
    """The axes of rows and columns after broadcasting, which aligns axes at the last one."""
    if field.axes is None:
        return None
    added = output.ndim - tensor.ndim
    rows, columns = field.axes[0] + added, field.axes[1] + added
    is_whole = (output.shape[rows], output.shape[columns]) == tuple(tensor.shape[axis] for axis in field.axes)
    return (rows, columns) if is_whole else None


def _joined(call: FunctionCall, known: Sequence[TensorField]) -> TensorField:
    """Concatenated tensors: the widest field, unless they are joined along rows or columns."""
    axes = {field.axes for field in known}
    axis = call.get("dim", call.kwargs.get("axis", 0)) % call.args[0][0].ndim
    if len(axes) != 1 or axis in (known[0].axes or ()):
        return WHOLE_IMAGE
    return TensorField(_widest_fields(known), known[0].axes)


def _widest_fields(known: Sequence[TensorField]) -> ReceptiveFieldPair:
    found = [field.fields for field in known if field.fields is not None]
    return widest([fields[0] for fields in found]), widest([fields[1] for fields in found])


def _through_view(call: FunctionCall, field: TensorField, outputs: Sequence[Tensor]) -> list[TensorField]:
    """The call is repeated on a marker whose strides are 1 along rows, or columns, and 0 along every other axis.

    So the strides of its output show the axis of rows, whatever the function is, and which rows it leaves out.
    """
    if field.axes is None:
        return [field] * len(outputs)
    try:
        sides = [_replayed(call, axis, outputs) for axis in field.axes]
    except (RuntimeError, NotImplementedError, TypeError, IndexError, ValueError):  # rows were merged with another axis
        return [replace(field, axes=None)] * len(outputs)
    return [_marked(field, markers) for markers in zip(*sides, strict=True)]


def _replayed(call: FunctionCall, axis: int, outputs: Sequence[Tensor]) -> list[Tensor]:
    shape = tuple(call.args[0].shape)
    marker = torch.empty_strided(shape, tuple(int(number == axis) for number in range(len(shape))), device="meta")
    if call.name in ("reshape", "flatten"):  # one that can't be a view would copy, and lose the strides
        return [marker.view(outputs[0].shape)]
    result = call.function(marker, *call.args[1:], **call.kwargs)
    return [result] if isinstance(result, Tensor) else list(result)


def _marked(field: TensorField, markers: Sequence[Tensor]) -> TensorField:
    """The field of an output, by its markers of rows and of columns."""
    assert field.fields is not None
    found: list[tuple[int, ReceptiveField1d]] = []
    for marker, one in zip(markers, field.fields, strict=True):
        axes = [axis for axis, stride in enumerate(marker.stride()) if stride]
        if len(axes) != 1:
            return replace(field, axes=None)
        if marker.storage_offset():  # a part of the rows, which others may be combined with
            return WHOLE_IMAGE
        step = marker.stride(axes[0])
        found.append((axes[0], one if step == 1 else one.after_window(1, step)))
    (rows, vertical), (columns, horizontal) = found
    return TensorField((vertical, horizontal), (rows, columns))


def _through_window(call: FunctionCall, field: TensorField, output: Tensor) -> TensorField:
    """A sliding window, a margin or an enlargement: N×C×H×W to N×C×H×W."""
    if field.fields is None or field.axes != (2, 3) or output.ndim != 4:
        return WHOLE_IMAGE
    update = {"pad": _padding, "interpolate": _upsampling}.get(call.name, _window)(call, output)
    if update is None:
        return WHOLE_IMAGE
    return replace(field, fields=(update(0, field.fields[0]), update(1, field.fields[1])))


_FieldUpdate = Callable[[int, ReceptiveField1d], ReceptiveField1d]


def _padding(call: FunctionCall, _output: Tensor) -> _FieldUpdate | None:
    sides = padding_per_side(call)
    return None if sides is None else lambda axis, field: field.after_window(1, padding=sides[axis][0])


def _upsampling(call: FunctionCall, output: Tensor) -> _FieldUpdate | None:
    sizes = tuple(call.args[0].shape[-2:])
    mode = call.get("mode", "nearest")
    exact = mode in ("nearest", "nearest-exact") or (mode == "bilinear" and not call.get("align_corners"))
    if not exact or any(after % before for after, before in zip(output.shape[-2:], sizes, strict=True)):
        return None
    scales = [after // before for after, before in zip(output.shape[-2:], sizes, strict=True)]
    kind: Any = "bilinear" if mode == "bilinear" else "nearest"
    return lambda axis, field: field.after_upsample(scales[axis], kind)


def _window(call: FunctionCall, _output: Tensor) -> _FieldUpdate:
    kernel = pair(tuple(call.weight.shape[2:]) if call.name == "conv2d" else call.get("kernel_size"))
    stride = pair(call.get("stride") or (1 if call.name == "conv2d" else kernel))
    dilation = pair(call.get("dilation", 1))
    padding = call.get("padding", 0)
    if padding == "same":
        before = (dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2)
    else:
        before = (0, 0) if padding == "valid" else pair(padding)
    return lambda axis, field: field.after_window(kernel[axis], stride[axis], dilation[axis], before[axis])
