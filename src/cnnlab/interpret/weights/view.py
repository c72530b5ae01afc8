"""The filters of one layer as tables. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from cnnlab.interpret.weights.filters import CHECKED, UNTRAINED, LayerFilters, WeightScale
from cnnlab.interpret.weights.measures import DEAD_NORM, SMALL_CHANGE, TWIN_COSINE
from cnnlab.interpret.weights.result import LayerWeights
from cnnlab.render.document import Document
from cnnlab.render.formatting import MISSING, format_count, format_names, format_shape, pluralize, shorten
from cnnlab.render.result import document, figures
from cnnlab.render.tables import TextTable

if TYPE_CHECKING:
    from cnnlab.render.plots import CaptionedFigure


@document.register
def _(result: LayerWeights) -> Document:
    filters = result.filters
    count, *shape = filters.after.shape
    size = f"{pluralize(count, filters.noun)} of {format_shape(tuple(shape))}"
    noun = filters.noun
    listed = len(result.shown_filters)
    caption = "" if listed == count else f"{result.selection_text}; --most lists more"
    if result.order == "chosen":
        caption = result.selection_text
    note = f"{noun.capitalize()}s are numbered from 1. norm: ‖w‖."
    if result.measures.change is not None:
        note += " change: ‖w − w₀‖ / ‖w₀‖; cosine: between w and the initial weights w₀."
    return Document(
        title=f"Weights of {filters.layer} in {result.network}: {size}",
        lines=tuple(filter(None, (initial_weights_note(filters), headline(result)))),
        tables=((f"Unchanged, dead and twin {noun}s", _summary_table(result)), (caption, _filter_table(result))),
        notes=(note,),
    )


@figures.register(LayerWeights)
def _(result: LayerWeights, *, scale: WeightScale = "own") -> dict[str, CaptionedFigure]:
    """Draw the filters.

    Args:
        scale: "own": full colour is each filter's own largest weight, before and after training apart; "common": the
            larger of the two.
    """
    from cnnlab.interpret.weights.figures import draw_filters

    return draw_filters(result, scale)


def headline(result: LayerWeights) -> str:
    """The change by training; "" where the initial weights are not known."""
    change = result.measures.change
    if change is None or not len(change):
        return ""
    most = int(np.argmax(change))
    return (
        f"Median change {np.median(change):.2f} of the initial norm; largest {change[most]:.2f}, "
        f"{result.filters.noun} {most + 1}.{' The layer is frozen.' if result.filters.frozen else ''}"
    )


def initial_weights_note(filters: LayerFilters) -> str:
    """Whether the initial weights were restored and verified; "" for an untrained network."""
    if filters.initial_weights == UNTRAINED:
        return ""
    if filters.before is None:
        known = "the same, since the layer is frozen" if filters.frozen else f"not available: {filters.reason}"
        return f"Initial weights: {known}."
    loaded = f" and {shorten(filters.loaded, 80)}" if filters.loaded else ""
    if filters.initial_weights == CHECKED:
        return f"Initial weights: restored from the seed{loaded}; verified by the SHA-256 in the run."
    return f"Initial weights: not verified: {filters.reason or 'the run has no initial_weights.json'}."


def _summary_table(result: LayerWeights) -> TextTable:
    """The unchanged, dead, broken and twin filters of the whole layer."""
    measures = result.measures
    groups: list[tuple[str, Sequence[int]]] = []
    if measures.change is not None:
        groups += [
            ("unchanged, bit for bit", result.unchanged),
            (f"changed by less than {100 * SMALL_CHANGE:g} %", result.hardly_changed),
        ]
    groups += [
        (f"dead: norm below {100 * DEAD_NORM:g} % of the median", measures.dead),
        ("NaN or ±Inf, taken as 0", measures.broken),
    ]
    rows = [(what, format_count(len(numbers)), format_names(numbers)) for what, numbers in groups]
    pairs, count = [f"{one}={other}" for one, other in measures.twins], measures.twins_in_all
    rows.append((f"pairs of twins: cosine above {TWIN_COSINE}", format_count(count), format_names(pairs, count)))
    return TextTable.from_rows([result.filters.noun, "#count", "which"], rows)


def _filter_table(result: LayerWeights) -> TextTable:
    measures = result.measures
    titles = [f"#{result.filters.noun}", "#norm"]
    columns = [[_format(value) for value in measures.norm]]
    if measures.change is not None and measures.cosine is not None:
        titles += ["#change", "#cosine"]
        columns += [[_format(value) for value in measures.change], [_format(value, ".3f") for value in measures.cosine]]
    rows = [[str(number), *(column[number - 1] for column in columns)] for number in result.shown_filters]
    return TextTable.from_rows(titles, rows)


def _format(value: float, spec: str = ".3g") -> str:
    return f"{value:{spec}}" if isfinite(value) else MISSING
