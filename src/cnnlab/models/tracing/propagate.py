"""The receptive field of a tensor's numbers, propagated through calls of torch functions.

The rules are those of convolutional networks: windows, pointwise functions, sums, concatenations, gates, and whatever
moves whole axes. Beside its field a tensor has the two axes that are rows and columns. A function that no rule knows,
such as an attention, is taken to see the whole image.

Two things are left out, as published receptive fields leave them out: the statistics of normalisations, and gates,
which multiply a map by what comes from its global mean (squeeze-and-excitation).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from cnnlab.architecture.layer import Pair, ReceptiveFieldPair
from cnnlab.models.tracing.function_call import FunctionCall, padding_per_side, pair
from cnnlab.theory.receptive_field import ReceptiveField1d, widest

# They give another view of the same numbers.
_VIEW_FUNCTIONS = frozenset(
    """
    view reshape permute transpose swapaxes swapdims movedim moveaxis flatten unflatten squeeze unsqueeze expand
    expand_as broadcast_to chunk split tensor_split unbind getitem select narrow t T mT view_as reshape_as
    """.split()  # noqa: SIM905
)
_JOINING_FUNCTIONS = frozenset(("concatenate", "cat", "concat", "stack"))
# They keep each number as it is, and move, repeat or drop it.
REARRANGING_FUNCTIONS = (
    _VIEW_FUNCTIONS
    | _JOINING_FUNCTIONS
    | frozenset(("roll", "flip", "repeat", "tile", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"))
)
# They give the numbers as they are.
COPYING_FUNCTIONS = frozenset(
    "contiguous clone detach to float half bfloat16 double type type_as cpu cuda data requires_grad".split()  # noqa: SIM905
)
# They read only a tensor's shape or type.
FACTORY_FUNCTIONS = frozenset(
    "new_zeros new_ones new_empty new_full new_tensor zeros_like ones_like empty_like full_like rand_like".split()  # noqa: SIM905
)
# They combine numbers of one position; torch tags most functions of single numbers itself.
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
    if call.name in REARRANGING_FUNCTIONS - _JOINING_FUNCTIONS:  # a second tensor only lends its shape
        fields = {key: field for key, field in fields.items() if key == id(call.args[0])} or fields
    every = list(fields.values())
    known = [field for field in every if field.fields is not None]
    if not known:
        return [GLOBAL_POOL if all(field.is_pooled for field in every) else WHOLE_IMAGE] * len(outputs)
    is_gate = call.kind == "multiply" and all(field.is_pooled or field.fields for field in every)
    if len(known) < len(every) and not is_gate:
        return [WHOLE_IMAGE] * len(outputs)
    if call.name in COPYING_FUNCTIONS or call.is_empty_pad:
        return [every[0]] * len(outputs)
    if call.name in _VIEW_FUNCTIONS:
        return _through_view(call, known[0], outputs)
    one = _through_computation(call, fields, known, outputs[0])
    return [one if output.shape == outputs[0].shape else WHOLE_IMAGE for output in outputs]


def _through_computation(
    call: FunctionCall, fields: dict[int, TensorField], known: list[TensorField], output: Tensor
) -> TensorField:
    """The field of the first output of a call that computes something or joins tensors."""
    first = fields.get(id(call.args[0])) if call.args else None
    if call.name in _JOINING_FUNCTIONS:
        return _joined(call, known)
    if call.name in _POINTWISE_FUNCTIONS or _is_pointwise(call.name):
        return _combined(call, fields, output)
    if call.name == "softmax" and output.ndim == 2:  # a norm, as tables have it
        return known[0]
    if first is None or first.axes is None or len(fields) > 1:
        return WHOLE_IMAGE
    if call.name in _WINDOW_FUNCTIONS or call.name in ("pad", "interpolate"):
        return _through_window(call, first, output)
    if call.name == "linear":
        return WHOLE_IMAGE if output.ndim - 1 in first.axes else first
    if call.name.startswith("adaptive_"):
        return GLOBAL_POOL if tuple(output.shape[-2:]) == (1, 1) else WHOLE_IMAGE
    if call.name in _REDUCTION_FUNCTIONS:
        return _reduced(call, first, output)
    if call.name in _SINGLE_AXIS_FUNCTIONS:
        has_dim = call.get("dim", call.kwargs.get("axis")) is not None
        axes = call.dims() if has_dim else (output.ndim - 1 if call.name == "sort" else 1,)
        return WHOLE_IMAGE if set(axes) & set(first.axes) else first
    return WHOLE_IMAGE


@lru_cache(maxsize=512)
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
    behind = output.ndim - tensor.ndim
    rows, columns = field.axes[0] + behind, field.axes[1] + behind
    is_whole = (output.shape[rows], output.shape[columns]) == tuple(tensor.shape[axis] for axis in field.axes)
    return (rows, columns) if is_whole else None


def _joined(call: FunctionCall, known: Sequence[TensorField]) -> TensorField:
    """Tensors put behind one another: the widest field, unless they are joined along rows or columns."""
    axes = {field.axes for field in known}
    if len(axes) != 1:
        return WHOLE_IMAGE
    found = axes.pop()
    if found is None:
        return TensorField(_widest_fields(known))
    tensors = call.args[0]
    is_new = call.name == "stack"
    axis = call.get("dim", call.kwargs.get("axis", 0)) % (tensors[0].ndim + is_new)
    if is_new:
        found = (found[0] + (axis <= found[0]), found[1] + (axis <= found[1]))
    return WHOLE_IMAGE if axis in found else TensorField(_widest_fields(known), found)


def _widest_fields(known: Sequence[TensorField]) -> ReceptiveFieldPair:
    found = [field.fields for field in known if field.fields is not None]
    return widest([fields[0] for fields in found]), widest([fields[1] for fields in found])


def _reduced(call: FunctionCall, field: TensorField, output: Tensor) -> TensorField:
    """A reduction over rows and columns is a global pool; one over neither keeps the field."""
    assert field.axes is not None
    gone = set(call.dims())
    if gone >= set(field.axes):
        return GLOBAL_POOL
    if gone & set(field.axes):
        return WHOLE_IMAGE
    if output.ndim == call.args[0].ndim:
        return field
    rows, columns = (axis - sum(one < axis for one in gone) for axis in field.axes)
    return replace(field, axes=(rows, columns))


def _through_view(call: FunctionCall, field: TensorField, outputs: Sequence[Tensor]) -> list[TensorField]:
    """The call is repeated on a marker whose strides are 1 along rows, or columns, and 0 along every other axis.

    So the strides of its output show the axis of rows, whatever the function is, and which rows it leaves out.
    """
    if field.axes is None:
        return [field] * len(outputs)
    try:
        sides = [_replayed(call, axis) for axis in field.axes]
    except _REPLAY_ERRORS:  # rows were merged with another axis
        return [replace(field, axes=None)] * len(outputs)
    return [_marked(field, markers) for markers in zip(*sides, strict=True)]


def _replayed(call: FunctionCall, axis: int) -> list[Tensor]:
    shape = tuple(call.args[0].shape)
    marker = torch.empty_strided(shape, tuple(int(number == axis) for number in range(len(shape))), device="meta")
    # A reshape that can't be a view would copy, and lose the strides.
    function = torch.Tensor.view if call.name in ("reshape", "flatten") else call.function
    arguments = call.args[1:]
    if call.name == "flatten":
        arguments = (_flattened(shape, *arguments, **call.kwargs),)
        return [function(marker, *arguments)]
    result = function(marker, *arguments, **call.kwargs)
    return [result] if isinstance(result, Tensor) else list(result)


def _flattened(shape: Sequence[int], start_dim: int = 0, end_dim: int = -1) -> list[int]:
    end = end_dim % len(shape)
    return [*shape[:start_dim], -1, *shape[end + 1 :]]


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
    dilation = (1, 1) if call.name.startswith(("avg", "lp")) else pair(call.get("dilation", 1))
    padding = 0 if call.name.startswith("lp") else call.get("padding", 0)
    if padding == "same":
        before = (dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2)
    else:
        before = (0, 0) if padding == "valid" else pair(padding)
    return lambda axis, field: field.after_window(kernel[axis], stride[axis], dilation[axis], before[axis])
