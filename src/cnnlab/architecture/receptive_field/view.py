"""View of the receptive fields of a layer table: sentences, tables, JSON, and a drawing of one node's path."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import groupby
from math import ceil, sqrt

from cnnlab.architecture.layer import Pair, format_shape
from cnnlab.architecture.receptive_field.result import IMAGE_NAME, LayerField, MapSpan, rule_text
from cnnlab.render import formatting
from cnnlab.render.document import Document, Formula
from cnnlab.render.formatting import format_count, shorten
from cnnlab.render.svg import SMALL, Point, SvgDrawing, text_width
from cnnlab.render.tables import TextTable

# More maps than these would be too small; of more, some in between are left out.
MAX_MAPS = 8
MAX_SIDE, MIN_SIDE = 190.0, 46.0
# Maps stand upright and are seen from the left: a column goes so far right and up for each pixel of height.
ACROSS, UP = 0.5, 0.22
GAP, MARGIN, LINE = 34.0, 22.0, 15.0
MAX_LABEL = 20
# Cells below this side, in pixels, are not drawn one by one.
MIN_CELL = 4.0
# A view that goes further beyond its map than this share of the map's side is cut off there.
MAX_OVERHANG = 0.35


@dataclass(frozen=True)
class _Map:
    """A map in its place: `sides` in nodes, the view on it, and where its upper left corner stands."""

    labels: tuple[str, ...]
    sides: Pair
    rows: Pair
    columns: Pair
    cell: float
    left: float = 0.0
    top: float = 0.0

    @property
    def height(self) -> float:
        return self.sides[0] * self.cell

    @property
    def width(self) -> float:
        return self.sides[1] * self.cell * ACROSS

    @property
    def total_width(self) -> float:
        """The width of the map or of its labels."""
        return max(self.width, *(text_width(label, SMALL) for label in self.labels))

    def corner(self, row: float, column: float) -> Point:
        """The upper left corner of a node."""
        along = column * self.cell
        return self.left + along * ACROSS, self.top + row * self.cell - along * UP

    def corners(self, rows: Pair, columns: Pair) -> list[Point]:
        """The corners of these nodes together, from the upper left one on, with the clock."""
        (top, bottom), (left, right) = rows, columns
        return [
            self.corner(top, left),
            self.corner(top, right + 1),
            self.corner(bottom + 1, right + 1),
            self.corner(bottom + 1, left),
        ]


def receptive_field_svg(
    headline: str,
    image: tuple[int, int, int],
    size: str,
    layers: Sequence[tuple[LayerField, Pair]],
    node: Pair | None,
    map_spans: Sequence[MapSpan],
) -> str:
    """The picture, standing alone.

    Args:
        headline: what it shows, in a sentence.
        image: (C, H, W).
        size: what the image's size is called: its own, or "A×A".
        layers: the rows whose maps are drawn, with the maps' sides; the last one is traced back.
        node: the node of the last map; None where it sees everything.
        map_spans: what it sees on the maps.
    """
    spans = {span.name: (span.rows, span.columns) for span in map_spans}
    if node is not None and layers:
        spans[layers[-1][0].name] = ((node[0], node[0]), (node[1], node[1]))
    shown = [(view, sides) for view, sides in layers if view.name in spans]
    kept = _evenly_spaced(len(shown), MAX_MAPS - 1)
    high, wide = image[1:]
    start = [((IMAGE_NAME, size, _span_text(spans.get(IMAGE_NAME), (high, wide))), (high, wide), IMAGE_NAME)]
    drawn = start + [(_labels(shown[place], spans), shown[place][1], shown[place][0].name) for place in kept]
    largest = max(max(sides) for _, sides, _ in drawn)
    maps = [
        _Map(
            labels,
            sides,
            *_clip_span(spans.get(name, ((0, sides[0] - 1), (0, sides[1] - 1))), sides),
            _cell_size(sides, largest),
        )
        for labels, sides, name in drawn
    ]
    whole = all(
        (each.rows, each.columns) == spans.get(name, (each.rows, each.columns))
        for each, (*_, name) in zip(maps, drawn, strict=True)
    )
    skipped = [after - before - 1 for before, after in zip([-1, *kept], kept, strict=False)]
    return _draw(headline, maps, _legend_text(maps, skipped, whole), skipped, node is not None)


def _labels(shown: tuple[LayerField, Pair], spans: dict[str, tuple[Pair, Pair]]) -> tuple[str, ...]:
    view, sides = shown
    window = f" {format_shape(view.window)}" if view.window and view.kind != "upsample" else ""
    spread = ", dilated" if "dilation" in view.text else ""
    size = rule_text(view.rule) if view.output is None and view.rule else format_shape(sides)
    layer = f"{view.kind}{window}{spread}"
    return (
        _shorten(view.name),
        *(shorten(text, MAX_LABEL) for text in (layer, size)),
        _span_text(spans[view.name], sides),
    )


def _shorten(name: str) -> str:
    """The end of a long name, which tells more than its beginning."""
    return name if len(name) <= MAX_LABEL else "…" + name[1 - MAX_LABEL :]


def _span_text(span: tuple[Pair, Pair] | None, sides: Pair) -> str:
    if span is None:
        return "sees all"
    (top, bottom), (left, right) = span
    if (top, bottom, left, right) == (0, sides[0] - 1, 0, sides[1] - 1) and sides != (1, 1):
        return "sees all"
    return f"sees {bottom - top + 1}×{right - left + 1}"


def _cell_size(sides: Pair, largest: int) -> float:
    """A node's side in pixels: a map of half the side is drawn smaller by a third, so that small ones stay legible."""
    side = max(sides)
    return max(MAX_SIDE * sqrt(side / largest), MIN_SIDE) / side


