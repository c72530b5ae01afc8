"""Any network followed from the image to the logits: the records that a layer table gives, for one image.

The network runs once on tensors without numbers, with every call of a torch function watched. A call becomes a row
under the name of the module that it was made in; what only moves numbers has no row, unless a module was made for it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy

from cnnlab.architecture.layer import Shape, format_shape, parameter_formula
from cnnlab.architecture.layers import layers
from cnnlab.errors import SpecError
from cnnlab.models.pretrained import architectures
from cnnlab.models.tracing.execution import ModuleCall, TracedOp, TracingMode
from cnnlab.records import LayerRecord, LayerTable

# Kinds that are the work of the module whose own weights they use, whatever else it calls.
_MAIN_KINDS = frozenset(("conv", "depthwise", "dense", "batchnorm", "layernorm", "groupnorm", "attention"))
# How torch says that a tensor without numbers was asked for them.
_META = re.compile(r"\bmeta\b", re.IGNORECASE)


def trace_network(network: nn.Module, shape: tuple[int, int, int]) -> tuple[LayerRecord, ...]:
    """Every step that leads to what a network gives in eval mode, in the order in which it takes them.

    Nothing is computed, and the network is left as it was: its numbers, its mode and its hooks.

    A row's name is that of its module (`layer1.0.conv1`); a function that a larger module calls itself adds its own
    (`layer1.0.add`); what comes again has a number (`layer1.0.relu#2`). Its kind is a layer's name where a table has
    such a layer, whose call is its text, and torch's name otherwise. A pool that rounds up has the text of one that
    rounds down; `output` tells the difference. A dropout of 0 and an identity have no row, nor has what is computed and
    not returned, such as a side head: what no row reads is what comes out, and in a network that returns one tensor
    this is the last row.

    Shapes are without N, in the network's own layout: H×W×C where channels are last, places×channels for tokens.
    Parameters are counted where they are first used, shared ones once; multiply-adds are those of convolutions and
    dense layers, also those within an attention.

    The receptive field of a sum is that of the widest path. It is None, the whole image, from a global pool, a dense
    layer over a flattened map or an attention on, and after any function that is not known to keep places apart. The
    gates of squeeze-and-excitation and the statistics of normalisations, which strictly see the whole image, are
    left out, as published figures leave them out.

    >>> from cnnlab.models.pretrained.architectures import create_model
    >>> trace_network(create_model("alexnet"), (3, 224, 224))[3].text
    'conv(192, 5, padding=2)'

    Args:
        network: takes N×C×H×W images.
        shape: (C, H, W) of an image.

    Raises:
        SpecError: the network stops, at images that it can't take or by an error of its own, whose message is given; or
            it can't be followed without computing, as when its way depends on the numbers that come, or a lazy layer
            has not run yet.
    """
    tracing_mode, sizes = _run_traced(network, shape)
    return _layer_records(tracing_mode.ops, tracing_mode.contributing, sizes)


@dataclass(frozen=True)
class ExecutionTrace:
    """What a network does with an image: the shape of what it gives, and what of it has a part in that.

    Attributes:
        output_shape: without N.
        executed_modules: the modules that run, by name, in their order; one that comes again stands at its first place.
            Those with weights whose results lead nowhere are left out, with all that is in them.
        used_tensors: the names of the parameters and buffers that are used, or may be.
    """

    output_shape: Shape
    executed_modules: tuple[str, ...]
    used_tensors: frozenset[str]


def trace_execution(network: nn.Module, shape: tuple[int, int, int]) -> ExecutionTrace:
    """Run a network in eval mode on one image without numbers; arguments and errors as `trace_network`."""
    tracing_mode, sizes = _run_traced(network, shape)
    assert isinstance(tracing_mode.network_output, Tensor)
    output = tuple(tracing_mode.network_output.shape[1:])
    executed_modules = dict.fromkeys(tracing_mode.executed_modules)
    if tracing_mode.has_unknown_origin:  # what leads to what is unknown
        return ExecutionTrace(output, tuple(executed_modules), frozenset(sizes))
    ops = [tracing_mode.ops[number] for number in tracing_mode.contributing]
    contributing = {op.module.name for op in ops} | {_parent_module(name) for op in ops for name in op.parameters}
    working = _with_ancestors(contributing)
    parameters = {name for name, _ in network.named_parameters()}
    # A module with buffers alone may lend them without a call: tables of positions, as rotary embeddings have them.
    idle = _with_ancestors(_parent_module(name) for name in parameters) - working
    running = tuple(name for name in executed_modules if not idle & _with_ancestors([name]))
    used = {name for name in sizes if not idle & _with_ancestors([_parent_module(name)])}
    return ExecutionTrace(output, running, frozenset(used - (parameters - tracing_mode.touched_parameters)))


def _parent_module(tensor: str) -> str:
    """The module that a parameter or a buffer is of."""
    return tensor.rpartition(".")[0]


def _with_ancestors(modules: Iterable[str]) -> set[str]:
    """Modules with all that they lie in but the network itself.

    >>> sorted(_with_ancestors(["layer1.0.conv1"]))
    ['layer1', 'layer1.0', 'layer1.0.conv1']
    """
    pieces = [name.split(".") for name in modules if name]
    return {".".join(piece[:size]) for piece in pieces for size in range(1, len(piece) + 1)}


def network_table(network: nn.Module, shape: tuple[int, int, int]) -> LayerTable:
    """Any network for images of `shape` (C, H, W), as `trace_network` follows it.

    `parameters` is all that the network has, also those of parts that don't run when it predicts, or whose result is
    not returned, which have no row (the auxiliary classifiers of Inception v3). `macs` is the sum of the rows.

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
    """A torchvision or timm network by name, followed for one image without computing anything.

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
    meta_tensors = {name: _meta_copy(name, tensor) for name, tensor in _tensors(network)}
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
    """A tensor of the same shape without numbers."""
    if is_lazy(tensor):
        raise SpecError(
            "this network can't be followed: a lazy layer gets its shape when it first runs",
            where=name,
            next_step="run the network once on an image of the right shape",
        )
    return torch.empty_like(tensor, device="meta")


def _tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers; a shared one once, under its first name."""
    return [*network.named_parameters(), *network.named_buffers()]


