"""Every call of a torch function in a network's forward pass, recorded as a `TracedOp`."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, cast

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from cnnlab.architecture.layer import Layer, Shape
from cnnlab.models.blocks import SameConv2d
from cnnlab.models.tracing.function_call import FunctionCall, layer_from_call
from cnnlab.models.tracing.propagate import IMAGE_FIELD, TensorField, function_group, is_rearrangement, propagate

# They join tensors, and so have a row, although each number stays as it is.
_CONCATENATIONS = ("concatenate", "stack")


@dataclass(frozen=True, eq=False)
class ModuleCall:
    """One call of a module. A leaf contains no other modules."""

    name: str
    module: nn.Module
    is_leaf: bool


@dataclass
class TracedOp:
    """A call that may become a row of the table.

    Attributes:
        layer: the layer of a table that it is; None where there is none.
        parameters: the names of its parameters.
        inputs: the indices of the ops whose outputs it reads.
        field: what its output sees of the image; None: all of it.
    """

    call: FunctionCall
    layer: Layer | None
    module: ModuleCall
    parameters: tuple[str, ...]
    inputs: tuple[int, ...]
    input: Shape
    output: Shape
    field: TensorField | None

    @property
    def is_rearrangement(self) -> bool:
        """Whether it only moves numbers."""
        return is_rearrangement(self.call.name) and self.call.kind not in ("flatten", *_CONCATENATIONS)


@dataclass(frozen=True)
class _TensorOrigin:
    """The ops and parameters that a tensor is computed from, and what it sees of the image.

    `is_constant` is False of a tensor that depends on the image, `weightnorm` True of a weight that was normalised.
    """

    op_indices: tuple[int, ...] = ()
    parameters: tuple[str, ...] = ()
    field: TensorField | None = None
    is_constant: bool = False
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
            self._origin_by_tensor[tensor] = _TensorOrigin(parameters=(name,) if name else (), is_constant=True)
        self._origin_by_tensor[image] = _TensorOrigin(field=IMAGE_FIELD)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.is_recording = True
        inputs = collect_tensors((args, kwargs or {}))
        if getattr(func, "__name__", "") == "__setitem__":
            self._record_write(args[0], inputs)
        elif outputs := collect_tensors(result):
            self._record_call(FunctionCall.from_function(func, args, kwargs or {}, outputs), inputs)
        self.is_recording = False
        return result

    def enter_module(self, module: nn.Module, name: str) -> None:
        """Called when a module begins."""
        inner = [child for child, _ in module.named_children() if child != "parametrizations"]
        self.module_stack.append(ModuleCall(name, module, is_leaf=not inner))
        self.executed_modules.append(name)

    def exit_module(self, arguments: Any, result: Any) -> None:
        """Called when a module ends. An output that no recorded function computed may depend on all inputs."""
        call = self.module_stack.pop()
        self.failed_module = (self.failed_module or call.name) if result is None else ""
        for tensor in collect_tensors(result):
            if tensor not in self._origin_by_tensor:
                self.has_unknown_origin = True
                self._origin_by_tensor[tensor] = _TensorOrigin(self._ops_before(collect_tensors(arguments)))

    def finish(self, returned: Any) -> None:
        """Find the ops that the returned tensors depend on."""
        self.network_output = returned
        waiting = list(self._ops_before(collect_tensors(returned)))
        while waiting:
            number = waiting.pop()
            if number not in self.contributing:
                self.contributing.add(number)
                waiting += self.ops[number].inputs
        if self.has_unknown_origin or not self.contributing:
            self.contributing = set(range(len(self.ops)))

    def _origin(self, tensor: Tensor) -> _TensorOrigin:
        """The origin of a tensor; an unknown one may depend on the whole image."""
        self.has_unknown_origin |= tensor not in self._origin_by_tensor
        origin = self._origin_by_tensor.get(tensor, _TensorOrigin())
        self.touched_parameters.update(origin.parameters)
        return origin

    def _ops_before(self, tensors: Iterable[Tensor]) -> tuple[int, ...]:
        return tuple(dict.fromkeys(number for tensor in tensors for number in self._origin(tensor).op_indices))

    def _record_write(self, written: Tensor, sources: list[Tensor]) -> None:
        """Record that a part of a tensor was overwritten."""
        if not all(self._origin(tensor).is_constant for tensor in sources):
            self._origin_by_tensor[written] = _TensorOrigin(self._ops_before([written, *sources]))

    def _record_call(self, call: FunctionCall, inputs: list[Tensor]) -> None:
        origins = [self._origin(tensor) for tensor in inputs]
        parameters = tuple(dict.fromkeys(name for origin in origins for name in origin.parameters))
        if all(origin.is_constant for origin in origins) or function_group(call.name) == "factory":
            constant = _TensorOrigin((), parameters, is_constant=True, weightnorm="weight_norm" in call.name)
            self._origin_by_tensor.update(dict.fromkeys(call.outputs, constant))
            return
        layer = layer_from_call(call, weightnorm=any(origin.weightnorm for origin in origins))
        variable = [(tensor, origin) for tensor, origin in zip(inputs, origins, strict=True) if not origin.is_constant]
        fields = propagate(call, layer, [(tensor, origin.field) for tensor, origin in variable])
        sources, margin = self._ops_before(inputs), self._pop_same_padding(call)
        if self._needs_row(call):
            before = _shape_without_batch(call, variable[0][0])
            if margin is not None:
                layer, before, sources = replace(cast("Any", layer), padding="same"), margin.input, margin.inputs
            after = _shape_without_batch(call, call.output)
            self.ops.append(TracedOp(call, layer, self.module_stack[-1], parameters, sources, before, after, fields[0]))
            sources = (len(self.ops) - 1,)
        for output, field in zip(call.outputs, fields, strict=True):
            self._origin_by_tensor[output] = _TensorOrigin(sources, field=field)
            whole = output._base
            if call.is_inplace and whole is not None:  # the tensor that it is a view of has changed, too
                self._record_write(whole, [output])

    def _pop_same_padding(self, call: FunctionCall) -> TracedOp | None:
        """The `pad` before the convolution of a `SameConv2d`; a table has one row for both."""
        module = self.module_stack[-1]
        if call.name == "conv2d" and isinstance(module.module, SameConv2d) and self.ops[-1:]:
            return self.ops.pop() if self.ops[-1].module is module else None
        return None

    def _needs_row(self, call: FunctionCall) -> bool:
        if function_group(call.name) == "copy" or call.is_empty_pad:
            return False
        if call.kind in ("dropout", "dropout2d"):
            return bool(call.get("p", 0.5))
        return (
            not is_rearrangement(call.name)
            or call.kind in ("flatten", *_CONCATENATIONS)
            or self.module_stack[-1].is_leaf
        )


def collect_tensors(value: Any) -> list[Tensor]:
    """All tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in items for tensor in collect_tensors(item)]


def _shape_without_batch(call: FunctionCall, tensor: Tensor) -> Shape:
    """The shape without N, unless N was moved to another axis; torch's attention has it second."""
    sizes = tuple(tensor.shape)
    if call.name == "multi_head_attention_forward" and sizes[1:2] == (1,):
        return (sizes[0], *sizes[2:])
    return sizes[1:] if sizes[:1] == (1,) else sizes