def _evenly_spaced(count: int, limit: int) -> list[int]:
    """The numbers of at most so many things, the first and the last among them."""
    if count <= limit:
        return list(range(count))
    return [round(step * (count - 1) / (limit - 1)) for step in range(limit)]


def _clip_span(span: tuple[Pair, Pair], sides: Pair) -> tuple[Pair, Pair]:
    """The view without what lies far beyond the map."""
    room = ceil(MAX_OVERHANG * max(sides))
    rows, columns = (
        (max(first, -room), min(last, side - 1 + room)) for (first, last), side in zip(span, sides, strict=True)
    )
    return rows, columns


def _draw(headline: str, maps: Sequence[_Map], legend: str, skipped: Sequence[int], traced: bool) -> str:
    maps = _arrange_maps(maps)
    ends = [point for each in maps for point in each.corners(each.rows, each.columns)]
    bottom = max(max(each.corner(each.sides[0], 0)[1] for each in maps), *(y for _, y in ends)) + LINE + 6
    width = max(
        maps[-1].left + maps[-1].total_width, *(x for x, _ in ends), *(text_width(t) for t in (headline, legend))
    )
    labels = bottom + (LINE if any(skipped) else 0)
    height = labels + (4.5 if legend else 3) * LINE + MARGIN
    words_of_all = "; ".join(", ".join(each.labels) for each in maps)
    drawing = SvgDrawing(width + MARGIN, height, "views", f"{headline}. {words_of_all}.")
    drawing.text(MARGIN, MARGIN + 4, headline, bold=True)
    for each in maps:
        _draw_map(drawing, each)
    for before, after, left_out in zip(maps, maps[1:], skipped, strict=False):
        _draw_rays(drawing, before, after)
        if left_out:
            x = (before.left + before.width + after.left) / 2
            drawing.text(x, bottom, f"+{left_out}", size=SMALL, colour="muted", anchor="middle")
    for number, each in enumerate(maps):
        last = traced and number == len(maps) - 1
        _draw_span(drawing, each, "test" if last else "validation", strong=last)
        _draw_labels(drawing, each, labels, last)
    drawing.text(MARGIN, labels + 4.5 * LINE, legend, size=SMALL, colour="muted")
    return drawing.to_svg(standalone=True)


def _legend_text(maps: Sequence[_Map], skipped: Sequence[int], whole: bool) -> str:
    """What the picture's signs mean, those that are in it."""
    beyond = any(
        span[0] < 0 or span[1] >= side
        for each in maps
        for span, side in zip((each.rows, each.columns), each.sides, strict=True)
    )
    notes = ["dashed: beyond the map, padding" + ("" if whole else ", drawn in part")] if beyond else []
    notes += ["+n: layers with windows that are not drawn"] if any(skipped) else []
    return "; ".join(notes)


