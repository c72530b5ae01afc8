"""The receptive fields of a table as a worked answer: sentences, tables, JSON and a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import groupby

from cnnlab.render import formatting
from cnnlab.render.document import Formula, Sheet
from cnnlab.render.tables import TextTable
from cnnlab.spec.receptive.drawing import views_svg
from cnnlab.spec.receptive.records import IMAGE, LayerView, Sight, rule_text

RULE = Formula(
    "r = r' + (k − 1)·j',   j = j'·s   (k: window, s: stride, r' and j': of the map in front; at first r = j = 1)",
    r"r_l = r_{l-1} + (k_l - 1)\, j_{l-1}, \qquad j_l = j_{l-1}\, s_l, \qquad r_0 = j_0 = 1",
)
CENTRE = "First centre: the middle of the first node's view, from the middle of the first pixel; padding lies below 0."
# Their statistics are of whole maps.
_NORMS = ("layernorm", "groupnorm")
# In a sum of more terms, equal ones are put together.
MOST_SINGLE = 8


@dataclass(frozen=True)
class ReceptiveFields:
    """What every layer of a network sees of the image, and what one node sees on every map in front of it.

    Attributes:
        title: what the network is called; "" for a table.
        image: (C, H, W); where it was not `given`, one that is large enough for a drawing.
        layer: the row that is traced back.
        node: (row, column) on its map; None where its nodes see the whole image.
        layers: every row.
        windows: the rows that widen or move the view, on the widest path to `layer`.
        maps: (height, width) of each row's map.
    """

    title: str
    image: tuple[int, int, int]
    given: bool
    layer: str
    node: tuple[int, int] | None
    layers: tuple[LayerView, ...]
    windows: tuple[str, ...]
    maps: dict[str, tuple[int, int]]

    @property
    def chosen(self) -> LayerView:
        """The row that is traced back."""
        return self.row(self.layer)

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """(height, width) of a node's view in pixels; None: the whole image."""
        return self.chosen.receptive_field

    @property
    def jump(self) -> tuple[Fraction, Fraction] | None:
        """How many pixels the views of two neighbours are apart."""
        return self.chosen.jump

    @property
    def first_centre(self) -> tuple[Fraction, Fraction] | None:
        """The middle of the first node's view, from the middle of the first pixel."""
        return self.chosen.first_centre

    @property
    def inputs(self) -> int | None:
        """How many numbers of the image a node sees, padding among them."""
        return self.chosen.inputs

    @property
    def sees(self) -> tuple[Sight, ...]:
        """What the node sees on each earlier map, the nearest first."""
        return self.chosen.sees

    @property
    def square(self) -> bool:
        """Whether one letter is enough for the sides of all maps: those of an A×A image have equal ones."""
        return all(row.rule is None or row.rule[0] == row.rule[1] for row in self.layers)

    def row(self, name: str) -> LayerView:
        """The row of this name."""
        return self._rows[name]

    def to_json(self, indent: int | None = None) -> str:
        """The chosen row's fields, then those of every row; one number stands for two sides that are equal."""
        chosen = self.chosen.model_dump(mode="json", exclude={"name", "kind", "text", "output"})
        whole = {
            "layer": self.layer,
            **chosen,
            "node": self.node,
            "image": self.image,
            "size_given": self.given,
            "layers": [row.model_dump(mode="json") for row in self.layers],
        }
        return json.dumps(whole, indent=indent, ensure_ascii=False)

    def sheet(self) -> Sheet:
        """The worked answer."""
        tables = [("", _layer_table(self))]
        if self.sees:
            place = f"({self.node[0]}, {self.node[1]})" if self.node and self.given else f"of {self.layer}"
            tables.append((f"seen by node {place}", _sight_table(self)))
        return Sheet(
            title=f"{self.title}: {self._headline()}" if self.title else _sentence(self._headline()),
            lines=(RULE, *_worked(self)),
            tables=tuple(tables),
            notes=(*_notes(self),),
        )

    def svg(self) -> str:
        """The picture: one node traced back through the maps to the image."""
        drawn = [(self.row(name), self.maps[name]) for name in self._shown() if name in self.maps]
        image = formatting.sizes(self.image) if self.given else "A×A" if self.square else "A×B"
        return views_svg(_sentence(self._headline()), self.image, image, drawn, self.node, self.sees)

    def _repr_html_(self) -> str:
        return self.sheet().to_html(self.svg())

    @cached_property
    def _rows(self) -> dict[str, LayerView]:
        return {row.name: row for row in self.layers}

    def _headline(self) -> str:
        seen = self.receptive_field
        if seen is None:
            return f"a node of {self.layer} sees the whole image"
        return f"a node of {self.layer} sees {formatting.sizes(seen)} pixels of the image"

    def _shown(self) -> tuple[str, ...]:
        """The maps of the picture: those that a window made, and the chosen one at their end."""
        return self.windows if self.windows[-1:] == (self.layer,) else (*self.windows, self.layer)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _layer_table(fields: ReceptiveFields) -> TextTable:
    image = formatting.sizes(fields.image) if fields.given else "A" if fields.square else "A by B"
    first = (IMAGE, "", image, "1", "1", "0", str(1 * fields.image[0]))
    rows = [first, *(_layer_row(row) for row in fields.layers)]
    output = "#output" if fields.given else "output, for A×A" if fields.square else "output, for A×B"
    return TextTable.of(("layer", "`row", output, "#sees", "#jump", "#first centre", "#inputs"), rows)