def _constants(network: nn.Module, meta_tensors: dict[str, Tensor]) -> Iterator[tuple[Tensor, str]]:
    """What does not depend on the image: parameters by name, buffers, and tensors that modules just hold."""
    parameters = {name for name, _ in network.named_parameters()}
    yield from ((tensor, name if name in parameters else "") for name, tensor in meta_tensors.items())
    for module in network.modules():
        yield from ((value, "") for value in vars(module).values() if isinstance(value, Tensor))


@contextmanager
def _module_hooks(network: nn.Module, tracing_mode: TracingMode) -> Iterator[None]:
    """In eval mode, each module tells when it begins and ends; afterwards all is as it was."""
    modes = {module: module.training for module in network.modules()}
    with ExitStack() as undo:
        try:
            for name, module in network.named_modules():
                # First and always: a network that is cut stops within a module, by a hook of its own.
                undo.enter_context(module.register_forward_pre_hook(_pre_hook(tracing_mode, name), prepend=True))
                undo.enter_context(module.register_forward_hook(_post_hook(tracing_mode), always_call=True))
                module.training = False
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode


def _pre_hook(tracing_mode: TracingMode, name: str) -> Any:
    return lambda module, _arguments: tracing_mode.enter_module(module, name)


def _post_hook(tracing_mode: TracingMode) -> Any:
    return lambda _module, arguments, result: tracing_mode.exit_module(arguments, result)


def _tracing_error(error: Exception, shape: Shape, where: str) -> SpecError:
    """The error for a network that stopped in its forward pass."""
    reason = str(error).strip().split("\n")[0]
    if isinstance(error, RuntimeError) and _META.search(str(error)):
        return SpecError(
            f"this network can't be followed without computing: {reason}",
            where=where,
            next_step="leave out what depends on the numbers of the image, such as .item() or an if on a tensor",
        )
    # Torch has one kind of error for an image that does not fit and for a mistake in the code, so neither is blamed.
    return SpecError(
        f"this network stops at an image of {format_shape(shape)}: {type(error).__name__}: {reason}",
        where=where,
        received=format_shape(shape),
        next_step="give the shape that it was made for, channels×height×width; if it stops there too, mend the network",
    )