def _arrange_maps(maps: Sequence[_Map]) -> list[_Map]:
    """Side by side, their middles on one line, with room for views that begin in the padding."""
    overhang = [min(point[1] for point in each.corners(each.rows, each.columns)) for each in maps]
    tops = [min(-each.width / ACROSS * UP, over) for each, over in zip(maps, overhang, strict=True)]
    middle = MARGIN + 24 + max(each.height / 2 - top for each, top in zip(maps, tops, strict=True))
    left, found = MARGIN, []
    for each in maps:
        left += max(-min(x for x, _ in each.corners(each.rows, each.columns)), 0)
        shift = (each.total_width - each.width) / 2
        found.append(
            _Map(each.labels, each.sides, each.rows, each.columns, each.cell, left + shift, middle - each.height / 2)
        )
        left += each.total_width + GAP
    return found


def _draw_map(drawing: SvgDrawing, each: _Map) -> None:
    whole = each.corners((0, each.sides[0] - 1), (0, each.sides[1] - 1))
    drawing.polygon(whole, fill="panel", stroke="muted")
    if each.cell < MIN_CELL:
        return
    for row in range(1, each.sides[0]):
        drawing.line([each.corner(row, 0), each.corner(row, each.sides[1])], stroke="line")
    for column in range(1, each.sides[1]):
        drawing.line([each.corner(0, column), each.corner(each.sides[0], column)], stroke="line")
    drawing.polygon(whole, stroke="muted")


def _draw_span(drawing: SvgDrawing, each: _Map, colour: str, *, strong: bool) -> None:
    """The view within the map filled; where it goes beyond, into the padding, its outline dashed."""
    corners = each.corners(each.rows, each.columns)
    rows = (max(each.rows[0], 0), min(each.rows[1], each.sides[0] - 1))
    columns = (max(each.columns[0], 0), min(each.columns[1], each.sides[1] - 1))
    if rows[0] <= rows[1] and columns[0] <= columns[1]:
        drawing.polygon(each.corners(rows, columns), fill=colour, opacity=0.85 if strong else 0.35)
    if (rows, columns) == (each.rows, each.columns):
        drawing.polygon(corners, stroke=colour, thickness=1.6)
    else:
        drawing.line([*corners, corners[0]], stroke=colour, thickness=1.4, dashes="4 3")


def _draw_rays(drawing: SvgDrawing, before: _Map, after: _Map) -> None:
    pairs = zip(before.corners(before.rows, before.columns), after.corners(after.rows, after.columns), strict=True)
    for start, end in pairs:
        drawing.line([start, end], stroke="validation", thickness=0.9)


def _draw_labels(drawing: SvgDrawing, each: _Map, top: float, last: bool) -> None:
    middle = each.left + each.width / 2
    for number, label in enumerate(each.labels):
        is_view = number == len(each.labels) - 1
        colour = "ink" if number == 0 or is_view else "muted"
        text = "one node" if is_view and last else label
        line = top + (number + (4 - len(each.labels) if is_view else 0)) * LINE
        drawing.text(middle, line, text, size=SMALL, colour=colour, anchor="middle", bold=number == 0)


RECURRENCE = Formula(
    "r = r' + (k − 1)·j',   j = j'·s   (k: window, s: stride, r' and j': of the map in front; at first r = j = 1)",
    r"r_l = r_{l-1} + (k_l - 1)\, j_{l-1}, \qquad j_l = j_{l-1}\, s_l, \qquad r_0 = j_0 = 1",
)
CENTRE_NOTE = (
    "First centre: the middle of the first node's view, from the middle of the first pixel; padding lies below 0."
)
# Their statistics are of whole maps.
_GLOBAL_NORMS = ("layernorm", "groupnorm")
# In a sum of more terms, equal ones are put together.
MAX_TERMS = 8


