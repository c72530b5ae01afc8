"""A call of a torch function: its kind, its arguments by name, and its cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor

from cnnlab.architecture.layer import Pair, Shape, macs_formula

# Names of Python's and torch's functions that are another one's or a layer's.
_KINDS = {
    "iadd": "add", "radd": "add", "sub": "subtract", "isub": "subtract", "rsub": "subtract", "mul": "multiply",
    "imul": "multiply", "rmul": "multiply", "div": "divide", "truediv": "divide", "itruediv": "divide",
    "rtruediv": "divide", "true_divide": "divide", "cat": "concatenate", "concat": "concatenate", "bmm": "matmul",
    "imatmul": "matmul", "rmatmul": "matmul", "mm": "matmul", "scaled_dot_product_attention": "attention",
    "multi_head_attention_forward": "attention", "linear": "dense", "batch_norm": "batchnorm",
    "layer_norm": "layernorm", "group_norm": "groupnorm", "local_response_norm": "lrn", "max_pool2d": "maxpool",
    "max_pool2d_with_indices": "maxpool", "avg_pool2d": "avgpool", "adaptive_avg_pool2d": "adaptivepool",
    "adaptive_max_pool2d": "adaptivepool", "interpolate": "upsample", "reshape": "reshape", "view": "reshape",
    "permute": "permute", "transpose": "permute",
}  # fmt: skip
_ARGUMENTS = {
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
    "normalize": "input p dim",
}
_REDUCTION_ARGUMENTS = "input dim keepdim"


@dataclass(frozen=True)
class FunctionCall:
    """One call. `name` is the function's, without underscores; `kind` is that of a layer where there is one."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def from_function(
        cls, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any] | None
    ) -> FunctionCall:
        """The call of a function, or of a tensor's property, such as `x.mT`."""
        name = getattr(function, "__name__", "operation")
        if name in ("__get__", "__set__"):
            name = getattr(getattr(function, "__self__", None), "__name__", name)
        args, kwargs = tuple(args), dict(kwargs or {})
        if not args and "input" in kwargs:
            args = (kwargs.pop("input"),)
        return cls(name.strip("_") or name, function, args, kwargs)

    @property
    def kind(self) -> str:
        if self.name == "conv2d":
            return "depthwise" if 1 < self.get("groups", 1) == self.args[0].shape[-3] else "conv"
        if self.name == "hardtanh" and (self.get("min_val"), self.get("max_val")) == (0, 6):
            return "relu6"
        if self.name in ("mean", "amax") and self.is_global_reduction:
            return "globalpool"
        return _KINDS.get(self.name, self.name)

    @property
    def weight(self) -> Any:
        """The weight of a convolution or a dense layer."""
        return self.kwargs.get("weight", self.args[1] if len(self.args) > 1 else None)

    @property
    def is_global_reduction(self) -> bool:
        """Whether it reduces N×C×H×W images over H and W."""
        return bool(self.args) and getattr(self.args[0], "ndim", 0) == 4 and len(self.dims()) == 2

    @property
    def is_empty_pad(self) -> bool:
        return self.name == "pad" and not any(self.get("pad", ()))

    @property
    def is_inplace(self) -> bool:
        name = getattr(self.function, "__name__", "")
        return (name.endswith("_") and not name.startswith("__")) or name == "__setitem__"

    def get(self, argument: str, default: Any = None) -> Any:
        """An argument by its name, given by position or keyword."""
        if argument in self.kwargs:
            return self.kwargs[argument]
        names = _ARGUMENTS.get(self.name, _REDUCTION_ARGUMENTS).split()
        index = names.index(argument) if argument in names else len(self.args)
        return self.args[index] if index < len(self.args) else default

    def dims(self) -> tuple[int, ...]:
        """The axes of a reduction or a softmax, counted from 0."""
        count = self.args[0].ndim
        given = self.get("dim", self.kwargs.get("axis"))
        every = given is None or isinstance(given, bool)  # `var(False)` gives no axis
        chosen = range(count) if every else [given] if isinstance(given, int) else given
        return tuple(axis % count for axis in chosen)


def pair(value: Any) -> Pair:
    """A pair of a number, or of a list of one or two numbers, as torch accepts them."""
    items = list(value) if isinstance(value, Sequence) else [value]
    return (int(items[0]), int(items[-1]))


def padding_per_side(call: FunctionCall) -> tuple[Pair, Pair] | None:
    """The rows before and after, and the columns, that a `pad` adds; None where it pads other axes, too."""
    given = [int(number) for number in call.get("pad", ())]
    if any(given[4:]) or len(given) % 2:
        return None
    given = [*given, 0, 0, 0, 0][:4]
    return ((given[2], given[3]), (given[0], given[1]))


def macs(call: FunctionCall, output: Tensor) -> int:
    """Multiply-adds of weights for one image."""
    if call.kind in ("conv", "depthwise", "conv1d", "conv3d"):
        return output.numel() * int(prod(call.weight.shape[1:]))
    if call.name.startswith("conv_transpose"):
        return int(call.args[0].numel()) * int(prod(call.weight.shape[1:]))
    if call.kind == "dense":
        return output.numel() * int(call.args[0].shape[-1])
    if call.name == "multi_head_attention_forward" and (weight := call.get("in_proj_weight")) is not None:
        return int(call.args[0].numel()) * int(weight.shape[0]) + output.numel() * int(output.shape[-1])
    return 0


def weight_macs_formula(call: FunctionCall, output: Shape) -> str:
    """The formula of an operation's multiply-adds; "" if it has none."""
    places = {"conv": output[-2:], "depthwise": output[-2:], "dense": output[:-1]}.get(call.kind)
    return "" if places is None else macs_formula(tuple(call.weight.shape), places)
