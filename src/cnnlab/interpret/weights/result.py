"""The weights of one layer as numbers, sentences and pictures. No torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from math import isfinite

import numpy as np

from cnnlab.interpret.weights.figures import draw
from cnnlab.interpret.weights.filters import Filters, Scale
from cnnlab.interpret.weights.measures import STILL, Measures, Order, has_axis, is_clear, is_grey
from cnnlab.interpret.weights.view import axis_name, legend, sentences
from cnnlab.render import formatting
from cnnlab.render.document import Sheet
from cnnlab.render.plots import Plate, to_svg
from cnnlab.render.tables import TextTable

_OF_ALL = (
    "random_coherence",
    "random_purity",
    "dead",
    "broken",
    "twins",
    "opposites",
    "twins_in_all",
    "opposites_in_all",
)


@dataclass(frozen=True)
class LayerWeights:
    """The filters of one layer, measured.

    Attributes:
        network: what it is called, with where its weights are from.
        filters: the weights, before and after training.
        measures: numbers for each filter.
        shown: the numbers of those that tables and pictures show, in their order.
        order: what that is.
    """

    network: str
    filters: Filters
    measures: Measures
    shown: tuple[int, ...]
    order: Order

    @property
    def unchanged(self) -> tuple[int, ...]:
        """The filters that are bit for bit what they began as; none where that is not known."""
        return () if self.measures.equal is None else tuple(map(int, np.flatnonzero(self.measures.equal)))

    @property
    def hardly_changed(self) -> tuple[int, ...]:
        """Those that changed, by less than 1 % of their size."""
        if self.measures.change is None or self.measures.equal is None:
            return ()
        return tuple(map(int, np.flatnonzero((self.measures.change < STILL) & ~self.measures.equal)))

    def sentences(self) -> list[str]:
        """What is seen, made from the numbers."""
        return sentences(self.filters, self.measures, self.unchanged, self.hardly_changed)

    def to_json(self, indent: int | None = None) -> str:
        """The numbers of every filter, and what is said of them; the weights themselves are left out."""
        filters = self.filters
        found = {
            "network": self.network,
            "layer": filters.layer,
            "kind": filters.kind,
            "shape": filters.after.shape,
            "on_image": filters.on_image,
            "groups": filters.groups,
            "start": {"begun": filters.begun, "loaded": filters.loaded, "reason": filters.reason},
            "frozen": filters.frozen,
            "order": self.order,
            "shown": self.shown,
            "unchanged": self.unchanged,
            "hardly_changed": self.hardly_changed,
            **{name: getattr(self.measures, name) for name in _OF_ALL},
            "sentences": self.sentences(),
            "filters": [self._numbers(number) for number in range(len(filters.after))],
        }
        return json.dumps(found, indent=indent, ensure_ascii=False)

    def sheet(self) -> Sheet:
        """The worked answer."""
        filters = self.filters
        count, *shape = filters.after.shape
        what = formatting.plural(count, filters.noun)
        return Sheet(
            title=f"Weights of {filters.layer} in {self.network}: {what} of {formatting.sizes(tuple(shape))}",
            lines=tuple(self.sentences()),
            tables=(("", self._table()),),
            notes=tuple(legend(filters, self.measures, len(self.shown), self.order)),
        )

    def plates(self, *, scale: Scale = "own") -> dict[str, Plate]:
        """The pictures by name, the main one first.

        Args:
            scale: "own": each filter by its own largest weight, before and after training apart, which shows its shape;
                "common": both by the larger of the two, which shows how it grew or shrank.
        """
        return draw(self.network, self.filters, self.measures, self.shown, self.order, scale)

    def svg(self) -> str:
        """The main picture."""
        name, plate = next(iter(self.plates().items()))
        return to_svg(plate.figure, name, plate.description, alone=True)

    def _repr_html_(self) -> str:
        return self.sheet().to_html(self.svg())

    def _numbers(self, number: int) -> dict[str, float | bool | int | None]:
        found: dict[str, float | bool | int | None] = {"number": number}
        for each in fields(Measures):
            values = getattr(self.measures, each.name)
            if isinstance(values, np.ndarray):
                value = values[number].item()
                found[each.name] = value if isfinite(value) else None
        return found

    def _table(self) -> TextTable:
        measures = self.measures
        titles = [f"#{self.filters.noun}", "#norm"]
        if measures.change is not None:
            titles += ["#change", "#cosine"]
        if measures.orientation is not None:
            titles += ["#orientation", "#coherence", "#cycles/px"]
        if measures.colourfulness is not None:
            titles += ["#colour", "axis"]
        table = TextTable.of([*titles, "remark"], [self._row(number) for number in self.shown])
        return table if any(row[-1] for row in table.rows) else table.without(["remark"])

    def _row(self, number: int) -> list[str]:
        measures = self.measures
        row = [str(number), _number(measures.norm[number])]
        if measures.change is not None and measures.cosine is not None:
            row += [_number(measures.change[number]), _number(measures.cosine[number], ".3f")]
        if measures.orientation is not None and measures.coherence is not None and measures.frequency is not None:
            clear = is_clear(measures, number)
            angle = _number(measures.orientation[number], ".0f")
            row += [f"{angle}°" if clear else formatting.NONE, _number(measures.coherence[number], ".2f")]
            row += [_number(measures.frequency[number], ".2f")]
        if measures.colourfulness is not None and measures.axis is not None:
            axis = axis_name(float(measures.axis[number])) if has_axis(measures, number) else formatting.NONE
            axis = "grey" if is_grey(measures, number) else axis
            row += [formatting.percent(float(measures.colourfulness[number])), axis]
        return [*row, "; ".join(self._remarks(number))]

    def _remarks(self, number: int) -> list[str]:
        found = []
        if number in self.unchanged:
            found.append("never changed")
        if number in self.hardly_changed:
            found.append("hardly changed")
        if number in self.measures.dead:
            found.append("almost 0")
        if number in self.measures.broken:
            found.append("not a number")
        for pairs, how in ((self.measures.twins, "as"), (self.measures.opposites, "opposite of")):
            others = [b if a == number else a for a, b in pairs if number in (a, b)]
            if others:
                found.append(f"{how} {', '.join(map(str, others[:3]))}{', …' if len(others) > 3 else ''}")
        if self.measures.twin[number] and not any(number in pair for pair in self.measures.twins):
            found.append("as another")
        return found


def _number(value: float, form: str = ".3g") -> str:
    return f"{value:{form}}" if isfinite(value) else formatting.NONE