def _layer_records(ops: Sequence[TracedOp], contributing: Set[int], sizes: dict[str, Shape]) -> tuple[LayerRecord, ...]:
    """The rows; names are given before those that lead nowhere go, as the number of a call is that of the network."""
    of_call: dict[ModuleCall, list[int]] = defaultdict(list)
    for number, op in enumerate(ops):
        of_call[op.module].append(number)
    main = {max(numbers, key=lambda number: _main_op_key(ops[number], number)) for numbers in of_call.values()}
    for numbers in of_call.values():
        _merge_permutes(ops, numbers, main)
    op_indices = [
        number for number, op in enumerate(ops) if not op.is_omitted and (number in main or not op.is_rearrangement)
    ]
    names = _row_names(ops, op_indices, main)
    op_indices = [number for number in op_indices if number in contributing]
    sources, parameter_shapes = _input_rows(ops, names), _parameter_shapes(ops, op_indices, sizes)
    return tuple(
        _layer_record(ops[number], names[number], sources[number], parameter_shapes[number]) for number in op_indices
    )


def _main_op_key(op: TracedOp, number: int) -> tuple[bool, bool, bool, int]:
    """How much a row is what its module was made for: it has weights, it is a layer, it computes, it comes last."""
    return (bool(op.parameters) and not op.is_omitted, op.text != op.kind, not op.is_rearrangement, number)


def _merge_permutes(ops: Sequence[TracedOp], numbers: Sequence[int], main: set[int]) -> None:
    """A module without others within it that turns an image, works and turns it back: its row has its own shapes."""
    if ops[numbers[0]].module.is_leaf and all(ops[number].is_rearrangement or number in main for number in numbers):
        for number in main.intersection(numbers):
            ops[number].input, ops[number].output = ops[numbers[0]].input, ops[numbers[-1]].output


def _row_names(ops: Sequence[TracedOp], op_indices: Sequence[int], main: set[int]) -> dict[int, str]:
    """A module's name for its work, with the kind behind it for the rest; a number for what comes again."""
    times_seen: Counter[str] = Counter()
    names = {}
    for number in op_indices:
        op = ops[number]
        module = op.module.name
        own = any(name.rpartition(".")[0] == module for name in op.parameters)
        is_work = number in main and (op.module.is_leaf or (own and op.kind in _MAIN_KINDS))
        name = module if is_work and module else f"{module}.{op.kind}".lstrip(".")
        times_seen[name] += 1
        names[number] = name if times_seen[name] == 1 else f"{name}#{times_seen[name]}"
    return names


def _input_rows(ops: Sequence[TracedOp], names: dict[int, str]) -> list[tuple[str, ...]]:
    """For each op the names of the rows in front of it, past those that have no row."""
    found: list[tuple[str, ...]] = []
    for op in ops:
        before = [(names[number],) if number in names else found[number] for number in op.inputs]
        found.append(tuple(dict.fromkeys(name for group in before for name in group)))
    return found


def _parameter_shapes(
    ops: Sequence[TracedOp], op_indices: Sequence[int], sizes: dict[str, Shape]
) -> dict[int, list[Shape]]:
    """For each row the shapes of the parameters that no row in front of it uses."""
    order = {name: position for position, name in enumerate(sizes)}
    counted: set[str] = set()
    found = {}
    for number in op_indices:
        op = ops[number]
        fresh = set(op.parameters) - counted
        counted |= fresh
        # Weights before biases, as a layer of a table has them.
        shapes = [sizes[key] for key in sorted(fresh, key=lambda key: (key.endswith("bias"), order[key]))]
        if not op.macs and op.kind not in layers.kinds:  # the ones of a scale or a class token only make it fit
            shapes = [tuple(size for size in shape if size > 1) for shape in shapes]
        found[number] = shapes
    return found


def _layer_record(op: TracedOp, name: str, inputs: tuple[str, ...], parameter_shapes: Sequence[Shape]) -> LayerRecord:
    fields = op.field.fields
    return LayerRecord(
        name=name,
        kind=op.kind,
        text=op.text,
        arguments=op.arguments,
        input=op.input,
        output=op.output,
        parameters=sum(map(prod, parameter_shapes)),
        formula=parameter_formula(parameter_shapes),
        macs=op.macs,
        macs_formula=op.macs_formula,
        activations=prod(op.output),
        receptive_field=None if fields is None else (fields[0].size, fields[1].size),
        jump=None if fields is None else (str(fields[0].jump), str(fields[1].jump)),
        first_centre=None if fields is None else (str(fields[0].first_centre), str(fields[1].first_centre)),
        inputs=inputs,
    )
