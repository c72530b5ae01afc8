"""What each layer of a table sees of the image: from rows or records to an answer."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from cnnlab.architecture.layer import Pair, Shape
from cnnlab.architecture.layer_graph import CONTAINER_KINDS
from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.layers import AdaptivePool, LayerRow, Upsample, layers
from cnnlab.architecture.receptive_field.result import IMAGE_NAME, LayerField, MapSpan
from cnnlab.architecture.receptive_field.spans import SpanTracer
from cnnlab.architecture.receptive_field.view import ReceptiveFields
from cnnlab.architecture.trace import Trace, trace
from cnnlab.errors import SpecError, UsageError, did_you_mean
from cnnlab.records import LayerRecord
from cnnlab.render.formatting import format_shape, shorten
from cnnlab.theory.output_size import SizeExpression

# What 'classes' stands for in a table without data.
DEFAULT_CLASSES = 10
# Sides that are tried for an image of no given size.
_CANDIDATE_SIDES = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096)
DEFAULT_SIZE = 256
# With more rows, what each sees on each other one would be a book.
MAX_ROWS = 64
SizeRules = tuple[SizeExpression, SizeExpression]


def receptive_field(
    *layers: Any, size: int | Pair | None = None, channels: int = 3, layer: str = "", node: Pair | None = None
) -> ReceptiveFields:
    """What every layer sees of the image: size, jump, first centre, and what one node sees on each earlier map.

    Args:
        layers: the table's rows, from the image on: texts such as "conv(32, 5)", or layers; `classes` stands for 10.
        size: the image's side in pixels, or (height, width); without it, sizes are given as rules in A.
        channels: C of the image.
        layer: the row that is traced back; the last one with a map where it is left out.
        node: (row, column) on its map, from 0; the one in the middle where it is left out.

    Raises:
        SpecError: rows that are wrong or don't fit together.
        UsageError: a layer or a node that is not there, or a size below 1.

    >>> fields = receptive_field("conv(1, 5)", "conv(1, 3)")
    >>> fields.receptive_field, [span.size for span in fields.spans]
    ((7, 7), [(3, 3), (7, 7)])
    """
    rows = read_table(
        [str(LayerRow(row) if hasattr(row, "parameter_shapes") else row) for row in layers], {}, DEFAULT_CLASSES
    )
    found = trace_table(rows, size, channels)
    return fields_from_records(found.records(), found.input, size_given=size is not None, layer=layer, node=node)


def trace_table(rows: Sequence[LayerRow], size: int | Pair | None, channels: int) -> Trace:
    """A table over an image of this size, or of one that is large enough for its windows."""
    if size is not None:
        sides = (size, size) if isinstance(size, int) else size
        if min(*sides, channels) < 1:
            shape = format_shape((channels, *sides))
            raise UsageError("an image has one pixel and one channel at least", where="--size", received=shape)
        return trace(rows, (channels, *sides))
    problem: SpecError | None = None
    widest = 0
    for side in _CANDIDATE_SIDES:
        if widest * 4 > side * 3 and side != _CANDIDATE_SIDES[-1]:
            continue
        try:
            found = trace(rows, (channels, side, side))
        except SpecError as error:
            # An error at every size is reported for one that people know.
            problem = error if side <= DEFAULT_SIZE else problem
            if side == _CANDIDATE_SIDES[-1]:
                raise problem or error from None
            continue
        # How much a node sees is the same for every image.
        views = (row.receptive_field for row in found.walk() if row.receptive_field)
        widest = max((max(high.size, wide.size) for high, wide in views), default=1)
        if widest * 4 <= side * 3:
            break
    return found


def fields_from_records(
    records: Sequence[LayerRecord],
    image: Shape,
    *,
    size_given: bool = True,
    layer: str = "",
    node: Pair | None = None,
    title: str = "",
) -> ReceptiveFields:
    """The answer for the records of a table or of a traced network.

    Args:
        image: (C, H, W).
        size_given: False where nobody asked for this size of the image: sizes are given as rules, then.
        layer: as in `receptive_field`; so is `node`.
        title: what the network is called.

    Raises:
        UsageError: a layer or a node that is not there.
    """
    channels, high, wide = image
    tracer = SpanTracer(records, (channels, high, wide))
    chosen = _select_layer(tracer, layer)
    if node is not None and not size_given:
        raise UsageError(
            "where a node lies depends on the size of the image",
            where="--node",
            received=f"{node[0]},{node[1]}",
            next_step="give the size, too, or leave the node out",
        )
    place = _select_node(tracer, chosen, node)
    rules = _size_rules(tracer)
    several = len(records) <= MAX_ROWS
    views = {row.name: _layer_field(tracer, row, rules[row.name], size_given, several) for row in records}
    views[chosen.name] = views[chosen.name].model_copy(update=_node_values(tracer, chosen, place, size_given))
    return ReceptiveFields(
        title=title,
        image=tracer.image,
        size_given=size_given,
        layer=chosen.name,
        node=None if chosen.receptive_field is None else place,
        layers=tuple(views.values()),
        windows=tuple(row.name for row in tracer.windows_to(chosen.name)),
        maps={row.name: sides for row in records if (sides := tracer.map_size(row.name)) is not None},
    )


def _select_layer(tracer: SpanTracer, layer: str) -> LayerRecord:
    if not layer:
        return tracer.last_map()
    if layer not in tracer.rows:
        raise UsageError(
            f"there is no layer '{layer}'",
            where="--layer",
            allowed=shorten(", ".join(tracer.rows), 400),
            next_step=did_you_mean(layer, tracer.rows),
        )
    return tracer.rows[layer]


def _select_node(tracer: SpanTracer, selected: LayerRecord, node: Pair | None) -> Pair:
    if node is None:
        return tracer.centre_node(selected.name)
    sides = tracer.map_size(selected.name)
    if selected.receptive_field is None or sides is None:
        raise UsageError(
            f"'{selected.name}' has no nodes with a place: each of them sees the whole image",
            where="--node",
            next_step="leave the node out, or choose a layer with a map",
        )
    if not all(0 <= at < side for at, side in zip(node, sides, strict=True)):
        raise UsageError(
            f"the map of '{selected.name}' has no such node",
            where="--node",
            received=f"{node[0]},{node[1]}",
            allowed=f"rows 0 to {sides[0] - 1}, columns 0 to {sides[1] - 1}",
        )
    return node


def _layer_field(
    tracer: SpanTracer, row: LayerRecord, rule: SizeRules | None, size_given: bool, has_branches: bool
) -> LayerField:
    seen = row.receptive_field
    same = rule is not None and rule[0] == rule[1]
    view = LayerField(
        name=row.name,
        kind=row.kind,
        text=row.text,
        output=row.output if size_given else None,
        rule=None if rule is None else (rule[0].text(), rule[1].text("A" if same else "B")),
        window=tracer.window(row) if seen else None,
        receptive_field=seen,
        jump=row.jump,
        first_centre=row.first_centre,
        inputs=prod(seen) * tracer.image[0] if seen else prod(tracer.image) if size_given else None,
        path=tracer.widest_branch(row),
    )
    return (
        view.model_copy(update=_node_values(tracer, row, tracer.centre_node(row.name), size_given))
        if has_branches
        else view
    )


def _node_values(tracer: SpanTracer, row: LayerRecord, node: Pair, size_given: bool) -> dict[str, Any]:
    """What depends on the node. Nodes that see everything see nothing certain of an image of unknown size."""
    if row.receptive_field is None and not size_given:
        return {}
    seen = tracer.spans(row.name, node)
    image = next(map_span for map_span in seen if map_span.name == IMAGE_NAME)
    inside = tracer.image[0] * _pixels_inside(image, tracer.image[1:])
    return {"sees": seen, "inputs_inside": inside if size_given else None}


def _pixels_inside(span: MapSpan, sides: Pair) -> int:
    """How many pixels of the image a view has, without padding."""
    spans = zip((span.rows, span.columns), sides, strict=True)
    return prod(max(min(last, side - 1) - max(first, 0) + 1, 0) for (first, last), side in spans)


def _size_rules(tracer: SpanTracer) -> dict[str, SizeRules | None]:
    """Each map's sides as rules in the image's; None where no rule gives the size that the map has."""
    found: dict[str, SizeRules | None] = {"": (SizeExpression(), SizeExpression())}
    for name in tracer.position:
        row = tracer.rows[name]
        before = found[tracer.widest_input(row)]
        rule = None if before is None or len(row.output) != 3 else _next_rules(tracer, row, before)
        sizes = None if rule is None else tuple(rule[axis].size(tracer.image[1 + axis]) for axis in (0, 1))
        found[name] = rule if sizes == tracer.map_size(name) else None
    return found


def _next_rules(tracer: SpanTracer, row: LayerRecord, before: SizeRules) -> SizeRules:
    layer = tracer.layer(row)
    if layer is None or row.kind in CONTAINER_KINDS or len(row.inputs) > 1:
        return before
    if isinstance(layer, Upsample):
        return before[0].after_upsample(layer.scale), before[1].after_upsample(layer.scale)
    if isinstance(layer, AdaptivePool):
        return SizeExpression.fixed(layer.size[0]), SizeExpression.fixed(layer.size[1])
    window = layer.window()
    if window is None:
        return before
    high, wide = (
        before[axis].after_window(
            window.kernel[axis], window.stride[axis], window.dilation[axis], window.total_padding[axis]
        )
        for axis in (0, 1)
    )
    return high, wide


def is_layer_row(text: str) -> bool:
    """Whether a person means a row of a table by it, rather than the name of a file or a network.

    >>> is_layer_row("conv(32, 5)"), is_layer_row("relu"), is_layer_row("resnet18"), is_layer_row("lenet.toml")
    (True, True, False, False)
    """
    name = text.rpartition(":")[2] if "(" not in text else text.partition("(")[0].rpartition(":")[2]
    return "(" in text or name.strip() in layers.kinds
