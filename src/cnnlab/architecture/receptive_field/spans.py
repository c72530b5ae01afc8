"""The view of one node of a layer on earlier maps, traced back through the records of a table or a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from graphlib import TopologicalSorter
from math import ceil, floor
from typing import TypeAlias

from cnnlab.architecture.layer import Pair
from cnnlab.architecture.layer_graph import CONTAINER_KINDS, IMAGE_KEY, LayerGraph
from cnnlab.architecture.layers import BatchNorm, GroupNorm, LocalResponseNorm, Upsample
from cnnlab.architecture.receptive_field.result import IMAGE_NAME, MapSpan
from cnnlab.errors import UsageError
from cnnlab.records import LayerRecord
from cnnlab.theory.receptive_field import NodeRange, ReceptiveField1d

SpanPair: TypeAlias = tuple[NodeRange, NodeRange]
SpanMap: TypeAlias = Callable[[NodeRange], NodeRange]
# Layers without a window that take C×H×W only.
_CHANNELS_FIRST = (Upsample, BatchNorm, GroupNorm, LocalResponseNorm)


@dataclass(frozen=True)
class SpanTracer:
    """The rows of a table for an image of shape (C, H, W)."""

    records: Sequence[LayerRecord]
    image: tuple[int, int, int]

    @cached_property
    def graph(self) -> LayerGraph:
        """The rows with their layers."""
        return LayerGraph(self.records)

    @property
    def rows(self) -> Mapping[str, LayerRecord]:
        """Every row by its name."""
        return self.graph.rows

    @cached_property
    def position(self) -> dict[str, int]:
        """Each row's number in an order in which it comes after its inputs."""
        graph = {record.name: record.inputs for record in self.records}
        return {name: number for number, name in enumerate(TopologicalSorter(graph).static_order())}

    def last_map(self) -> LayerRecord:
        """The last row with a map whose nodes don't all see everything; where there is none, the last row."""
        rows = sorted(self.records, key=lambda record: self.position[record.name])
        return next((row for row in reversed(rows) if row.receptive_field and len(row.output) == 3), rows[-1])

    def map_size(self, name: str) -> Pair | None:
        """(height, width) of a row's map, or of the map that it flattens; None where there is none."""
        while name != IMAGE_KEY:
            record = self.rows[name]
            if len(record.output) == 3:
                return record.output[:2] if self.channels_last(record) else record.output[1:]
            if record.receptive_field is None:
                return None
            name = record.inputs[0] if record.inputs else IMAGE_KEY
        return self.image[1:]

    def channels_last(self, record: LayerRecord) -> bool:
        """Whether a map is H×W×C, as between two layers of a ConvNeXt.

        It is when its first two axes, and not its last two, have the size of a C×H×W map of the same jump.
        """
        if len(record.output) != 3 or record.jump is None:
            return False
        known = self._known_sizes.get(record.jump, set())
        return record.output[:2] in known and record.output[1:] not in known

    def spans(self, name: str, node: Pair) -> tuple[MapSpan, ...]:
        """The view of a row's node on each map of the widest path to it, the nearest first and the image last."""
        whole = self.rows[name].receptive_field is None
        span: SpanPair | None = ((node[0], node[0]), (node[1], node[1]))
        views = []
        for record in self._path_to(name):
            name = self.widest_input(record)
            sides, back = self.map_size(name), self._span_maps(record)
            if back is not None and span is not None:
                span = back[0](span[0]), back[1](span[1])
            else:
                span = sides and ((0, sides[0] - 1), (0, sides[1] - 1))
            is_map = name == IMAGE_KEY or (len(self.rows[name].output) == 3 and self.rows[name].kind != "repeat")
            if span is not None and is_map:
                # A node that sees everything sees the maps without padding.
                rows, columns = _clip(span, sides) if whole and sides else span
                size = rows[1] - rows[0] + 1, columns[1] - columns[0] + 1
                views.append(MapSpan(name=name or IMAGE_NAME, size=size, rows=rows, columns=columns))
        return tuple(views)

    def widest_input(self, record: LayerRecord) -> str:
        """A row's input with the largest receptive field; "" for the image."""

        def area(name: str) -> int:
            field = self.rows[name].receptive_field
            return field[0] * field[1] if field else 0

        return max(record.inputs, key=area, default=IMAGE_KEY)

    def windows_to(self, name: str) -> list[LayerRecord]:
        """The rows on the widest path from the image to a row that widen or move the view, in order."""
        path = [row for row in self._path_to(name) if row.receptive_field is not None and self.window(row) is not None]
        return path[::-1]

    def _path_to(self, name: str) -> Iterator[LayerRecord]:
        """The rows on the widest path to a row, beginning with it."""
        while name != IMAGE_KEY:
            yield self.rows[name]
            name = self.widest_input(self.rows[name])

    def window(self, record: LayerRecord) -> Pair | None:
        """Rows and columns of its input that a node takes; None where it takes the node of its own position."""
        back = self._span_maps(record)
        if back is None or all(step((node, node)) == (node, node) for step in back for node in (0, 1)):
            return None
        high, wide = (step((0, 0)) for step in back)
        return high[1] - high[0] + 1, wide[1] - wide[0] + 1

    @cached_property
    def _known_sizes(self) -> dict[tuple[str, str], set[Pair]]:
        """At each jump, the sizes of maps known to be C×H×W: the image's, and those of windows."""
        sizes = {("1", "1"): {self.image[1:]}}
        for record in self.records:
            layer = self.graph.layer(record)
            known = layer is not None and (layer.window() is not None or isinstance(layer, _CHANNELS_FIRST))
            if known and record.jump is not None and len(record.output) == 3:
                sizes.setdefault(record.jump, set()).add((record.output[1], record.output[2]))
        return sizes

    def _span_maps(self, record: LayerRecord) -> tuple[SpanMap, SpanMap] | None:
        """The view of a row's nodes one map back, along each axis; None for all of it."""
        if record.receptive_field is None:
            return None
        if record.kind in CONTAINER_KINDS or len(record.inputs) > 1:
            return _identity, _identity
        layer = self.graph.layer(record)
        views = None if layer is None else layer.receptive_field((ReceptiveField1d(), ReceptiveField1d()))
        if views is not None:
            return views[0].input_range, views[1].input_range
        before = self.rows[record.inputs[0]] if record.inputs else None
        return _span_map_between(before, record, 0), _span_map_between(before, record, 1)


