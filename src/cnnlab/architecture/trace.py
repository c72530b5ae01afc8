"""Trace a layer table from the input to the last layer: names, shapes, parameters and receptive fields.

The trace is a tree: a residual or repeat row has branches of rows. The name of a traced layer is the name of the module
that `cnnlab.models.build` makes of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from cnnlab.architecture.layer import (
    Layer,
    ParameterShapes,
    ReceptiveFieldPair,
    Shape,
    field_columns,
    macs_formula,
    parameter_formula,
)
from cnnlab.architecture.layers import LayerRow, Repeat, Residual, layer_arguments, row_names
from cnnlab.errors import Problem, SpecError
from cnnlab.records import LayerRecord
from cnnlab.render.formatting import format_shape
from cnnlab.theory.output_size import output_size
from cnnlab.theory.receptive_field import ReceptiveField1d, widest

# Far above any network that is written as a table; it keeps nested repeats from running for hours.
MAX_ROWS = 10_000


@dataclass(frozen=True)
class TracedLayer:
    """One traced row. `receptive_field` is None where a node sees the whole image."""

    name: str
    layer: Layer
    input: Shape
    output: Shape
    parameter_shapes: ParameterShapes
    macs: int
    receptive_field: ReceptiveFieldPair | None
    branches: tuple[tuple[str, tuple[TracedLayer, ...]], ...] = ()

    @property
    def parameters(self) -> int:
        """The number of parameters of this row, its branches included."""
        inner = sum(row.parameters for _, rows in self.branches for row in rows)
        return inner + sum(map(prod, self.parameter_shapes.values()))

    def walk(self) -> Iterator[TracedLayer]:
        """This row and all rows within it, the outer one first."""
        yield self
        for _, rows in self.branches:
            for row in rows:
                yield from row.walk()


@dataclass(frozen=True)
class Trace:
    """A traced table."""

    input: Shape
    rows: tuple[TracedLayer, ...]

    @property
    def output(self) -> Shape:
        return self.rows[-1].output

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self) -> int:
        return sum(row.macs for row in self.walk())

    def walk(self) -> Iterator[TracedLayer]:
        """All rows at all depths, in their order."""
        for row in self.rows:
            yield from row.walk()

    def records(self) -> list[LayerRecord]:
        """The rows as records; a row with branches has none of the parameters and costs within them."""
        return _records(self.rows, ())


def trace(rows: Sequence[LayerRow], shape: Shape, classes: int | None = None) -> Trace:
    """Trace a table.

    Args:
        rows: the table.
        shape: (channels, height, width) of an image.
        classes: when given, the last layer must have this many outputs.

    Raises:
        SpecError: a layer that doesn't fit its input, two rows of one name, or another number of outputs than
            classes; `where` is `layers[i]`. Or more than 10,000 layers, repeats counted.
    """
    count = _count_rows(rows)
    if count > MAX_ROWS:
        raise SpecError(
            f"this table has {count:,} layers, repeats counted", where="layers", allowed=f"up to {MAX_ROWS:,}"
        )
    traced = _trace_rows(rows, shape, (ReceptiveField1d(), ReceptiveField1d()), prefix="", where="layers")
    if classes is not None and traced[-1].output != (classes,):
        raise SpecError(
            f"the output of the last layer is {_shape_text(traced[-1].output)}, but there are {classes} classes",
            where=f"layers[{len(rows) - 1}]",
            received=str(rows[-1]),
            allowed=f"{classes} numbers",
            next_step="end the table with 'dense(classes)'"
            + ("" if len(traced[-1].output) == 1 else " after 'flatten'"),
        )
    return Trace(shape, traced)


def _count_rows(rows: Sequence[LayerRow]) -> int:
    """The number of rows with all rows within them, repeats counted."""
    inner = 0
    for row in rows:
        if isinstance(row.layer, Residual):
            inner += _count_rows(row.layer.body) + _count_rows(row.layer.shortcut)
        elif isinstance(row.layer, Repeat):
            inner += row.layer.times * (1 + _count_rows(row.layer.body))
    return len(rows) + inner


def _trace_rows(
    rows: Sequence[LayerRow], shape: Shape, fields: ReceptiveFieldPair | None, prefix: str, where: str
) -> tuple[TracedLayer, ...]:
    traced: list[TracedLayer] = []
    for index, (row, name) in enumerate(zip(rows, row_names(rows, prefix, where), strict=True)):
        try:
            done = _trace_layer(row.layer, name, shape, fields)
        except SpecError as error:
            place = f"{where}[{index}]"
            raise SpecError.from_problems(_locate_problem(problem, row, place) for problem in error.problems) from None
        traced.append(done)
        shape, fields = done.output, done.receptive_field
    return tuple(traced)


def _trace_layer(layer: Layer, name: str, shape: Shape, fields: ReceptiveFieldPair | None) -> TracedLayer:
    if isinstance(layer, Residual):
        return _trace_residual(layer, name, shape, fields)
    if isinstance(layer, Repeat):
        return _trace_repeat(layer, name, shape, fields)
    _check_rank(layer, shape)
    output = layer.output_shape(shape)
    seen = None if fields is None else layer.receptive_field(fields)
    return TracedLayer(name, layer, shape, output, layer.parameter_shapes(shape), layer.macs(shape), seen)


def _trace_residual(layer: Residual, name: str, shape: Shape, fields: ReceptiveFieldPair | None) -> TracedLayer:
    body = _trace_rows(layer.body, shape, fields, f"{name}.body.", "body")
    shortcut = _trace_rows(layer.shortcut, shape, fields, f"{name}.shortcut.", "shortcut")
    ends = [path[-1].output if path else shape for path in (body, shortcut)]
    if ends[0] != ends[1]:
        raise SpecError(
            f"the two paths of a residual must have the same output shape: the body has {_shape_text(ends[0])}, "
            f"the shortcut {_shape_text(ends[1])}",
            next_step=_shortcut_hint(shape, ends[0]),
        )
    views = [path[-1].receptive_field if path else fields for path in (body, shortcut)]
    seen = None if None in views else (widest([v[0] for v in views if v]), widest([v[1] for v in views if v]))
    return TracedLayer(name, layer, shape, ends[0], {}, 0, seen, (("body", body), ("shortcut", shortcut)))


def _shortcut_hint(start: Shape, end: Shape) -> str:
    """The shortcut from the shape `start` to `end`, or, where no stride gives that, what to do with the body."""
    fitting = "give the shortcut the same shape, as in shortcut="
    if len(end) == 1:
        return f"{fitting}[{'flatten, ' if len(start) == 3 else ''}dense({end[0]})]"
    if len(start) == 3:
        for stride in range(1, max(start[1:]) + 1):
            if all(output_size(start[axis], 1, stride).size == end[axis] for axis in (1, 2)):
                return f"{fitting}[conv({end[0]}, 1{f', stride={stride}' if stride > 1 else ''})]"
    return "keep the image's size in the body, as with padding='same'"


def _trace_repeat(layer: Repeat, name: str, shape: Shape, fields: ReceptiveFieldPair | None) -> TracedLayer:
    branches: list[tuple[str, tuple[TracedLayer, ...]]] = []
    end, seen = shape, fields
    for time in range(layer.times):
        rows = _trace_rows(layer.body, end, seen, f"{name}.{time}.", "body")
        branches.append((str(time), rows))
        if rows:
            end, seen = rows[-1].output, rows[-1].receptive_field
    return TracedLayer(name, layer, shape, end, {}, 0, seen, tuple(branches))


def _check_rank(layer: Layer, shape: Shape) -> None:
    if layer.input_kind == "image" and len(shape) != 3:
        raise SpecError(
            f"{layer.kind} needs an image, but its input is {_shape_text(shape)}",
            allowed="channels×height×width",
            next_step="move this row before the layer that ends the image (flatten, globalpool)",
        )
    if layer.input_kind == "vector" and len(shape) != 1:
        raise SpecError(
            f"{layer.kind} needs a vector, but its input is an image of {_shape_text(shape)}",
            allowed="a vector",
            next_step="put 'flatten' or 'globalpool' before it",
        )


def _locate_problem(problem: Problem, row: LayerRow, place: str) -> Problem:
    inner = problem.where.startswith(("body", "shortcut"))
    return replace(problem.with_prefix(place), received=problem.received or ("" if inner else str(row)))


def _records(rows: Sequence[TracedLayer], inputs: tuple[str, ...]) -> list[LayerRecord]:
    """The records of rows and of those within them, each with the names of its inputs."""
    found: list[LayerRecord] = []
    for row in rows:
        inner: list[LayerRecord] = []
        start, ends = inputs, inputs
        for number, (_, branch) in enumerate(row.branches):
            inner += _records(branch, start)
            end = (branch[-1].name,) if branch else start
            if isinstance(row.layer, Repeat):  # its branches are in sequence, those of a residual in parallel
                start = ends = end
            else:
                ends = (*ends, *end) if number else end
        found += [_record(row, ends), *inner]
        inputs = (row.name,)
    return found


def _record(row: TracedLayer, inputs: tuple[str, ...]) -> LayerRecord:
    return LayerRecord(
        name=row.name,
        kind=row.layer.kind,
        text=str(LayerRow(row.layer)),
        arguments=layer_arguments(row.layer),
        input=row.input,
        output=row.output,
        parameters=sum(map(prod, row.parameter_shapes.values())),
        formula=parameter_formula(row.parameter_shapes.values()),
        macs=row.macs,
        macs_formula=macs_formula(max(row.parameter_shapes.values(), key=prod), row.output[1:]) if row.macs else "",
        activations=prod(row.output),
        **field_columns(row.receptive_field),
        inputs=inputs,
    )


def _shape_text(shape: Shape) -> str:
    return f"{shape[0]} numbers" if len(shape) == 1 else format_shape(shape)
