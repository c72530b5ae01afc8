"""The receptive fields of a table's rows or of a network's records."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import prod
from typing import Any, TypeAlias

from cnnlab.architecture.layer import Layer, Pair, Shape
from cnnlab.architecture.layer_graph import CONTAINER_KINDS, IMAGE_KEY
from cnnlab.architecture.layer_table import find_layer_name, read_table
from cnnlab.architecture.layers import AdaptivePool, LayerRow, Upsample, layers
from cnnlab.architecture.receptive_field.result import LayerField, ReceptiveFields
from cnnlab.architecture.receptive_field.spans import SpanTracer, validated_node
from cnnlab.architecture.trace import Trace, trace
from cnnlab.errors import SpecError, UsageError
from cnnlab.records import LayerRecord
from cnnlab.render.formatting import format_shape
from cnnlab.theory.output_size import SizeExpression

# The value of `classes` in a table without data.
DEFAULT_CLASSES = 10
# Sides tried for an image of no given size.
_SIDES = (8, 12, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
# The sides of a map as functions of the image's.
SizeRules: TypeAlias = tuple[SizeExpression, SizeExpression]


def receptive_field(
    *layers: Any, size: int | Pair | None = None, channels: int = 3, layer: str = "", node: Pair | None = None
) -> ReceptiveFields:
    """Compute every layer's receptive field, and the view of one node on earlier maps.

    Args:
        layers: the table's rows, from the image on: texts such as "conv(32, 5)", or layers; `classes` is 10.
        size: the image's side in pixels, or (height, width); without it, sizes are functions of the side A.
        channels: C of the image.
        layer: the row that is traced back; by default the last one with a map.
        node: (row, column) on its map, from 0; by default the one in the middle.

    Raises:
        SpecError: rows that are wrong or don't fit together.
        UsageError: a layer or a node that is not there, or a size below 1.

    >>> fields = receptive_field("conv(1, 5)", "conv(1, 3)")
    >>> fields.receptive_field, [span.size for span in fields.spans]
    ((7, 7), [(3, 3), (7, 7)])
    """
    texts = [str(LayerRow(row) if hasattr(row, "parameter_shapes") else row) for row in layers]
    table = trace_table(read_table(texts, {}, DEFAULT_CLASSES), size, channels)
    return fields_from_records(table.records(), table.input, size_given=size is not None, layer=layer, node=node)


def trace_table(rows: Sequence[LayerRow], size: int | Pair | None, channels: int) -> Trace:
    """Trace a table over an image of this size, or over one that is larger than the receptive fields."""
    if size is not None:
        sides = (size, size) if isinstance(size, int) else size
        if min(*sides, channels) < 1:
            shape = format_shape((channels, *sides))
            raise UsageError("an image has one pixel and one channel at least", where="--size", received=shape)
        return trace(rows, (channels, *sides))
    for side in _SIDES:
        try:
            table = trace(rows, (channels, side, side))
        except SpecError:
            if side == _SIDES[-1]:
                raise
            continue
        fields = (row.receptive_field for row in table.walk() if row.receptive_field)
        if 3 * side >= 4 * max((max(high.size, wide.size) for high, wide in fields), default=1):
            break
    return table


def fields_from_records(
    records: Sequence[LayerRecord],
    image: Shape,
    *,
    size_given: bool = True,
    layer: str = "",
    node: Pair | None = None,
    title: str = "",
) -> ReceptiveFields:
    """Compute the receptive fields of the records of a table or of a traced network.

    Args:
        image: (C, H, W).
        size_given: False where the caller gave no size: sizes are then functions of the image's side.
        layer, node: as in `receptive_field`.
        title: the network's name.

    Raises:
        UsageError: a layer or a node that is not there.
    """
    channels, high, wide = image
    tracer = SpanTracer(records, (channels, high, wide))
    selected = tracer.rows[find_layer_name(layer, tracer.rows)] if layer else tracer.last_map()
    sides = tracer.map_size(selected.name) or (1, 1)
    if node is not None and (not size_given or selected.receptive_field is None):
        reason = f"every node of '{selected.name}' sees the whole image" if size_given else "the image has no size"
        raise UsageError(
            f"a node can't be traced back: {reason}",
            where="--node",
            received=f"{node[0]},{node[1]}",
            next_step="choose a layer with a map" if size_given else "give the size, too, or leave the node out",
        )
    node = (sides[0] // 2, sides[1] // 2) if node is None else validated_node(node, sides, selected.name)
    rules = _size_rules(tracer)
    # A node that sees everything has no definite view of an image of unknown size.
    traced = size_given or selected.receptive_field is not None
    return ReceptiveFields(
        title=title,
        image=tracer.image,
        size_given=size_given,
        layer=selected.name,
        node=None if selected.receptive_field is None else node,
        spans=tracer.spans(selected.name, node) if traced else (),
        layers=tuple(_layer_field(tracer, row, rules[row.name], size_given) for row in records),
        windows=tuple(row.name for row in tracer.windows_to(selected.name)),
        maps={row.name: size for row in records if (size := tracer.map_size(row.name)) is not None},
    )


def _layer_field(tracer: SpanTracer, row: LayerRecord, rule: SizeRules | None, size_given: bool) -> LayerField:
    field, square = row.receptive_field, rule is not None and rule[0] == rule[1]
    return LayerField(
        name=row.name,
        kind=row.kind,
        text=row.text,
        output=row.output if size_given else None,
        rule=None if rule is None else (rule[0].text(), rule[1].text("A" if square else "B")),
        window=tracer.window(row) if field else None,
        receptive_field=field,
        jump=_fractions(row.jump),
        first_centre=_fractions(row.first_centre),
        inputs=prod(field) * tracer.image[0] if field else prod(tracer.image) if size_given else None,
        path=tracer.widest_input(row) if len(row.inputs) > 1 or row.kind == "residual" else "",
    )


def _fractions(sides: tuple[str, str] | None) -> tuple[Fraction, Fraction] | None:
    return None if sides is None else (Fraction(sides[0]), Fraction(sides[1]))


def _size_rules(tracer: SpanTracer) -> dict[str, SizeRules | None]:
    """Each map's sides as functions of the image's; None where they don't give the size that the map has."""
    rules: dict[str, SizeRules | None] = {IMAGE_KEY: (SizeExpression(), SizeExpression())}
    for name in tracer.position:
        row, layer = tracer.rows[name], tracer.graph.layer(tracer.rows[name])
        if row.kind in CONTAINER_KINDS or len(row.inputs) > 1:
            layer = None
        rules[name] = None
        before = rules[tracer.widest_input(row)]
        if before is not None and len(row.output) == 3:
            high, wide = (_next_rule(layer, axis, before[axis]) for axis in (0, 1))
            if high and wide and (high.size(tracer.image[1]), wide.size(tracer.image[2])) == tracer.map_size(name):
                rules[name] = high, wide
    return rules


def _next_rule(layer: Layer | None, axis: int, before: SizeExpression) -> SizeExpression | None:
    """A side after a layer, which a row that is no layer keeps; None for a rounded size that is enlarged."""
    if isinstance(layer, Upsample):
        return before.after_upsample(layer.scale)
    if isinstance(layer, AdaptivePool):
        return SizeExpression.fixed(layer.size[axis])
    window = layer.window() if layer is not None else None
    if window is None:
        return before
    return before.after_window(
        window.kernel[axis], window.stride[axis], window.dilation[axis], window.total_padding[axis]
    )


def is_layer_row(text: str) -> bool:
    """Whether a text is a row of a table, rather than the name of a file or a network.

    >>> is_layer_row("conv(32, 5)"), is_layer_row("relu"), is_layer_row("resnet18"), is_layer_row("lenet.toml")
    (True, True, False, False)
    """
    name = text.rpartition(":")[2] if "(" not in text else text.partition("(")[0].rpartition(":")[2]
    return "(" in text or name.strip() in layers.kinds
