"""Trace any network from the image to the logits: the same records as those of a layer table.

The network runs once on meta tensors while every call of a torch function is recorded. A call becomes a row with the
name of the module that made it; functions that only move numbers have no row, unless a module is made for them.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy

from cnnlab.architecture.layer import Shape, field_columns, parameter_formula
from cnnlab.architecture.layer_table import name_prefixes
from cnnlab.architecture.layers import LayerRow, layer_arguments, layers
from cnnlab.errors import SpecError
from cnnlab.models.pretrained import architectures
from cnnlab.models.tracing.execution import ModuleCall, TracedOp, TracingMode
from cnnlab.models.tracing.function_call import weight_macs, weight_macs_formula
from cnnlab.models.train_mode import eval_mode
from cnnlab.records import LayerRecord, LayerTable
from cnnlab.render.formatting import format_shape

# Kinds that have the name of the module whose own weights they use, whatever else the module calls.
_MAIN_KINDS = frozenset(("conv", "depthwise", "dense", "batchnorm", "layernorm", "groupnorm", "attention"))
# The word in torch's errors about values of a meta tensor.
_META = re.compile(r"\bmeta\b", re.IGNORECASE)


def trace_network(network: nn.Module, shape: tuple[int, int, int]) -> tuple[LayerRecord, ...]:
    """Trace the operations that a network's output in eval mode depends on, in their order.

    Nothing is computed, and the network is unchanged: its tensors, its mode and its hooks.

    A row's name is that of its module (`layer1.0.conv1`); a function that a larger module calls itself adds its own
    (`layer1.0.add`); what comes again has a number (`layer1.0.relu#2`). Its kind is a layer's name where a table has
    such a layer, whose call is its text, and torch's name otherwise. A pool that rounds up has the text of one that
    rounds down; `output` tells the difference. A dropout of 0 and an identity have no row, nor has what is computed and
    not returned, such as a side head: a row that no other row reads is an output, and in a network that returns one
    tensor it is the last row.

    Shapes are without N, in the network's own layout: H×W×C where channels are last, places×channels for tokens.
    Parameters are counted where they are first used, shared ones once; multiply-adds are those of convolutions and
    dense layers, also those within an attention.

    The receptive field of a sum is that of the widest path. It is None, the whole image, from a global pool, a dense
    layer over a flattened map or an attention on, and after any function that may mix positions
    (`cnnlab.models.tracing.propagate`). The gates of squeeze-and-excitation and the statistics of normalisations, which
    strictly depend on the whole image, are left out, as in published figures.

    >>> from cnnlab.models.pretrained.architectures import create_model
    >>> trace_network(create_model("alexnet"), (3, 224, 224))[3].text
    'conv(192, 5, padding=2)'

    Args:
        network: takes N×C×H×W images.
        shape: (C, H, W) of an image.

    Raises:
        SpecError: the network raises an error, because images don't fit or by itself; or it can't be traced on meta
            tensors, as when its control flow depends on values, or a lazy layer has not run yet.
    """
    return trace_execution(network, shape).rows


@dataclass(frozen=True)
class ExecutionTrace:
    """A network's rows, its output shape, and the modules and tensors that the output depends on.

    Attributes:
        rows: see `trace_network`.
        output_shape: without N; empty where several tensors come out.
        executed_modules: the modules that run, by name, in the order of their first calls, without those with weights
            whose results are not used.
        used_tensors: the names of the parameters and buffers that are used, or may be.
    """

    rows: tuple[LayerRecord, ...]
    output_shape: Shape
    executed_modules: tuple[str, ...]
    used_tensors: frozenset[str]


def trace_execution(network: nn.Module, shape: tuple[int, int, int]) -> ExecutionTrace:
    """Run a network in eval mode on a meta image; arguments and errors as `trace_network`."""
    tracing_mode, sizes = _run_traced(network, shape)
    rows = _layer_records(tracing_mode.ops, tracing_mode.contributing, sizes)
    returned = tracing_mode.network_output
    output = tuple(returned.shape[1:]) if isinstance(returned, Tensor) else ()
    executed_modules = tuple(dict.fromkeys(tracing_mode.executed_modules))
    if tracing_mode.has_unknown_origin:
        return ExecutionTrace(rows, output, executed_modules, frozenset(sizes))
    ops = [tracing_mode.ops[number] for number in tracing_mode.contributing]
    contributing = {op.module.name for op in ops} | {_parent_module(name) for op in ops for name in op.parameters}
    parameters = {name for name, _ in network.named_parameters()}
    # Buffers may be used without a call of their module: tables of positions, as in rotary embeddings.
    idle = _with_ancestors(map(_parent_module, parameters)) - _with_ancestors(contributing)
    running = tuple(name for name in executed_modules if not idle & _with_ancestors([name]))
    used = {name for name in sizes if not idle & _with_ancestors([_parent_module(name)])}
    return ExecutionTrace(rows, output, running, frozenset(used - (parameters - tracing_mode.touched_parameters)))


def _parent_module(tensor: str) -> str:
    """The module that a parameter or a buffer is of."""
    return tensor.rpartition(".")[0]


def _with_ancestors(modules: Iterable[str]) -> set[str]:
    """Modules with all modules that contain them, without the network itself."""
    return {outer for name in modules if name for outer in name_prefixes(name)}


def network_table(network: nn.Module, shape: tuple[int, int, int]) -> LayerTable:
    """The table of any network for images of `shape` (C, H, W), see `trace_network`.

    `parameters` counts all of the network, also in parts without rows, which don't run in eval mode or whose result is
    not returned (the auxiliary classifiers of Inception v3). `macs` is the sum of the rows.

    Raises:
        SpecError: as `trace_network`.
    """
    rows = trace_network(network, shape)
    return LayerTable(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        macs=sum(row.macs for row in rows),
        layers=rows,
        warnings=(),
    )


def backbone_table(name: str, shape: tuple[int, int, int] | None = None, num_classes: int | None = None) -> LayerTable:
    """The table of a torchvision or timm network.

    Args:
        name: as `cnnlab.models.pretrained.architectures.create_model` takes it.
        shape: (C, H, W) of the images; those that the network was made for where it is left out.
        num_classes: K; the library's own number where it is left out.

    Raises:
        SpecError: an unknown name, or images that the network can't take.
    """
    return network_table(architectures.create_model(name, num_classes), shape or architectures.default_input_size(name))


def _run_traced(network: nn.Module, shape: tuple[int, int, int]) -> tuple[TracingMode, dict[str, Shape]]:
    """The recorded ops of the network for one image, and the shapes of its parameters and buffers."""
    # A shared one is listed once, under its first name.
    named = [*network.named_parameters(), *network.named_buffers()]
    meta_tensors = {name: _meta_copy(name, tensor) for name, tensor in named}
    numbers = next((tensor.dtype for tensor in meta_tensors.values() if tensor.is_floating_point()), torch.float32)
    image = torch.empty(1, *shape, dtype=numbers, device="meta")
    tracing_mode = TracingMode(image, _constants(network, meta_tensors))
    with _module_hooks(network, tracing_mode), torch.no_grad():
        try:
            with tracing_mode:
                returned = functional_call(network, meta_tensors, (image,))
        except Exception as error:
            if tracing_mode.is_recording:
                raise
            raise _tracing_error(error, shape, tracing_mode.failed_module) from error
    tracing_mode.finish(returned)
    return tracing_mode, {name: tuple(tensor.shape) for name, tensor in meta_tensors.items()}


def _meta_copy(name: str, tensor: Tensor) -> Tensor:
    """A meta tensor of the same shape."""
    if is_lazy(tensor):
        raise SpecError(
            "this network can't be traced: a lazy layer has no shape before it first runs",
            where=name,
            next_step="run the network once on an image of the right shape",
        )
    return torch.empty_like(tensor, device="meta")


def _constants(network: nn.Module, meta_tensors: dict[str, Tensor]) -> Iterator[tuple[Tensor, str]]:
    """The tensors that don't depend on the image: parameters by name, buffers, and other attributes of modules."""
    parameters = {name for name, _ in network.named_parameters()}
    yield from ((tensor, name if name in parameters else "") for name, tensor in meta_tensors.items())
    for module in network.modules():
        yield from ((value, "") for value in vars(module).values() if isinstance(value, Tensor))


