"""View of receptive fields: the worked sum, tables, and a drawing of one node's view on every map."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import groupby
from math import sqrt
from typing import NamedTuple

from cnnlab.architecture.receptive_field.result import IMAGE_NAME, LayerField, ReceptiveFields
from cnnlab.render.document import Document, Formula
from cnnlab.render.formatting import format_count, format_shape, shorten
from cnnlab.render.result import document, svg
from cnnlab.render.svg import NORMAL, SMALL, Point, SvgDrawing, text_width
from cnnlab.render.tables import TextTable

_RECURRENCE = Formula(
    "r = r' + (k − 1)·j',   j = j'·s   (k: window, s: stride, r' and j': of the map before; at first r = j = 1)",
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
    notes: list[str] = []
    if any(row.kind in ("layernorm", "groupnorm") for row in result.layers):
        notes.append("The means that layernorm and groupnorm take over whole maps are left out, as is usual.")
    if not result.size_given and any(row.kind == "upsample" and row.rule is None for row in result.layers):
        notes.append("A rounded size that is enlarged has no formula here: give the image's size.")
    return Document(
        f"{result.title}: {heading}" if result.title else heading[0].upper() + heading[1:],
        (_RECURRENCE, *_worked_sums(result)),
        tuple(tables),
        tuple(notes),
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
        # A row that takes single nodes sees what its input sees.
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
        formulas.append(Formula.from_text(f"{name} = {' + '.join(parts)} = {total}"))
    return formulas


def _terms(windows: Sequence[LayerField], axis: int) -> list[tuple[int, Fraction]]:
    """Each window with the jump of its input; windows of one node add nothing."""
    jump, terms = Fraction(1), []
    for row in windows:
        if row.window is not None and row.window[axis] > 1:
            terms.append((row.window[axis], jump))
        jump = row.jump[axis] if row.jump else jump
    return terms


# More maps than these would be too small; of more, some in between are left out.
_MAX_MAPS = 8
# The side of each map's square, the room above for the title and below for labels, and a line of text, in pixels.
_SIDE, _TOP, _LABELS, _LINE = 160.0, 30.0, 60.0, 14.0
# How many times the largest map goes into its square: a view may go beyond its map, into the padding.
_ROOM = 1.5
# Nodes of larger maps are not drawn one by one.
_MAX_NODES = 40
_LEGEND = "shaded: what one node sees; outside of a map it sees padding"


@svg.register
def _(result: ReceptiveFields) -> str:
    """The maps from the image to one node, with the view of that node on each."""
    maps = _maps(result)
    largest = max(max(each.sides) for each in maps)
    heading = _headline(result)
    heading = heading[0].upper() + heading[1:]
    description = "; ".join(", ".join(filter(None, each.labels)) for each in maps)
    bottom = _TOP + _SIDE + _LABELS + 2 * _LINE
    width = max(len(maps) * _SIDE, *(text_width(text, NORMAL + 2) for text in (heading, _LEGEND)))
    drawing = SvgDrawing(width, bottom + _LINE, "views", f"{heading}: {description}.")
    drawing.text(_LINE, 20, heading, size=NORMAL + 1, bold=True)
    drawing.text(_LINE, bottom, _LEGEND, size=SMALL, colour="muted")
    before: list[Point] = []
    for number, each in enumerate(maps):
        x, y, (high, wide) = (number + 0.5) * _SIDE, _TOP + _SIDE / 2, each.sides
        # A map of half the side is drawn smaller by a third, so that small ones stay legible.
        node = _SIDE / (_ROOM * sqrt(max(each.sides) * largest))
        left, top = x - wide * node / 2, y - high * node / 2
        if max(each.sides) <= _MAX_NODES:
            for row in range(1, high):
                drawing.line([(left, top + row * node), (left + wide * node, top + row * node)], stroke="line")
            for column in range(1, wide):
                drawing.line([(left + column * node, top), (left + column * node, top + high * node)], stroke="line")
        drawing.rectangle(left, top, wide * node, high * node, stroke="muted")
        columns, rows = _view_edges(each.columns, left, node, x), _view_edges(each.rows, top, node, y)
        view = columns[0], rows[0], columns[1] - columns[0], rows[1] - rows[0]
        colour = "test" if each.is_node else "validation"
        drawing.rectangle(*view, fill=colour, opacity=0.4)
        drawing.rectangle(*view, stroke=colour, thickness=1.5)
        for start, edge in zip(before, rows, strict=False):
            drawing.line([start, (columns[0], edge)], stroke="validation")
        before = [(columns[1], edge) for edge in rows]
        for line, label in enumerate(each.labels, 1):
            drawing.text(x, _TOP + _SIDE + line * _LINE, label, size=SMALL, anchor="middle")
    return drawing.to_svg(standalone=True)


def _view_edges(nodes: tuple[int, int], start: float, node: float, middle: float) -> tuple[float, float]:
    """Where a view begins and ends in its map's square; one that goes far beyond its map is cut off."""
    low, high = middle - 0.47 * _SIDE, middle + 0.47 * _SIDE
    return max(low, start + nodes[0] * node), min(high, start + (nodes[1] + 1) * node)


class _Map(NamedTuple):
    """A map: its labels, its sides in nodes, and the rows and columns of the view on it."""

    labels: tuple[str, ...]
    sides: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]
    is_node: bool


def _maps(result: ReceptiveFields) -> list[_Map]:
    """The maps that are drawn, the image first and the node's last."""
    views = {span.name: (span.rows, span.columns) for span in result.spans}
    if result.node is not None:
        row, column = result.node
        views[result.layer] = (row, row), (column, column)
    names = [name for name in dict.fromkeys((*result.windows, result.layer)) if name in views and name in result.maps]
    if len(names) >= _MAX_MAPS:
        spread = (round(step * (len(names) - 1) / (_MAX_MAPS - 2)) for step in range(_MAX_MAPS - 1))
        names = [names[number] for number in spread]
    image = format_shape(result.image) if result.size_given else "A×A" if result.is_square else "A×B"
    maps = []
    for name in (IMAGE_NAME, *names):
        layer = None if name == IMAGE_NAME else result.row(name)
        sides = result.maps[name] if layer else result.image[1:]
        rows, columns = views.get(name, ((0, sides[0] - 1), (0, sides[1] - 1)))
        is_node = name == result.layer and result.node is not None
        view = format_shape((rows[1] - rows[0] + 1, columns[1] - columns[0] + 1))
        rule = layer.rule if layer else None
        size = format_shape(sides) if result.size_given else rule_text(rule) if rule else ""
        labels = (
            shorten(name, 22),
            shorten(layer.text, 22) if layer else "",
            image if layer is None else size,
            "one node" if is_node else f"sees {view}",
        )
        maps.append(_Map(labels, sides, rows, columns, is_node))
    return maps