def validated_node(node: Pair, sides: Pair, layer: str) -> Pair:
    """A node (row, column) of a layer's map of these sides.

    Raises:
        UsageError: it is outside the map.
    """
    if all(0 <= at < side for at, side in zip(node, sides, strict=True)):
        return node
    raise UsageError(
        f"the map of '{layer}' has no such node",
        where="--node",
        received=f"{node[0]},{node[1]}",
        allowed=f"rows 0 to {sides[0] - 1}, columns 0 to {sides[1] - 1}",
    )


def _identity(span: NodeRange) -> NodeRange:
    return span


def _span_map_between(source: LayerRecord | None, target: LayerRecord, axis: int) -> SpanMap:
    """The step from a row back to its input, by their views of the image."""
    start, end, jump = _first_field(target, axis)
    start_before, end_before, jump_before = _first_field(source, axis)

    def step(span: NodeRange) -> NodeRange:
        first = (start + span[0] * jump - start_before) / jump_before
        last = (end + span[1] * jump - end_before) / jump_before
        return floor(first), ceil(last)

    return step


def _first_field(record: LayerRecord | None, axis: int) -> tuple[Fraction, Fraction, Fraction]:
    """The first and last pixel that a map's first node sees, and the jump; those of the image for None."""
    if record is None or record.jump is None or record.first_centre is None or record.receptive_field is None:
        return Fraction(0), Fraction(0), Fraction(1)
    reach = Fraction(record.receptive_field[axis] - 1, 2)
    centre = Fraction(record.first_centre[axis])
    return centre - reach, centre + reach, Fraction(record.jump[axis])


def _clip(span: SpanPair, sides: Pair) -> SpanPair:
    rows, columns = ((max(first, 0), min(last, side - 1)) for (first, last), side in zip(span, sides, strict=True))
    return rows, columns
