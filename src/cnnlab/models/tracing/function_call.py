"""A call of a torch function: its kind, its arguments by name, its cost, and the layer of a table that it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

from torch import Tensor

from cnnlab.architecture.layer import Layer, Pair, Shape, macs_formula
from cnnlab.architecture.layers import layers
from cnnlab.errors import SpecError
from cnnlab.grammar.calls import Call

# Names of Python's and torch's functions that are another one's or a layer's.
_KINDS = {
    "iadd": "add", "radd": "add", "sub": "subtract", "isub": "subtract", "rsub": "subtract", "mul": "multiply",
    "imul": "multiply", "rmul": "multiply", "div": "divide", "truediv": "divide", "itruediv": "divide",
    "rtruediv": "divide", "true_divide": "divide", "cat": "concatenate", "concat": "concatenate", "bmm": "matmul",
    "imatmul": "matmul", "rmatmul": "matmul", "mm": "matmul", "scaled_dot_product_attention": "attention",
    "multi_head_attention_forward": "attention", "linear": "dense", "batch_norm": "batchnorm",
    "layer_norm": "layernorm", "group_norm": "groupnorm", "local_response_norm": "lrn", "max_pool2d": "maxpool",
    "max_pool2d_with_indices": "maxpool", "avg_pool2d": "avgpool", "adaptive_avg_pool2d": "adaptivepool",
    "adaptive_max_pool2d": "adaptivepool", "interpolate": "upsample", "transpose": "permute",
}  # fmt: skip
_ARGUMENT_NAMES = {
    "conv2d": "input weight bias stride padding dilation groups",
    "max_pool2d": "input kernel_size stride padding dilation ceil_mode return_indices",
    "avg_pool2d": "input kernel_size stride padding ceil_mode count_include_pad divisor_override",
    "adaptive_avg_pool2d": "input output_size",
    "adaptive_max_pool2d": "input output_size",
    "linear": "input weight bias",
    "batch_norm": "input running_mean running_var weight bias training momentum eps",
    "layer_norm": "input normalized_shape weight bias eps",
    "group_norm": "input num_groups weight bias eps",
    "local_response_norm": "input size alpha beta k",
    "dropout": "input p training inplace",
    "dropout2d": "input p training inplace",
    "leaky_relu": "input negative_slope",
    "elu": "input alpha",
    "hardtanh": "input min_val max_val",
    "pad": "input pad mode value",
    "interpolate": "input size scale_factor mode align_corners",
    "multi_head_attention_forward": "query key value embed_dim_to_check num_heads in_proj_weight",
    "norm": "input p dim keepdim",
}
_REDUCTION_ARGUMENTS = "input dim keepdim"


@dataclass(frozen=True, eq=False)
class FunctionCall:
    """One call with its outputs. `name` is the function's, without underscores."""

    name: str
    is_inplace: bool
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Tensor, ...]

    @classmethod
    def from_function(
        cls, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], outputs: Sequence[Tensor]
    ) -> FunctionCall:
        """The call of a function, or of a tensor's property, such as `x.mT`."""
        name = getattr(function, "__name__", "operation")
        if name in ("__get__", "__set__"):
            name = getattr(getattr(function, "__self__", None), "__name__", name)
        is_inplace = name.endswith("_") and not name.startswith("__")
        kwargs = dict(kwargs)
        args = tuple(args) if args or "input" not in kwargs else (kwargs.pop("input"),)
        return cls(name.strip("_") or name, is_inplace, args, kwargs, tuple(outputs))

    @property
    def output(self) -> Tensor:
        """The first output."""
        return self.outputs[0]

    @property
    def kind(self) -> str:
        """The name of the layer that does the same, where a table has one; otherwise the function's."""
        if self.name == "conv2d":
            return "depthwise" if 1 < self.get("groups", 1) == self.args[0].shape[-3] else "conv"
        if self.name == "hardtanh" and (self.get("min_val"), self.get("max_val")) == (0, 6):
            return "relu6"
        if self.name in ("mean", "amax") and self.args and self.args[0].ndim == 4 and len(self.dims()) == 2:
            return "globalpool"
        if self.name in ("flatten", "view", "reshape"):
            from_map = self.name == "flatten" or (self.args[0].ndim == 4 and len(self.output) == 1)
            return "flatten" if from_map and self.output.ndim == 2 else "reshape"
        return _KINDS.get(self.name, self.name)

    @property
    def weight(self) -> Any:
        """The weight of a convolution or a dense layer."""
        return self.kwargs.get("weight", self.args[1] if len(self.args) > 1 else None)

    @property
    def is_empty_pad(self) -> bool:
        return self.name == "pad" and not any(self.get("pad", ()))

    def get(self, argument: str, default: Any = None) -> Any:
        """An argument by its name, given by position or keyword."""
        if argument in self.kwargs:
            return self.kwargs[argument]
        names = _ARGUMENT_NAMES.get(self.name, _REDUCTION_ARGUMENTS).split()
        index = names.index(argument) if argument in names else len(self.args)
        return self.args[index] if index < len(self.args) else default

    def dims(self) -> tuple[int, ...]:
        """The axes of a reduction, counted from 0."""
        count = self.args[0].ndim
        given = self.get("dim", self.kwargs.get("axis"))
        chosen = range(count) if given is None else [given] if isinstance(given, int) else given
        return tuple(axis % count for axis in chosen)