@dataclass(frozen=True)
class ReceptiveFields:
    """What every layer of a network sees of the image, and what one node sees on every map in front of it.

    Attributes:
        title: what the network is called; "" for a table.
        image: (C, H, W); where it was not `size_given`, one that is large enough for a drawing.
        layer: the row that is traced back.
        node: (row, column) on its map; None where its nodes see the whole image.
        layers: every row.
        windows: the rows that widen or move the view, on the widest path to `layer`.
        maps: (height, width) of each row's map.
    """

    title: str
    image: tuple[int, int, int]
    size_given: bool
    layer: str
    node: tuple[int, int] | None
    layers: tuple[LayerField, ...]
    windows: tuple[str, ...]
    maps: dict[str, tuple[int, int]]

    @property
    def selected(self) -> LayerField:
        """The row that is traced back."""
        return self.row(self.layer)

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """(height, width) of a node's view in pixels; None: the whole image."""
        return self.selected.receptive_field

    @property
    def jump(self) -> tuple[Fraction, Fraction] | None:
        """How many pixels the views of two neighbours are apart."""
        return self.selected.jump

    @property
    def first_centre(self) -> tuple[Fraction, Fraction] | None:
        """The middle of the first node's view, from the middle of the first pixel."""
        return self.selected.first_centre

    @property
    def inputs(self) -> int | None:
        """How many numbers of the image a node sees, padding among them."""
        return self.selected.inputs

    @property
    def spans(self) -> tuple[MapSpan, ...]:
        """What the node sees on each earlier map, the nearest first."""
        return self.selected.sees

    @property
    def is_square(self) -> bool:
        """Whether one letter is enough for the sides of all maps: those of an A×A image have equal ones."""
        return all(row.rule is None or row.rule[0] == row.rule[1] for row in self.layers)

    def row(self, name: str) -> LayerField:
        """The row of this name."""
        return self._rows[name]

    def to_json(self, indent: int | None = None) -> str:
        """The chosen row's fields, then those of every row; one number stands for two sides that are equal."""
        chosen = self.selected.model_dump(mode="json", exclude={"name", "kind", "text", "output"})
        whole = {
            "layer": self.layer,
            **chosen,
            "node": self.node,
            "image": self.image,
            "size_given": self.size_given,
            "layers": [row.model_dump(mode="json") for row in self.layers],
        }
        return json.dumps(whole, indent=indent, ensure_ascii=False)

    def document(self) -> Document:
        """The worked answer."""
        tables = [("", _layer_table(self))]
        if self.spans:
            place = f"({self.node[0]}, {self.node[1]})" if self.node and self.size_given else f"of {self.layer}"
            tables.append((f"seen by node {place}", _span_table(self)))
        return Document(
            title=f"{self.title}: {self._headline()}" if self.title else _sentence(self._headline()),
            lines=(RECURRENCE, *_worked_sum(self)),
            tables=tuple(tables),
            notes=(*_notes(self),),
        )

    def svg(self) -> str:
        """The picture: one node traced back through the maps to the image."""
        drawn = [(self.row(name), self.maps[name]) for name in self._drawn_layers() if name in self.maps]
        image = formatting.format_shape(self.image) if self.size_given else "A×A" if self.is_square else "A×B"
        return receptive_field_svg(_sentence(self._headline()), self.image, image, drawn, self.node, self.spans)

    def _repr_html_(self) -> str:
        return self.document().to_html(self.svg())

    @cached_property
    def _rows(self) -> dict[str, LayerField]:
        return {row.name: row for row in self.layers}

    def _headline(self) -> str:
        seen = self.receptive_field
        if seen is None:
            return f"a node of {self.layer} sees the whole image"
        return f"a node of {self.layer} sees {formatting.format_shape(seen)} pixels of the image"

    def _drawn_layers(self) -> tuple[str, ...]:
        """The maps of the picture: those that a window made, and the chosen one at their end."""
        return self.windows if self.windows[-1:] == (self.layer,) else (*self.windows, self.layer)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _layer_table(fields: ReceptiveFields) -> TextTable:
    image = formatting.format_shape(fields.image) if fields.size_given else "A" if fields.is_square else "A by B"
    first = (IMAGE_NAME, "", image, "1", "1", "0", str(1 * fields.image[0]))
    rows = [first, *(_layer_row(row) for row in fields.layers)]
    output = "#output" if fields.size_given else "output, for A×A" if fields.is_square else "output, for A×B"
    return TextTable.from_rows(("layer", "`row", output, "#sees", "#jump", "#first centre", "#inputs"), rows)


def _layer_row(row: LayerField) -> tuple[str, ...]:
    rule = rule_text(row.rule) if row.rule else ""
    output = rule if row.output is None else formatting.format_shape(row.output)
    sees = "everything" if row.receptive_field is None else formatting.format_shape(row.receptive_field)
    jump, centre = (_one_or_both(pair) if pair else "" for pair in (row.jump, row.first_centre))
    inputs = "all" if row.inputs is None else format_count(row.inputs)
    return (row.name, shorten(row.text, 48), output, sees, jump, centre, inputs)


