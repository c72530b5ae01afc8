"""The weights of one layer as numbers, sentences and pictures. No torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from math import isfinite

import numpy as np

from cnnlab.interpret.weights.figures import draw_filters
from cnnlab.interpret.weights.filters import LayerFilters, WeightScale
from cnnlab.interpret.weights.measures import (
    SMALL_CHANGE,
    FilterMeasures,
    FilterOrder,
    has_colour_axis,
    is_grey,
    is_oriented,
)
from cnnlab.interpret.weights.view import axis_name, legend, weight_findings
from cnnlab.render.document import Document
from cnnlab.render.formatting import MISSING, format_percent, format_shape, pluralize
from cnnlab.render.plots import CaptionedFigure, to_svg
from cnnlab.render.tables import TextTable

_LAYER_MEASURES = (
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
        shown_filters: the numbers of those that tables and pictures show, in their order.
        order: what that is.
    """

    network: str
    filters: LayerFilters
    measures: FilterMeasures
    shown_filters: tuple[int, ...]
    order: FilterOrder

    @property
    def unchanged(self) -> tuple[int, ...]:
        """The filters that are bit for bit what they began as; none where that is not known."""
        return () if self.measures.equal is None else tuple(map(int, np.flatnonzero(self.measures.equal)))

    @property
    def hardly_changed(self) -> tuple[int, ...]:
        """Those that changed, by less than 1 % of their size."""
        if self.measures.change is None or self.measures.equal is None:
            return ()
        return tuple(map(int, np.flatnonzero((self.measures.change < SMALL_CHANGE) & ~self.measures.equal)))

    def findings(self) -> list[str]:
        """What is seen, made from the numbers."""
        return weight_findings(self.filters, self.measures, self.unchanged, self.hardly_changed)

    def to_json(self, indent: int | None = None) -> str:
        """The numbers of every filter, and what is said of them; the weights themselves are left out."""
        filters = self.filters
        found = {
            "network": self.network,
            "layer": filters.layer,
            "kind": filters.kind,
            "shape": filters.after.shape,
            "on_image": filters.reads_image,
            "groups": filters.groups,
            "start": {"begun": filters.initial_weights, "loaded": filters.loaded, "reason": filters.reason},
            "frozen": filters.frozen,
            "order": self.order,
            "shown": self.shown_filters,
            "unchanged": self.unchanged,
            "hardly_changed": self.hardly_changed,
            **{name: getattr(self.measures, name) for name in _LAYER_MEASURES},
            "sentences": self.findings(),
            "filters": [self._filter_dict(number) for number in range(len(filters.after))],
        }
        return json.dumps(found, indent=indent, ensure_ascii=False)

    def document(self) -> Document:
        """The worked answer."""
        filters = self.filters
        count, *shape = filters.after.shape
        what = pluralize(count, filters.noun)
        return Document(
            title=f"Weights of {filters.layer} in {self.network}: {what} of {format_shape(tuple(shape))}",
            lines=tuple(self.findings()),
            tables=(("", self._table()),),
            notes=tuple(legend(filters, self.measures, len(self.shown_filters), self.order)),
        )

    def figures(self, *, scale: WeightScale = "own") -> dict[str, CaptionedFigure]:
        """The pictures by name, the main one first.

        Args:
            scale: "own": each filter by its own largest weight, before and after training apart, which shows its shape;
                "common": both by the larger of the two, which shows how it grew or shrank.
        """
        return draw_filters(self.network, self.filters, self.measures, self.shown_filters, self.order, scale)

    def svg(self) -> str:
        """The main picture."""
        name, captioned = next(iter(self.figures().items()))
        return to_svg(captioned.figure, name, captioned.description, standalone=True)

    def _repr_html_(self) -> str:
        return self.document().to_html(self.svg())

    def _filter_dict(self, number: int) -> dict[str, float | bool | int | None]:
        found: dict[str, float | bool | int | None] = {"number": number}
        for each in fields(FilterMeasures):
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
        table = TextTable.from_rows([*titles, "remark"], [self._row(number) for number in self.shown_filters])
        return table if any(row[-1] for row in table.rows) else table.drop_columns(["remark"])

    def _row(self, number: int) -> list[str]:
        measures = self.measures
        row = [str(number), _number(measures.norm[number])]
        if measures.change is not None and measures.cosine is not None:
            row += [_number(measures.change[number]), _number(measures.cosine[number], ".3f")]
        if measures.orientation is not None and measures.coherence is not None and measures.frequency is not None:
            clear = is_oriented(measures, number)
            angle = _number(measures.orientation[number], ".0f")
            row += [f"{angle}°" if clear else MISSING, _number(measures.coherence[number], ".2f")]
            row += [_number(measures.frequency[number], ".2f")]
        if measures.colourfulness is not None and measures.axis is not None:
            axis = axis_name(float(measures.axis[number])) if has_colour_axis(measures, number) else MISSING
            axis = "grey" if is_grey(measures, number) else axis
            row += [format_percent(float(measures.colourfulness[number])), axis]
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
    return f"{value:{form}}" if isfinite(value) else MISSING