@contextmanager
def _module_hooks(network: nn.Module, mode: TracingMode) -> Iterator[None]:
    """Within it the network is in eval mode, and the tracing mode knows when each module begins and ends."""
    with ExitStack() as undo:
        undo.enter_context(eval_mode(network))
        for name, module in network.named_modules():
            # First and always: a network that is cut stops within a module, by a hook of its own.
            begin = partial(lambda name, module, _: mode.enter_module(module, name), name)
            undo.enter_context(module.register_forward_pre_hook(begin, prepend=True))
            end = module.register_forward_hook(
                lambda _, given, result: mode.exit_module(given, result), always_call=True
            )
            undo.enter_context(end)
        yield


def _tracing_error(error: Exception, shape: Shape, where: str) -> SpecError:
    """The error for a network that stopped in its forward pass."""
    reason = str(error).strip().split("\n")[0]
    if isinstance(error, RuntimeError) and _META.search(str(error)):
        return SpecError(
            f"this network can't be traced without computing: {reason}",
            where=where,
            next_step="remove what depends on the values of the image, such as .item() or an if on a tensor",
        )
    # Torch has the same kind of error for an image that does not fit and for a mistake in the code.
    return SpecError(
        f"this network fails for an image of {format_shape(shape)}: {type(error).__name__}: {reason}",
        where=where,
        received=format_shape(shape),
        next_step="give the shape that it was made for, channels×height×width; if it still fails, correct the network",
    )


