"""View of receptive fields: the worked sum, tables, and a drawing of one node's view on every map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from math import ceil, sqrt

from cnnlab.architecture.receptive_field.result import IMAGE_NAME, LayerField, ReceptiveFields
from cnnlab.render.document import Document, Formula
from cnnlab.render.formatting import format_count, format_shape, shorten
from cnnlab.render.result import document, svg
from cnnlab.render.svg import SMALL, SvgDrawing, text_width
from cnnlab.render.tables import TextTable

_RECURRENCE = Formula(
    "r = r' + (k − 1)·j',   j = j'·s   (k: window, s: stride, r' and j': of the map in front; at first r = j = 1)",
    r"r_l = r_{l-1} + (k_l - 1)\, j_{l-1}, \qquad j_l = j_{l-1}\, s_l, \qquad r_0 = j_0 = 1",
)
_CAPTION = "first centre: of the first node's view, from the middle of the first pixel; in the padding it is below 0"


@document.register
def _(result: ReceptiveFields) -> Document:
    heading = _headline(result)
    tables = [(_CAPTION, _layer_table(result))]
    if result.spans:
        node = f"({result.node[0]}, {result.node[1]})" if result.node and result.size_given else f"of {result.layer}"
        tables.append((f"seen by node {node}", _span_table(result)))
    notes: tuple[str, ...] = ()
    if any(row.kind in ("layernorm", "groupnorm") for row in result.layers):
        notes = ("The means that layernorm and groupnorm take over whole maps are left out, as is usual.",)
    return Document(
        f"{result.title}: {heading}" if result.title else heading[0].upper() + heading[1:],
        (_RECURRENCE, *_worked_sums(result)),
        tuple(tables),
        notes,
    )


def rule_text(rule: tuple[str, str]) -> str:
    """The sizes of both sides as functions of the image's: one where they are the same.

    >>> rule_text(("A − 4", "A − 4")), rule_text(("A − 4", "B − 2"))
    ('A − 4', 'A − 4 by B − 2')
    """
    return rule[0] if rule[0] == rule[1] else " by ".join(rule)


def _headline(result: ReceptiveFields) -> str:
    field = result.receptive_field
    view = "the whole image" if field is None else f"{format_shape(field)} pixels of the image"
    return f"a node of {result.layer} sees {view}"


def _layer_table(result: ReceptiveFields) -> TextTable:
    image = format_shape(result.image) if result.size_given else "A" if result.is_square else "A by B"
    rows = [(IMAGE_NAME, "", image, "1", "1", "0", str(result.image[0]), "")]
    for row in result.layers:
        output = format_shape(row.output) if row.output else rule_text(row.rule) if row.rule else ""
        sees = "everything" if row.receptive_field is None else format_shape(row.receptive_field)
        jump, centre = (_fractions(pair) if pair else "" for pair in (row.jump, row.first_centre))
        inputs = "all" if row.inputs is None else format_count(row.inputs)
        path = row.path if row.receptive_field else ""
        rows.append((row.name, shorten(row.text), output, sees, jump, centre, inputs, path))
    output = "#output" if result.size_given else "#output, for A×A" if result.is_square else "#output, for A×B"
    titles = ("layer", "`row", output, "#sees", "#jump", "#first centre", "#inputs", "widest path")
    table = TextTable.from_rows(titles, rows)
    return table if any(row[-1] for row in rows) else table.drop_columns(["widest path"])


def _fractions(pair: Sequence[Fraction]) -> str:
    first, second = map(str, pair)
    return first if first == second else f"{first} × {second}"


def _span_table(result: ReceptiveFields) -> TextTable:
    rows = []
    for span in result.spans:
        # A row that takes single nodes sees what the one in front of it sees.
        if span.name == IMAGE_NAME or span.name in result.windows:
            text = "" if span.name == IMAGE_NAME else shorten(result.row(span.name).text)
            places = (f"{first} to {last}" for first, last in (span.rows, span.columns))
            rows.append((span.name, text, format_shape(span.size), *places))
    table = TextTable.from_rows(("map", "`row", "#sees", "#rows", "#columns"), rows)
    return table if result.size_given else table.drop_columns(["rows", "columns"])


def _worked_sums(result: ReceptiveFields) -> list[Formula]:
    """The sum with the table's numbers, r = 1 + (5 − 1)·1 + (3 − 1)·1 = 7; one for each side where they differ."""
    field, windows = result.receptive_field, [result.row(name) for name in result.windows]
    if field is None or not windows:
        return []
    sides = [_terms(windows, axis) for axis in (0, 1)]
    if any(1 + sum((size - 1) * jump for size, jump in terms) != field[axis] for axis, terms in enumerate(sides)):
        return []  # nodes of an enlarged map see differently much, so that the sum is not that simple
    named = {"r": (sides[0], field[0])}
    if sides[0] != sides[1]:
        named = {"r (vertical)": (sides[0], field[0]), "r (horizontal)": (sides[1], field[1])}
    formulas = []
    for name, (terms, total) in named.items():
        parts = ["1"]
        for (size, jump), equal in groupby(terms):
            count = len(list(equal))
            parts.append(f"{f'{count}·' if count > 1 else ''}({size} − 1)·{jump}")
        text = f"{' + '.join(parts)} = {total}"
        latex_name = name.replace("r (", r"r_{\mathrm{").replace(")", "}}")
        latex = f"{latex_name} = {text}".replace("·", r" \cdot ").replace("−", "-")
        formulas.append(Formula(f"{name} = {text}", latex))
    return formulas