def _one_or_both(pair: Sequence[Fraction | str]) -> str:
    first, second = map(str, pair)
    return first if first == second else f"{first} × {second}"


def _span_table(fields: ReceptiveFields) -> TextTable:
    rows = []
    # A row that takes single nodes sees what the one in front of it sees.
    shown = [span for span in fields.spans if span.name == IMAGE_NAME or span.name in fields.windows]
    for span in shown:
        text = "" if span.name == IMAGE_NAME else fields.row(span.name).text
        places = [f"{first} to {last}" for first, last in (span.rows, span.columns)]
        rows.append(
            (
                span.name,
                shorten(text, 48),
                formatting.format_shape(span.size),
                *(places if fields.size_given else ()),
            )
        )
    return TextTable.from_rows(("map", "`row", "#sees", *(("#rows", "#columns") if fields.size_given else ())), rows)


def _worked_sum(fields: ReceptiveFields) -> list[str | Formula]:
    """The sum with the table's own numbers: 7 = 1 + (5 − 1)·1 + (3 − 1)·1."""
    found: list[str | Formula] = []
    seen = fields.receptive_field
    windows = [fields.row(name) for name in fields.windows]
    if seen is None or not windows:
        return found
    sides = {axis: _terms(windows, axis) for axis in (0, 1)}
    for axis, terms in sides.items():
        if 1 + sum((size - 1) * jump for size, jump in terms) != seen[axis]:
            return []  # after enlarging, nodes see differently much: the sum is not that simple
    for axis in (0,) if sides[0] == sides[1] else (0, 1):
        letter = "r" if sides[0] == sides[1] else ("r (vertical)", "r (horizontal)")[axis]
        text, latex = _format_sum(sides[axis], "·"), _format_sum(sides[axis], r" \cdot ").replace("−", "-")
        name = "r" if letter == "r" else rf"r_{{\mathrm{{{letter[3:-1]}}}}}"
        found.append(Formula(f"{letter} = {text} = {seen[axis]}", f"{name} = {latex} = {seen[axis]}"))
    return found


def _format_sum(terms: Sequence[tuple[int, Fraction]], product: str) -> str:
    """The sum of the terms; equal neighbours of a long one are counted."""
    groups = [(size, jump, len(list(same))) for (size, jump), same in groupby(terms)]
    if len(terms) <= MAX_TERMS:
        groups = [(size, jump, 1) for size, jump in terms]
    parts = [f"{f'{count}{product}' if count > 1 else ''}({size} − 1){product}{jump}" for size, jump, count in groups]
    return " + ".join(["1", *parts])


def _terms(windows: Sequence[LayerField], axis: int) -> list[tuple[int, Fraction]]:
    """Each window with the jump of the map in front of it; windows of one node add nothing."""
    jump, found = Fraction(1), []
    for row in windows:
        if row.window is not None and row.window[axis] > 1:
            found.append((row.window[axis], jump))
        jump = row.jump[axis] if row.jump else jump
    return found


def _notes(fields: ReceptiveFields) -> list[str]:
    notes = [CENTRE_NOTE]
    chosen, channels = fields.selected, fields.image[0]
    if chosen.receptive_field is not None:
        factors = formatting.format_shape((*chosen.receptive_field, channels))
        product = f"{factors} = {format_count(chosen.inputs or 0)} numbers"
        inside = ""
        if chosen.inputs_inside is not None and chosen.inputs_inside < (chosen.inputs or 0):
            inside = f", {format_count(chosen.inputs_inside)} of them in the image; the rest is padding"
        notes.append(f"A node of {chosen.name} sees {product}{inside}.")
    whole = [row.name for row in fields.layers if row.receptive_field is None]
    if whole:
        notes.append(f"Every node sees the whole image: {shorten(', '.join(whole), 200)}.")
    paths = [f"{row.name} through {row.path}" for row in fields.layers if row.path and row.receptive_field]
    if paths:
        several = "" if len(paths) <= 4 else f", and so on for {len(paths) - 4} more"
        notes.append(f"Where paths meet, the widest counts: {'; '.join(paths[:4])}{several}.")
    if any(row.kind in _GLOBAL_NORMS for row in fields.layers):
        notes.append("The means that layernorm and groupnorm take over whole maps are left out, as is usual.")
    return notes
