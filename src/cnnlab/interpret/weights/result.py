"""The measured filters of one layer. No torch."""

from __future__ import annotations

import json
from dataclasses import fields
from math import isfinite

import numpy as np
from pydantic import InstanceOf

from cnnlab.interpret.filter_numbers import flagged_numbers
from cnnlab.interpret.weights.filters import LayerFilters
from cnnlab.interpret.weights.measures import SMALL_CHANGE, FilterMeasures, FilterSelection
from cnnlab.render.formatting import pluralize
from cnnlab.render.result import Result


class LayerWeights(Result):
    """The filters of one layer, measured.

    Attributes:
        network: its name, with the origin of its weights.
        filters: the weights, before and after training.
        shown_filters: the numbers, from 1, of the filters in table and figures, in their order.
        order: by number, by norm, or as the caller chose them.
    """

    network: str
    filters: InstanceOf[LayerFilters]
    measures: InstanceOf[FilterMeasures]
    shown_filters: tuple[int, ...]
    order: FilterSelection

    @property
    def selection_text(self) -> str:
        """Which of the filters are shown."""
        count, shown, noun = len(self.filters.after), len(self.shown_filters), self.filters.noun
        if shown == count:
            return pluralize(count, noun)
        if self.order == "chosen":
            return f"{shown:,} of {pluralize(count, noun)}, chosen by number"
        which = "first" if self.order == "number" else "largest"
        return f"The {which} {shown:,} of {count:,} {noun}s"

    @property
    def unchanged(self) -> tuple[int, ...]:
        """The filters that are bit for bit the initial ones; none where those are not known."""
        return () if self.measures.equal is None else flagged_numbers(self.measures.equal)

    @property
    def hardly_changed(self) -> tuple[int, ...]:
        """The filters that changed, by less than 1 % of their norm."""
        if self.measures.change is None or self.measures.equal is None:
            return ()
        return flagged_numbers((self.measures.change < SMALL_CHANGE) & ~self.measures.equal)

    def to_json(self, indent: int | None = None) -> str:
        """The measures of every filter as JSON; the weights are left out."""
        filters, measures = self.filters, self.measures
        values = {
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
            "dead": measures.dead,
            "broken": measures.broken,
            "twins": measures.twins,
            "twins_in_all": measures.twins_in_all,
            "filters": [self._filter_dict(number) for number in range(1, len(filters.after) + 1)],
        }
        return json.dumps(values, indent=indent, ensure_ascii=False)

    def _filter_dict(self, number: int) -> dict[str, float | bool | int | None]:
        values: dict[str, float | bool | int | None] = {"number": number}
        for field in fields(FilterMeasures):
            measure = getattr(self.measures, field.name)
            if isinstance(measure, np.ndarray):
                value = measure[number - 1].item()
                values[field.name] = value if isfinite(value) else None
        return values