def _terms(windows: Sequence[LayerField], axis: int) -> list[tuple[int, Fraction]]:
    """Each window with the jump of the map in front of it; windows of one node add nothing."""
    jump, terms = Fraction(1), []
    for row in windows:
        if row.window is not None and row.window[axis] > 1:
            terms.append((row.window[axis], jump))
        jump = row.jump[axis] if row.jump else jump
    return terms


# More maps than these would be too small; of more, some in between are left out.
_MAX_MAPS = 8
_SIDE, _MIN_SIDE, _GAP, _MARGIN, _LINE = 150.0, 40.0, 36.0, 22.0, 15.0
# Nodes below this side, in pixels, are not drawn one by one.
_MIN_CELL = 4.0
# A view is cut off where it goes beyond its map by more than this share of the map's side.
_MAX_OVERHANG = 0.3
_LEGEND = "shaded: what one node sees; outside of a map it sees padding"


@dataclass(frozen=True)
class _Map:
    """A map: its labels, its sides in nodes, the rows and columns of the view on it, and a node's side in pixels."""

    labels: tuple[str, ...]
    sides: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]
    cell: float

    @property
    def overhang(self) -> tuple[float, float]:
        """How far the view goes beyond the map on the left and on the right."""
        return max(-self.columns[0], 0) * self.cell, max(self.columns[1] + 1 - self.sides[1], 0) * self.cell

    @property
    def width(self) -> float:
        """The width of the map with its view, or of its labels."""
        drawn = self.sides[1] * self.cell + sum(self.overhang)
        return max(drawn, *(text_width(label, SMALL) for label in self.labels))

    @property
    def height(self) -> float:
        """The height of the map with its view, where it is centred."""
        beyond = max(-self.rows[0], self.rows[1] + 1 - self.sides[0], 0)
        return (self.sides[0] + 2 * beyond) * self.cell