def pair(value: Any) -> Pair:
    """A pair of a number, or of a list of one or two numbers, as torch accepts them."""
    items = list(value) if isinstance(value, Sequence) else [value]
    return (int(items[0]), int(items[-1]))


def weight_macs(call: FunctionCall) -> int:
    """Multiply-adds of weights for one image."""
    if call.name.startswith("conv_transpose"):
        return int(call.args[0].numel()) * int(prod(call.weight.shape[1:]))
    if call.name in ("conv1d", "conv2d", "conv3d", "linear"):
        return call.output.numel() * int(prod(call.weight.shape[1:]))
    if call.name == "multi_head_attention_forward" and (weight := call.get("in_proj_weight")) is not None:
        return int(call.args[0].numel()) * int(weight.shape[0]) + call.output.numel() * int(call.output.shape[-1])
    return 0


def weight_macs_formula(call: FunctionCall, output: Shape) -> str:
    """The formula of an operation's multiply-adds; "" if it has none."""
    places = {"conv": output[-2:], "depthwise": output[-2:], "dense": output[:-1]}.get(call.kind)
    return "" if places is None else macs_formula(tuple(call.weight.shape), places)


Arguments: TypeAlias = dict[str, Any]


def layer_from_call(call: FunctionCall, *, weightnorm: bool) -> Layer | None:
    """The layer of the call's kind and arguments; None if a table has none such.

    A pool that rounds up becomes one that rounds down, and a norm over channels the norm of its name: a table has no
    argument for the difference.

    Args:
        weightnorm: whether the weight is a length and a direction.
    """
    if call.kind not in _LAYER_ARGUMENTS:
        return None
    try:
        arguments = _LAYER_ARGUMENTS[call.kind](call)
        if weightnorm and call.kind in ("conv", "dense"):
            arguments["weightnorm"] = True
        return layers.read(Call(call.kind, (), arguments))
    except SpecError:  # a value that tables don't allow
        return None


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


def _norm(call: FunctionCall, **arguments: Any) -> Arguments:
    return {"eps": float(call.get("eps", 1e-5)), "affine": call.get("weight") is not None, **arguments}


def _same_arguments(**names: str) -> Callable[[FunctionCall], Arguments]:
    """A reader of arguments that have other names in torch; defaults are the same."""
    return lambda call: {ours: value for ours, theirs in names.items() if (value := call.get(theirs)) is not None}


_LAYER_ARGUMENTS: dict[str, Callable[[FunctionCall], Arguments]] = {
    "conv": _convolution,
    "depthwise": _convolution,
    "dense": _dense,
    "maxpool": _pool,
    "avgpool": _pool,
    "globalpool": lambda call: {"how": "mean" if call.name == "mean" else "max"},
    "adaptivepool": _adaptive_pool,
    "upsample": _upsample,
    "flatten": _same_arguments(),
    "batchnorm": lambda call: _norm(call, **_same_arguments(momentum="momentum")(call)),
    "layernorm": _norm,
    "groupnorm": lambda call: _norm(call, groups=call.get("num_groups")),
    "lrn": _same_arguments(size="size", alpha="alpha", beta="beta", k="k"),
    "dropout": _same_arguments(rate="p"),
    "dropout2d": _same_arguments(rate="p"),
    "leaky_relu": _same_arguments(slope="negative_slope"),
    "elu": _same_arguments(alpha="alpha"),
    **dict.fromkeys(("relu", "gelu", "silu", "tanh", "sigmoid", "softmax"), _same_arguments()),
}
