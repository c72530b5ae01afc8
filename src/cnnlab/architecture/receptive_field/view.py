"""View of receptive fields: the worked sum, tables, and a drawing of one node's view on every map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from math import ceil, sqrt

from cnnlab.architecture.receptive_field.result import IMAGE_NAME, LayerField, ReceptiveFields
from cnnlab.render.document import Document, Formula
from cnnlab.render.formatting import format_count, format_shape, shorten
from cnnlab.render.result import document, svg
from cnnlab.render.svg import SMALL, Point, SvgDrawing, text_width
from cnnlab.render.tables import TextTable

_RECURRENCE = Formula(
    "r = r' + (k − 1)·j',   j = j'·s   (k: window, s: stride, r' and j': of the map in front; at first r = j = 1)",
    r"r_l = r_{l-1} + (k_l - 1)\, j_{l-1}, \qquad j_l = j_{l-1}\, s_l, \qquad r_0 = j_0 = 1",
)
_CAPTION = "first centre: of the first node's view, from the middle of the first pixel; in the padding it is below 0"
# In a sum of more terms, equal ones are put together.
_MAX_TERMS = 8


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
    names = ["r"] if sides[0] == sides[1] else ["r (vertical)", "r (horizontal)"]
    formulas = []
    for name, terms, size in zip(names, sides, field, strict=False):
        text = f"{_sum_text(terms)} = {size}"
        latex_name = name.replace("r (", r"r_{\mathrm{").replace(")", "}}")
        formulas.append(
            Formula(f"{name} = {text}", f"{latex_name} = " + text.replace("·", r" \cdot ").replace("−", "-"))
        )
    return formulas


def _terms(windows: Sequence[LayerField], axis: int) -> list[tuple[int, Fraction]]:
    """Each window with the jump of the map in front of it; windows of one node add nothing."""
    jump, terms = Fraction(1), []
    for row in windows:
        if row.window is not None and row.window[axis] > 1:
            terms.append((row.window[axis], jump))
        jump = row.jump[axis] if row.jump else jump
    return terms


def _sum_text(terms: Sequence[tuple[int, Fraction]]) -> str:
    """The sum of the terms; equal neighbours in a long one are counted."""
    groups = [(size, jump, 1) for size, jump in terms]
    if len(terms) > _MAX_TERMS:
        groups = [(size, jump, len(list(same))) for (size, jump), same in groupby(terms)]
    parts = [f"{f'{count}·' if count > 1 else ''}({size} − 1)·{jump}" for size, jump, count in groups]
    return " + ".join(["1", *parts])


# More maps than these would be too small; of more, some in between are left out.
_MAX_MAPS = 8
_MAX_SIDE, _MIN_SIDE = 190.0, 46.0
# Maps stand upright, seen from the left: a column goes so far right and up for each pixel of height.
_ACROSS, _UP = 0.5, 0.22
_GAP, _MARGIN, _LINE = 34.0, 22.0, 15.0
_MAX_LABEL = 20
# Cells below this side, in pixels, are not drawn one by one.
_MIN_CELL = 4.0
# A view is cut off where it goes beyond its map by more than this share of the map's side.
_MAX_OVERHANG = 0.35


@dataclass(frozen=True)
class _Map:
    """A map: its labels, its sides in nodes, the view on it, a cell's side, and its upper left corner."""

    labels: tuple[str, ...]
    sides: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]
    cell: float
    left: float = 0.0
    top: float = 0.0

    @property
    def width(self) -> float:
        return self.sides[1] * self.cell * _ACROSS

    @property
    def total_width(self) -> float:
        """The width of the map or of its labels."""
        return max(self.width, *(text_width(label, SMALL) for label in self.labels))

    def point(self, row: float, column: float) -> Point:
        """The upper left corner of a node."""
        along = column * self.cell
        return self.left + along * _ACROSS, self.top + row * self.cell - along * _UP

    def corners(self, rows: tuple[int, int], columns: tuple[int, int]) -> list[Point]:
        """The corners of these nodes together, clockwise from the upper left one."""
        top, bottom, left, right = rows[0], rows[1] + 1, columns[0], columns[1] + 1
        return [self.point(top, left), self.point(top, right), self.point(bottom, right), self.point(bottom, left)]

    @property
    def view(self) -> list[Point]:
        """The corners of the view."""
        return self.corners(self.rows, self.columns)

    @property
    def visible(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The rows and columns of the view within the map."""
        rows, columns = (
            (max(first, 0), min(last, side - 1))
            for (first, last), side in zip((self.rows, self.columns), self.sides, strict=True)
        )
        return rows, columns


@svg.register
def _(result: ReceptiveFields) -> str:
    """One node traced back through the maps to the image."""
    maps, skipped = _maps(result)
    maps = _arranged(maps)
    heading = _headline(result)
    legend = "; ".join(
        text
        for text, present in (
            ("dashed: beyond the map, padding", any(each.visible != (each.rows, each.columns) for each in maps)),
            ("+n: layers with windows that are not drawn", any(skipped)),
        )
        if present
    )
    points = [point for each in maps for point in (*each.view, each.point(each.sides[0], 0))]
    bottom = max(y for _, y in points) + _LINE + 6
    right = max(maps[-1].left + maps[-1].total_width, *(x for x, _ in points), text_width(heading), text_width(legend))
    labels = bottom + (_LINE if any(skipped) else 0)
    description = "; ".join(", ".join(filter(None, each.labels)) for each in maps)
    drawing = SvgDrawing(right + _MARGIN, labels + 4.5 * _LINE + _MARGIN, "views", f"{heading}: {description}.")
    drawing.text(_MARGIN, _MARGIN + 4, heading[0].upper() + heading[1:], bold=True)
    for each in maps:
        _draw_map(drawing, each)
    for before, after, left_out in zip(maps, maps[1:], skipped, strict=False):
        for start, end in zip(before.view, after.view, strict=True):
            drawing.line([start, end], stroke="validation", thickness=0.9)
        if left_out:
            middle = (before.left + before.width + after.left) / 2
            drawing.text(middle, bottom, f"+{left_out}", size=SMALL, colour="muted", anchor="middle")
    for each in maps:
        is_node = each is maps[-1] and result.node is not None
        _draw_view(drawing, each, "test" if is_node else "validation", 0.85 if is_node else 0.35)
        for number, label in enumerate(each.labels):
            colour = "muted" if number in (1, 2) else "ink"
            place = each.left + each.width / 2, labels + number * _LINE
            drawing.text(*place, label, size=SMALL, colour=colour, anchor="middle", bold=number == 0)
    drawing.text(_MARGIN, labels + 4.5 * _LINE, legend, size=SMALL, colour="muted")
    return drawing.to_svg(standalone=True)


def _maps(result: ReceptiveFields) -> tuple[list[_Map], list[int]]:
    """The maps that are drawn, the image first, and how many are left out in front of each later one."""
    views = {span.name: (span.rows, span.columns) for span in result.spans}
    if result.node is not None:
        views[result.layer] = tuple((place, place) for place in result.node)  # type: ignore[assignment]
    names = [name for name in dict.fromkeys((*result.windows, result.layer)) if name in views and name in result.maps]
    kept = range(len(names))
    if len(names) >= _MAX_MAPS:
        kept = sorted({round(step * (len(names) - 1) / (_MAX_MAPS - 2)) for step in range(_MAX_MAPS - 1)})  # type: ignore[assignment]
    image = format_shape(result.image) if result.size_given else "A×A" if result.is_square else "A×B"
    drawn = [(IMAGE_NAME, "", image, result.image[1:])]
    for number in kept:
        row, sides = result.row(names[number]), result.maps[names[number]]
        window = f" {format_shape(row.window)}" if row.window and row.kind != "upsample" else ""
        size = rule_text(row.rule) if row.output is None and row.rule else format_shape(sides)
        drawn.append((row.name, f"{row.kind}{window}{', dilated' if 'dilation' in row.text else ''}", size, sides))
    largest = max(max(sides) for *_, sides in drawn)
    maps = []
    for name, layer, size, sides in drawn:
        whole = ((0, sides[0] - 1), (0, sides[1] - 1))
        view = views.get(name, whole)
        sees = "sees all" if view == whole and sides != (1, 1) else f"sees {format_shape(_lengths(view))}"
        if name == result.layer and result.node is not None:
            sees = "one node"
        short = name if len(name) <= _MAX_LABEL else f"…{name[1 - _MAX_LABEL :]}"
        # A map of half the side is drawn smaller by a third, so that small ones stay legible.
        cell = max(_MAX_SIDE * sqrt(max(sides) / largest), _MIN_SIDE) / max(sides)
        labels = (short, shorten(layer, _MAX_LABEL), shorten(size, _MAX_LABEL), sees)
        maps.append(_Map(labels, sides, *_clipped(view, sides), cell))
    return maps, [after - before - 1 for before, after in zip([-1, *kept], kept, strict=False)]


def _lengths(view: tuple[tuple[int, int], tuple[int, int]]) -> tuple[int, ...]:
    return tuple(last - first + 1 for first, last in view)


def _clipped(
    view: tuple[tuple[int, int], tuple[int, int]], sides: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The view without what lies far beyond the map."""
    room = ceil(_MAX_OVERHANG * max(sides))
    rows, columns = (
        (max(first, -room), min(last, side - 1 + room)) for (first, last), side in zip(view, sides, strict=True)
    )
    return rows, columns


def _arranged(maps: Sequence[_Map]) -> list[_Map]:
    """The maps side by side, their middles on one line, with room for views that begin in the padding."""
    highest = [min(y for _, y in (*each.view, each.point(0, each.sides[1]))) for each in maps]
    middle = _MARGIN + 24 + max(each.sides[0] * each.cell / 2 - top for each, top in zip(maps, highest, strict=True))
    left, arranged = _MARGIN, []
    for each in maps:
        left += max(-min(x for x, _ in each.view), 0)
        shift = (each.total_width - each.width) / 2
        arranged.append(replace(each, left=left + shift, top=middle - each.sides[0] * each.cell / 2))
        left += each.total_width + _GAP
    return arranged


def _draw_map(drawing: SvgDrawing, each: _Map) -> None:
    (high, wide) = each.sides
    whole = each.corners((0, high - 1), (0, wide - 1))
    drawing.polygon(whole, fill="panel")
    if each.cell >= _MIN_CELL:
        for row in range(1, high):
            drawing.line([each.point(row, 0), each.point(row, wide)], stroke="line")
        for column in range(1, wide):
            drawing.line([each.point(0, column), each.point(high, column)], stroke="line")
    drawing.polygon(whole, stroke="muted")


def _draw_view(drawing: SvgDrawing, each: _Map, colour: str, opacity: float) -> None:
    """The view within the map filled; where it goes beyond, into the padding, its outline dashed."""
    rows, columns = each.visible
    if rows[0] <= rows[1] and columns[0] <= columns[1]:
        drawing.polygon(each.corners(rows, columns), fill=colour, opacity=opacity)
    dashes = "" if (rows, columns) == (each.rows, each.columns) else "4 3"
    drawing.line([*each.view, each.view[0]], stroke=colour, thickness=1.5, dashes=dashes)