@svg.register
def _(result: ReceptiveFields) -> str:
    """The maps from the image to one node, with the view of that node on each."""
    maps = _maps(result)
    heading = _headline(result)
    heading = heading[0].upper() + heading[1:]
    middle = _MARGIN + 24 + max(each.height for each in maps) / 2
    labels = 2 * middle - _MARGIN
    width = max(sum(each.width + _GAP for each in maps) - _GAP, text_width(heading), text_width(_LEGEND))
    description = "; ".join(", ".join(filter(None, each.labels)) for each in maps)
    drawing = SvgDrawing(width + 2 * _MARGIN, labels + 5 * _LINE + _MARGIN, "views", f"{heading}: {description}.")
    drawing.text(_MARGIN, _MARGIN + 4, heading, bold=True)
    left, before = _MARGIN, None
    for each in maps:
        x = left + (each.width - each.sides[1] * each.cell + each.overhang[0] - each.overhang[1]) / 2
        y = middle - each.sides[0] * each.cell / 2
        is_node = each is maps[-1] and result.node is not None
        _draw_map(drawing, each, x, y, "test" if is_node else "validation")
        ends = [x + each.columns[0] * each.cell, x + (each.columns[1] + 1) * each.cell]
        heights = [y + each.rows[0] * each.cell, y + (each.rows[1] + 1) * each.cell]
        if before is not None:
            for start, end in zip(before, heights, strict=True):
                drawing.line([start, (ends[0], end)], stroke="validation")
        before = [(ends[1], height) for height in heights]
        for number, label in enumerate(each.labels):
            colour = "muted" if number in (1, 2) else "ink"
            at = left + each.width / 2, labels + number * _LINE
            drawing.text(*at, label, size=SMALL, colour=colour, anchor="middle", bold=number == 0)
        left += each.width + _GAP
    drawing.text(_MARGIN, labels + 5 * _LINE, _LEGEND, size=SMALL, colour="muted")
    return drawing.to_svg(standalone=True)


def _maps(result: ReceptiveFields) -> list[_Map]:
    """The maps that are drawn, the image first and the node's last."""
    views = {span.name: (span.rows, span.columns) for span in result.spans}
    if result.node is not None:
        at_row, at_column = result.node
        views[result.layer] = (at_row, at_row), (at_column, at_column)
    names = [name for name in dict.fromkeys((*result.windows, result.layer)) if name in views and name in result.maps]
    if len(names) >= _MAX_MAPS:
        spread = (round(step * (len(names) - 1) / (_MAX_MAPS - 2)) for step in range(_MAX_MAPS - 1))
        names = [names[number] for number in spread]
    image = format_shape(result.image) if result.size_given else "A×A" if result.is_square else "A×B"
    drawn = [(IMAGE_NAME, "", image, result.image[1:])]
    for name in names:
        row, sides = result.row(name), result.maps[name]
        window = f" {format_shape(row.window)}" if row.window and row.kind != "upsample" else ""
        size = rule_text(row.rule) if row.output is None and row.rule else format_shape(sides)
        drawn.append((name, f"{row.kind}{window}", size, sides))
    largest = max(max(sides) for *_, sides in drawn)
    maps = []
    for name, layer, size, sides in drawn:
        view = views.get(name, ((0, sides[0] - 1), (0, sides[1] - 1)))
        sees = f"sees {format_shape(tuple(last - first + 1 for first, last in view))}"
        # A map of half the side is drawn smaller by a third, so that small ones stay legible.
        cell = max(_SIDE * sqrt(max(sides) / largest), _MIN_SIDE) / max(sides)
        room = ceil(_MAX_OVERHANG * max(sides))
        rows, columns = (
            (max(first, -room), min(last, side - 1 + room)) for (first, last), side in zip(view, sides, strict=True)
        )
        is_node = name == result.layer and result.node is not None
        labels = (shorten(name, 20), shorten(layer, 20), shorten(size, 20), "one node" if is_node else sees)
        maps.append(_Map(labels, sides, rows, columns, cell))
    return maps


def _draw_map(drawing: SvgDrawing, each: _Map, x: float, y: float, colour: str) -> None:
    """The map's nodes, and the view over them."""
    (high, wide), cell = each.sides, each.cell
    drawing.rectangle(x, y, wide * cell, high * cell, fill="panel")
    if cell >= _MIN_CELL:
        for row in range(1, high):
            drawing.line([(x, y + row * cell), (x + wide * cell, y + row * cell)], stroke="line")
        for column in range(1, wide):
            drawing.line([(x + column * cell, y), (x + column * cell, y + high * cell)], stroke="line")
    drawing.rectangle(x, y, wide * cell, high * cell, stroke="muted")
    top, left = y + each.rows[0] * cell, x + each.columns[0] * cell
    width, height = (each.columns[1] + 1 - each.columns[0]) * cell, (each.rows[1] + 1 - each.rows[0]) * cell
    drawing.rectangle(left, top, width, height, fill=colour, opacity=0.4)
    drawing.rectangle(left, top, width, height, stroke=colour, thickness=1.5)
