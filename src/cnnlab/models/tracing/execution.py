"""Every call of a torch function in a network's forward pass, recorded as a `TracedOp`."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from cnnlab.architecture.layer import Shape
from cnnlab.architecture.layers import LayerRow, layer_arguments
from cnnlab.models.tracing.function_call import (
    FunctionCall,
    fold_padding,
    layer_from_call,
    weight_macs,
    weight_macs_formula,
)
from cnnlab.models.tracing.propagate import (
    IMAGE_FIELD,
    WHOLE_IMAGE,
    TensorField,
    function_group,
    is_rearrangement,
    propagate,
)

# They join tensors, and so have a row, although each number stays as it is.
_CONCATENATIONS = ("concatenate", "stack")


@dataclass(frozen=True, eq=False)
class ModuleCall:
    """One call of a module. A leaf contains no other modules."""

    name: str
    is_leaf: bool


@dataclass
class TracedOp:
    """A call that may become a row of the table.

    Attributes:
        parameters: the names of its parameters.
        inputs: the indices of the ops whose outputs it reads.
        is_rearrangement: whether it only moves numbers.
        is_omitted: whether another row includes it, as a convolution does its padding.
    """

    call: FunctionCall
    module: ModuleCall
    kind: str
    text: str
    arguments: dict[str, Any]
    input: Shape
    output: Shape
    parameters: tuple[str, ...]
    macs: int
    macs_formula: str
    field: TensorField
    inputs: tuple[int, ...]
    is_rearrangement: bool
    is_omitted: bool = False


@dataclass(frozen=True)
class _TensorOrigin:
    """The origin of a tensor: its field (None: it does not depend on the image), the ops and parameters that it is
    computed from, and whether it is a weight that was normalised."""

    field: TensorField | None
    op_indices: tuple[int, ...] = ()
    parameters: tuple[str, ...] = ()
    weightnorm: bool = False


class TracingMode(TorchFunctionMode):
    """Record every call of a torch function within it in `ops`.

    After `finish`, `contributing` has the indices of the ops that the network's output depends on: all ops if a tensor
    on the way was computed outside torch's functions, so that its origin is unknown (`has_unknown_origin`).
    `touched_parameters` are the parameters that any function was given.

    Args:
        image: the network's input.
        constants: tensors that don't depend on the image, with the name of the parameter, or "".
    """

    def __init__(self, image: Tensor, constants: Iterable[tuple[Tensor, str]]) -> None:
        super().__init__()
        self.ops: list[TracedOp] = []
        self.module_stack: list[ModuleCall] = []
        self.executed_modules: list[str] = []
        self.failed_module = ""  # the innermost module that raised an error
        self.network_output: Any = None
        self.is_recording = False  # then an error is one of cnnlab, not of the network
        self.contributing: set[int] = set()
        self.touched_parameters: set[str] = set()
        self.has_unknown_origin = False
        self._origin_by_tensor: MutableMapping[Tensor, _TensorOrigin] = WeakIdKeyDictionary()
        for tensor, name in constants:
            self._origin_by_tensor[tensor] = _TensorOrigin(None, parameters=(name,) if name else ())
        self._origin_by_tensor[image] = _TensorOrigin(IMAGE_FIELD)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.is_recording = True
        name = getattr(func, "__name__", "")
        if name == "__setitem__":
            self._record_write(args[0], self._origins((args, kwargs)))
        elif outputs := collect_tensors(result):
            self._record_call(FunctionCall.from_function(func, args, kwargs), outputs)
        self.is_recording = False
        return result

    def enter_module(self, module: nn.Module, name: str) -> None:
        """Called when a module begins."""
        inner = [child for child, _ in module.named_children() if child != "parametrizations"]
        self.module_stack.append(ModuleCall(name, is_leaf=not inner))
        self.executed_modules.append(name)

    def exit_module(self, arguments: Any, result: Any) -> None:
        """Called when a module ends. An output that no recorded function computed may depend on all inputs."""
        call = self.module_stack.pop()
        self.failed_module = (self.failed_module or call.name) if result is None else ""
        for tensor in collect_tensors(result):
            if tensor not in self._origin_by_tensor:
                self.has_unknown_origin = True
                self._origin_by_tensor[tensor] = _TensorOrigin(
                    WHOLE_IMAGE, _op_indices(self._origins(arguments).values())
                )

    def finish(self, returned: Any) -> None:
        """Find the ops that the returned tensors depend on."""
        self.network_output = returned
        waiting = list(_op_indices(self._origins(returned).values()))
        while waiting:
            number = waiting.pop()
            if number not in self.contributing:
                self.contributing.add(number)
                waiting += self.ops[number].inputs
        if self.has_unknown_origin or not self.contributing:
            self.contributing = set(range(len(self.ops)))

    def _origins(self, value: Any) -> dict[int, _TensorOrigin]:
        """The origins of all tensors in a value, by their id; an unknown one may depend on the whole image."""
        found = collect_tensors(value)
        self.has_unknown_origin = self.has_unknown_origin or any(
            tensor not in self._origin_by_tensor for tensor in found
        )
        origins = {id(tensor): self._origin_by_tensor.get(tensor, _TensorOrigin(WHOLE_IMAGE)) for tensor in found}
        self.touched_parameters |= {name for origin in origins.values() for name in origin.parameters}
        return origins

    def _record_write(self, written: Tensor, origins: dict[int, _TensorOrigin]) -> None:
        """Record that a part of a tensor was overwritten."""
        if any(origin.field is not None for origin in origins.values()):
            self._origin_by_tensor[written] = _TensorOrigin(WHOLE_IMAGE, _op_indices(origins.values()))

    def _record_call(self, call: FunctionCall, outputs: list[Tensor]) -> None:
        origins = self._origins((call.args, call.kwargs))
        made_of = tuple(dict.fromkeys(name for origin in origins.values() for name in origin.parameters))
        known = {key: origin.field for key, origin in origins.items() if origin.field is not None}
        if not known or function_group(call.name) == "factory":
            for output in outputs:
                self._origin_by_tensor[output] = _TensorOrigin(None, (), made_of, "weight_norm" in call.name)
            return
        fields = propagate(call, known, outputs)
        sources = _op_indices(origins.values())
        if self._needs_row(call, outputs[0]):
            self.ops.append(self._make_op(call, origins, made_of, outputs[0], fields[0]))
            sources = (len(self.ops) - 1,)
        for output, field in zip(outputs, fields, strict=True):
            self._origin_by_tensor[output] = _TensorOrigin(field, sources)
            whole = output._base
            if call.is_inplace and whole is not None:  # the tensor that it is a view of has changed, too
                self._record_write(whole, {**self._origins(whole), id(output): self._origin_by_tensor[output]})

    def _needs_row(self, call: FunctionCall, output: Tensor) -> bool:
        if function_group(call.name) == "copy" or call.is_empty_pad:
            return False
        if call.kind in ("dropout", "dropout2d"):
            return bool(call.get("p", 0.5))
        return (
            not is_rearrangement(call.name)
            or call.kind in _CONCATENATIONS
            or self.module_stack[-1].is_leaf
            or _is_flatten(call, output)
        )

    def _make_op(
        self,
        call: FunctionCall,
        origins: dict[int, _TensorOrigin],
        parameters: tuple[str, ...],
        output: Tensor,
        field: TensorField,
    ) -> TracedOp:
        first = next(tensor for tensor in collect_tensors(call.args) if origins[id(tensor)].field is not None)
        incoming, outgoing = _shape_without_batch(call, first), _shape_without_batch(call, output)
        inputs = _op_indices(origins.values())
        margin = self._preceding_pad(call, inputs)
        padding = None
        if margin is not None:
            padding = fold_padding(call, margin.call)
            margin.is_omitted = True
            incoming, inputs = margin.input, margin.inputs
        kind = "flatten" if _is_flatten(call, output) else "reshape" if call.name == "flatten" else call.kind
        weightnorm = any(origin.weightnorm for origin in origins.values())
        layer = layer_from_call(kind, call, padding=padding, weightnorm=weightnorm)
        return TracedOp(
            call=call,
            module=self.module_stack[-1],
            kind=kind,
            text=str(LayerRow(layer)) if layer is not None else kind,
            arguments=layer_arguments(layer) if layer is not None else {},
            input=incoming,
            output=outgoing,
            parameters=parameters,
            macs=weight_macs(call, output),
            macs_formula=weight_macs_formula(call, outgoing),
            field=field,
            inputs=inputs,
            is_rearrangement=is_rearrangement(call.name) and kind not in ("flatten", *_CONCATENATIONS),
        )

    def _preceding_pad(self, call: FunctionCall, inputs: tuple[int, ...]) -> TracedOp | None:
        """The `pad` before a convolution in the same module, where a table writes both as one convolution."""
        if len(inputs) != 1:
            return None
        margin = self.ops[inputs[0]]
        if margin.call.name != "pad" or margin.module is not self.module_stack[-1]:
            return None
        return margin if fold_padding(call, margin.call) is not None else None


def collect_tensors(value: Any) -> list[Tensor]:
    """All tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in items for tensor in collect_tensors(item)]


def _is_flatten(call: FunctionCall, output: Tensor) -> bool:
    """Whether a map becomes a vector, also by `view` or `reshape`."""
    if call.name == "flatten":
        return output.ndim == 2
    return call.name in ("view", "reshape") and output.ndim == 2 and call.args[0].ndim == 4 and len(output) == 1


def _shape_without_batch(call: FunctionCall, tensor: Tensor) -> Shape:
    """The shape without N, unless N was moved to another axis; torch's attention has it second."""
    sizes = tuple(tensor.shape)
    if call.name == "multi_head_attention_forward" and sizes[1:2] == (1,):
        return (sizes[0], *sizes[2:])
    return sizes[1:] if sizes[:1] == (1,) else sizes


def _op_indices(origins: Iterable[_TensorOrigin]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(number for origin in origins for number in origin.op_indices))