def _layer_row(row: LayerView) -> tuple[str, ...]:
    rule = rule_text(row.rule) if row.rule else ""
    output = rule if row.output is None else formatting.sizes(row.output)
    sees = "everything" if row.receptive_field is None else formatting.sizes(row.receptive_field)
    jump, centre = (_once(pair) if pair else "" for pair in (row.jump, row.first_centre))
    inputs = "all" if row.inputs is None else formatting.count(row.inputs)
    return (row.name, formatting.shown(row.text, 48), output, sees, jump, centre, inputs)


def _once(pair: Sequence[Fraction | str]) -> str:
    first, second = map(str, pair)
    return first if first == second else f"{first} × {second}"


def _sight_table(fields: ReceptiveFields) -> TextTable:
    rows = []
    # A row that takes single nodes sees what the one in front of it sees.
    shown = [sight for sight in fields.sees if sight.name == IMAGE or sight.name in fields.windows]
    for sight in shown:
        text = "" if sight.name == IMAGE else fields.row(sight.name).text
        places = [f"{first} to {last}" for first, last in (sight.rows, sight.columns)]
        rows.append(
            (sight.name, formatting.shown(text, 48), formatting.sizes(sight.size), *(places if fields.given else ()))
        )
    return TextTable.of(("map", "`row", "#sees", *(("#rows", "#columns") if fields.given else ())), rows)


def _worked(fields: ReceptiveFields) -> list[str | Formula]:
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
        text, latex = _summed(sides[axis], "·"), _summed(sides[axis], r" \cdot ").replace("−", "-")
        name = "r" if letter == "r" else rf"r_{{\mathrm{{{letter[3:-1]}}}}}"
        found.append(Formula(f"{letter} = {text} = {seen[axis]}", f"{name} = {latex} = {seen[axis]}"))
    return found


def _summed(terms: Sequence[tuple[int, Fraction]], product: str) -> str:
    """The sum of the terms; equal neighbours of a long one are counted."""
    groups = [(size, jump, len(list(same))) for (size, jump), same in groupby(terms)]
    if len(terms) <= MOST_SINGLE:
        groups = [(size, jump, 1) for size, jump in terms]
    parts = [f"{f'{count}{product}' if count > 1 else ''}({size} − 1){product}{jump}" for size, jump, count in groups]
    return " + ".join(["1", *parts])


def _terms(windows: Sequence[LayerView], axis: int) -> list[tuple[int, Fraction]]:
    """Each window with the jump of the map in front of it; windows of one node add nothing."""
    jump, found = Fraction(1), []
    for row in windows:
        if row.window is not None and row.window[axis] > 1:
            found.append((row.window[axis], jump))
        jump = row.jump[axis] if row.jump else jump
    return found


def _notes(fields: ReceptiveFields) -> list[str]:
    notes = [CENTRE]
    chosen, channels = fields.chosen, fields.image[0]
    if chosen.receptive_field is not None:
        product = (
            f"{formatting.sizes((*chosen.receptive_field, channels))} = {formatting.count(chosen.inputs or 0)} numbers"
        )
        inside = ""
        if chosen.inputs_inside is not None and chosen.inputs_inside < (chosen.inputs or 0):
            inside = f", {formatting.count(chosen.inputs_inside)} of them in the image; the rest is padding"
        notes.append(f"A node of {chosen.name} sees {product}{inside}.")
    whole = [row.name for row in fields.layers if row.receptive_field is None]
    if whole:
        notes.append(f"Every node sees the whole image: {formatting.shown(', '.join(whole), 200)}.")
    paths = [f"{row.name} through {row.path}" for row in fields.layers if row.path and row.receptive_field]
    if paths:
        several = "" if len(paths) <= 4 else f", and so on for {len(paths) - 4} more"
        notes.append(f"Where paths meet, the widest counts: {'; '.join(paths[:4])}{several}.")
    if any(row.kind in _NORMS for row in fields.layers):
        notes.append("The means that layernorm and groupnorm take over whole maps are left out, as is usual.")
    return notes