def _layer_records(ops: Sequence[TracedOp], contributing: Set[int], sizes: dict[str, Shape]) -> tuple[LayerRecord, ...]:
    """The rows; unused ones are removed after naming, since the number of a call counts all calls."""
    of_call: dict[ModuleCall, list[int]] = defaultdict(list)
    for number, op in enumerate(ops):
        of_call[op.module].append(number)
    main = {max(numbers, key=lambda number: _main_op_key(ops[number], number)) for numbers in of_call.values()}
    for numbers in of_call.values():
        _merge_permutes(ops, numbers, main)
    op_indices = [number for number, op in enumerate(ops) if number in main or not op.is_rearrangement]
    names = _row_names(ops, op_indices, main)
    op_indices = [number for number in op_indices if number in contributing]
    sources, parameter_shapes = _input_rows(ops, names), _parameter_shapes(ops, op_indices, sizes)
    return tuple(
        _layer_record(ops[number], names[number], sources[number], parameter_shapes[number]) for number in op_indices
    )


def _main_op_key(op: TracedOp, number: int) -> tuple[bool, bool, bool, int]:
    """The rank of a module's main op: it has weights, it is a layer, it computes, it is the last."""
    return (bool(op.parameters), op.layer is not None, not op.is_rearrangement, number)


def _merge_permutes(ops: Sequence[TracedOp], numbers: Sequence[int], main: set[int]) -> None:
    """A leaf module that permutes an image, computes and permutes it back has one row, with the outer shapes."""
    if ops[numbers[0]].module.is_leaf and all(ops[number].is_rearrangement or number in main for number in numbers):
        for number in main.intersection(numbers):
            ops[number].input, ops[number].output = ops[numbers[0]].input, ops[numbers[-1]].output


def _row_names(ops: Sequence[TracedOp], op_indices: Sequence[int], main: set[int]) -> dict[int, str]:
    """The module's name for its main op, with the kind appended for others; a number for repeated calls."""
    times_seen: Counter[str] = Counter()
    names = {}
    for number in op_indices:
        op = ops[number]
        module = op.module.name
        own = any(name.rpartition(".")[0] == module for name in op.parameters)
        is_work = number in main and (op.module.is_leaf or (own and op.call.kind in _MAIN_KINDS))
        name = module if is_work and module else f"{module}.{op.call.kind}".lstrip(".")
        times_seen[name] += 1
        names[number] = name if times_seen[name] == 1 else f"{name}#{times_seen[name]}"
    return names


def _input_rows(ops: Sequence[TracedOp], names: dict[int, str]) -> list[tuple[str, ...]]:
    """For each op the names of its input rows, passing over ops that have no row."""
    found: list[tuple[str, ...]] = []
    for op in ops:
        before = [(names[number],) if number in names else found[number] for number in op.inputs]
        found.append(tuple(dict.fromkeys(name for group in before for name in group)))
    return found


def _parameter_shapes(
    ops: Sequence[TracedOp], op_indices: Sequence[int], sizes: dict[str, Shape]
) -> dict[int, list[Shape]]:
    """For each row the shapes of the parameters that no earlier row uses."""
    order = {name: position for position, name in enumerate(sizes)}
    counted: set[str] = set()
    found = {}
    for number in op_indices:
        op = ops[number]
        fresh = set(op.parameters) - counted
        counted |= fresh
        # Weights before biases, as a layer of a table has them.
        shapes = [sizes[key] for key in sorted(fresh, key=lambda key: (key.endswith("bias"), order[key]))]
        # The ones in the shape of a scale or a class token only make it fit.
        if not weight_macs(op.call) and op.call.kind not in layers.kinds:
            shapes = [tuple(size for size in shape if size > 1) for shape in shapes]
        found[number] = shapes
    return found


def _layer_record(op: TracedOp, name: str, inputs: tuple[str, ...], parameter_shapes: Sequence[Shape]) -> LayerRecord:
    layer, kind = op.layer, op.call.kind
    return LayerRecord(
        name=name,
        kind=kind,
        text=kind if layer is None else str(LayerRow(layer)),
        arguments={} if layer is None else layer_arguments(layer),
        input=op.input,
        output=op.output,
        parameters=sum(map(prod, parameter_shapes)),
        formula=parameter_formula(parameter_shapes),
        macs=weight_macs(op.call),
        macs_formula=weight_macs_formula(op.call, op.output),
        activations=prod(op.output),
        **field_columns(None if op.field is None else op.field.fields),
        inputs=inputs,
    )
