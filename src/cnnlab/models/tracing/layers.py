"""Convert a call of a torch function to the layer of a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from cnnlab.architecture.layer import Layer
from cnnlab.architecture.layers import layers
from cnnlab.errors import SpecError
from cnnlab.grammar.calls import Call
from cnnlab.models.tracing.operations import FunctionCall, padding_per_side, pair

Arguments: TypeAlias = dict[str, Any]


def layer_from_call(kind: str, call: FunctionCall, *, padding: Any = None, weightnorm: bool = False) -> Layer | None:
    """The layer of this kind with the call's arguments; None if a table has none such.

    A pool that rounds up becomes one that rounds down, and a norm over channels the norm of its name: a table has no
    argument for the difference.

    Args:
        kind: the name of a layer or of another operation.
        padding: the padding of a convolution, where it is not the call's own (`fold_padding`).
        weightnorm: whether the weight is a length and a direction.
    """
    if kind not in _ARGUMENTS:
        return None
    try:
        arguments = _ARGUMENTS[kind](call)
        if padding is not None:
            arguments["padding"] = padding
        if weightnorm and kind in ("conv", "dense"):
            arguments["weightnorm"] = True
        return layers.read(Call(kind, (), arguments))
    except SpecError:  # a value that tables don't allow
        return None


def fold_padding(call: FunctionCall, pad_call: FunctionCall) -> Any:
    """The padding of a convolution with the `pad` in front of it; None where one argument can't express it."""
    sides = padding_per_side(pad_call)
    own = call.get("padding", 0)
    if call.name != "conv2d" or sides is None or isinstance(own, str) or pad_call.get("mode", "constant") != "constant":
        return None
    if pad_call.get("value") not in (None, 0, 0.0):
        return None
    if all(before == behind >= 0 for before, behind in sides):
        return tuple(before + margin for (before, _), margin in zip(sides, pair(own), strict=True))
    kernel, dilation = pair(tuple(call.weight.shape[2:])), pair(call.get("dilation", 1))
    margins = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
    same = all(side == (margin // 2, margin - margin // 2) for side, margin in zip(sides, margins, strict=True))
    return "same" if same and pair(own) == (0, 0) and pair(call.get("stride", 1)) == (1, 1) else None


def _convolution(call: FunctionCall) -> Arguments:
    weight, padding = tuple(call.weight.shape), call.get("padding", 0)
    groups = int(call.get("groups", 1))
    depthwise = {"multiplier": weight[0] // groups}
    return {
        "kernel": weight[2:],
        "stride": pair(call.get("stride", 1)),
        "padding": padding if padding == "same" else (0, 0) if padding == "valid" else pair(padding),
        "dilation": pair(call.get("dilation", 1)),
        "bias": call.get("bias") is not None,
        **(depthwise if call.kind == "depthwise" else {"filters": weight[0], "groups": groups}),
    }


def _dense(call: FunctionCall) -> Arguments:
    return {"units": int(call.weight.shape[0]), "bias": call.get("bias") is not None}


def _pool(call: FunctionCall) -> Arguments:
    spread = pair(call.get("dilation", 1)) if call.name.startswith("max") else (1, 1)
    size = pair(call.get("kernel_size"))
    kernel = tuple(step * (side - 1) + 1 for step, side in zip(spread, size, strict=True))
    stride = pair(call.get("stride") or size)
    return {
        "kernel": kernel,
        "padding": pair(call.get("padding", 0)),
        **({} if stride == kernel else {"stride": stride}),
    }


def _adaptive_pool(call: FunctionCall) -> Arguments:
    wanted = call.get("output_size")
    sides = wanted if isinstance(wanted, list | tuple) else [wanted, wanted]
    kept = [have if side is None else side for side, have in zip(sides, call.args[0].shape[-2:], strict=True)]
    return {"size": pair(kept), "how": "mean" if "avg" in call.name else "max"}


def _upsample(call: FunctionCall) -> Arguments:
    sides, size, scale = call.args[0].shape[-2:], call.get("size"), call.get("scale_factor")
    if size is not None:
        scale = [after / before for after, before in zip(pair(size), sides, strict=True)]
    scales = set(scale) if isinstance(scale, list | tuple) else {scale}
    mode = call.get("mode", "nearest")
    if len(scales) > 1 or not float(min(scales)).is_integer() or (mode == "bilinear" and call.get("align_corners")):
        raise SpecError("a table enlarges by one whole number")
    return {"scale": int(min(scales)), "mode": mode}


def _norm(call: FunctionCall) -> Arguments:
    return {"eps": float(call.get("eps", 1e-5)), "affine": call.get("weight") is not None}


def _batchnorm(call: FunctionCall) -> Arguments:
    momentum = call.get("momentum")
    return {**_norm(call), **({} if momentum is None else {"momentum": float(momentum)})}


def _same_arguments(**names: str) -> Callable[[FunctionCall], Arguments]:
    """A reader of arguments that have other names in torch; defaults are the same."""

    def read(call: FunctionCall) -> Arguments:
        found = {ours: call.get(theirs) for ours, theirs in names.items()}
        return {ours: value for ours, value in found.items() if value is not None}

    return read


_ARGUMENTS: dict[str, Callable[[FunctionCall], Arguments]] = {
    "conv": _convolution,
    "depthwise": _convolution,
    "dense": _dense,
    "maxpool": _pool,
    "avgpool": _pool,
    "globalpool": lambda call: {"how": "mean" if call.name == "mean" else "max"},
    "adaptivepool": _adaptive_pool,
    "upsample": _upsample,
    "flatten": _same_arguments(),
    "batchnorm": _batchnorm,
    "layernorm": _norm,
    "groupnorm": lambda call: {"groups": call.get("num_groups"), **_norm(call)},
    "lrn": _same_arguments(size="size", alpha="alpha", beta="beta", k="k"),
    "dropout": _same_arguments(rate="p"),
    "dropout2d": _same_arguments(rate="p"),
    "relu": _same_arguments(),
    "leaky_relu": _same_arguments(slope="negative_slope"),
    "elu": _same_arguments(alpha="alpha"),
    "gelu": _same_arguments(),
    "silu": _same_arguments(),
    "tanh": _same_arguments(),
    "sigmoid": _same_arguments(),
    "softmax": _same_arguments(),
}
