"""What is seen in a layer's weights, in sentences made from the numbers. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnnlab.interpret.weights.filters import CHECKED, LOST, UNCHECKED, UNTRAINED, LayerFilters
from cnnlab.interpret.weights.measures import (
    DEAD_NORM,
    GREY_THRESHOLD,
    MIN_NUMBERS,
    RANDOM_QUANTILE,
    SIMILAR_COSINE,
    SMALL_CHANGE,
    FilterMeasures,
    FilterOrder,
    has_colour_axis,
)
from cnnlab.render.formatting import format_percent, shorten

MAX_NAMED = 12
AXES = {0: "red–cyan", 60: "yellow–blue", 120: "green–magenta"}
# Of random weights two of three dimensions are colour.
RANDOM_COLOUR = 2 / 3


def weight_findings(
    filters: LayerFilters,
    measures: FilterMeasures,
    unchanged: Sequence[int],
    hardly: Sequence[int],
) -> list[str]:
    """All that is seen."""
    findings = [*initial_weights_notes(filters), *_change_findings(filters, measures, unchanged, hardly)]
    if measures.coherence is not None:
        findings.append(_orientation_text(filters, measures))
    if measures.colourfulness is not None:
        findings.append(_colour_text(filters, measures))
    return [*findings, *_dead_and_duplicate_findings(filters, measures)]


def initial_weights_notes(filters: LayerFilters) -> list[str]:
    """How the state before training is known, or why it is not shown; nothing where nothing was trained."""
    if filters.initial_weights == UNTRAINED:
        return []
    loaded = f" and {shorten(filters.loaded, 80)}" if filters.loaded else ""
    if filters.initial_weights == CHECKED:
        return [f"Before training: made anew from the seed{loaded}; its SHA-256 is the one that the run wrote down."]
    if filters.initial_weights == UNCHECKED:
        how = filters.reason or "the run wrote no digest of its start (initial_weights.json)"
        how += ", so this is not checked"
        return [f"Before training: made anew from the seed{loaded}; {how}."]
    if filters.initial_weights == LOST and filters.before is not None:
        return [f"Not checked: {filters.reason}; but this layer is frozen, and began as it is."]
    return [f"What was before training is not shown: {filters.reason}."]


def axis_name(angle: float) -> str:
    """The pair of opposite colours that an axis is nearest to.

    >>> axis_name(175), axis_name(70)
    ('red–cyan', 'yellow–blue')
    """
    return AXES[min(AXES, key=lambda known: abs((angle - known + 90) % 180 - 90))]


def filter_list_text(noun: str, numbers: Sequence[int]) -> str:
    """Filters by their numbers.

    >>> filter_list_text("filter", [3]), filter_list_text("filter", [1, 2, 5])
    ('filter 3', 'filters 1, 2 and 5')
    """
    if len(numbers) == 1:
        return f"{noun} {numbers[0]}"
    if len(numbers) > MAX_NAMED:
        return f"{noun}s {', '.join(map(str, numbers[:MAX_NAMED]))} and {len(numbers) - MAX_NAMED:,} more"
    return f"{noun}s {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def legend(filters: LayerFilters, measures: FilterMeasures, shown: int, order: FilterOrder) -> list[str]:
    """How to read the table."""
    count = len(filters.after)
    notes = []
    if shown < count:
        which = "the first" if order == "number" else "those of the largest norm"
        notes.append(f"{shown:,} of {count:,} {filters.noun}s are listed, {which}; --most lists more.")
    texts = ["Numbers count from 0. norm: ‖w‖."]
    if measures.change is not None:
        texts.append("change: ‖w − w₀‖ / ‖w₀‖; cosine: between w and w₀, its start.")
    if measures.coherence is not None:
        texts.append(
            "orientation: of the stripes, 0° lying, 90° standing, counter-clockwise, – where no clearer than that of "
            "random weights; coherence: 1 for a grating, 0 for none; cycles/px: where the spectrum is highest."
        )
    if measures.colourfulness is not None:
        texts.append(
            "colour: the share of ‖w‖² that differs between red, green and blue, grey below "
            f"{100 * GREY_THRESHOLD:g} %; axis: the opposites that its colours lie between, – where no clearer than in "
            "random weights."
        )
    return [*notes, " ".join(texts)]


def _change_findings(
    filters: LayerFilters, measures: FilterMeasures, unchanged: Sequence[int], hardly: Sequence[int]
) -> list[str]:
    change = measures.change
    if change is None or not len(change):
        return []
    if filters.frozen and len(unchanged) == len(change):
        return [f"The layer is frozen: every {filters.noun} is bit for bit what it began as."]
    if len(unchanged) == len(change):
        return [f"Training changed nothing: every {filters.noun} is bit for bit what it began as."]
    most = int(np.argmax(change))
    findings = [
        f"Training moved the {filters.noun}s by {np.median(change):.2f} of their size (median), most of all "
        f"{filters.noun} {most} (by {change[most]:.2f})."
    ]
    if unchanged:
        findings.append(f"Bit for bit what they began as: {filter_list_text(filters.noun, unchanged)}.")
    if hardly:
        findings.append(
            f"Changed by less than {100 * SMALL_CHANGE:g} % of their size: {filter_list_text(filters.noun, hardly)}."
        )
    if not unchanged and not hardly:
        findings[0] += f" None changed by less than {100 * SMALL_CHANGE:g} %."
    return findings


def _orientation_text(filters: LayerFilters, measures: FilterMeasures) -> str:
    assert measures.coherence is not None
    assert measures.random_coherence is not None
    limit, total = measures.random_coherence, len(measures.coherence) - len(measures.broken)
    count = int((measures.coherence > limit).sum())
    before = measures.coherence_before
    then = "" if before is None or filters.frozen else f"; before training {int((before > limit).sum()):,} were"
    return (
        f"{count:,} of {total:,} {filters.noun}s are oriented more clearly than 95 % of random ones of this shape "
        f"(coherence above {limit:.2f}); of random ones it would be about {(1 - RANDOM_QUANTILE) * total:.0f}{then}."
    )


def _colour_text(filters: LayerFilters, measures: FilterMeasures) -> str:
    assert measures.colourfulness is not None
    assert measures.axis is not None
    share = measures.colourfulness
    most = int(np.argmax(share))
    named = f", {axis_name(float(measures.axis[most]))}" if has_colour_axis(measures, most) else ""
    return (
        f"{format_percent(float(np.median(share)))} of a {filters.noun}'s squared weights are colour (median; of "
        f"random weights {format_percent(RANDOM_COLOUR)}); the most colourful is {filters.noun} {most} "
        f"({format_percent(float(share[most]))}{named})."
    )


def _dead_and_duplicate_findings(filters: LayerFilters, measures: FilterMeasures) -> list[str]:
    findings = []
    if measures.broken:
        named = filter_list_text(filters.noun, measures.broken)
        findings.append(f"Some weights are not a number (NaN or ±Inf), and count as 0: of {named}.")
    if measures.dead:
        named = filter_list_text(filters.noun, measures.dead)
        findings.append(f"Almost 0, their norm below {100 * DEAD_NORM:g} % of the median: {named}.")
    for pairs, total, how in (
        (measures.twins, measures.twins_in_all, f"above {SIMILAR_COSINE}"),
        (measures.opposites, measures.opposites_in_all, f"below −{SIMILAR_COSINE}"),
    ):
        if pairs:
            named = ", ".join(f"{a} and {b}" for a, b in pairs[:MAX_NAMED])
            more = f" and {total - MAX_NAMED:,} more pairs" if total > MAX_NAMED else ""
            findings.append(f"Cosine {how}: {filters.noun}s {named}{more}.")
    whole = len(measures.broken) < len(filters.after)
    if whole and not measures.dead and not measures.twins and filters.after[0].size >= MIN_NUMBERS:
        other = "other " if measures.broken else ""
        findings.append(
            f"No {other}{filters.noun} is almost 0, and no two point the same way (cosine above {SIMILAR_COSINE})."
        )
    return findings
