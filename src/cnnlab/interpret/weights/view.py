"""What is seen in a layer's weights, in sentences made from the numbers. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnnlab.interpret.weights.filters import CHECKED, LOST, UNCHECKED, UNTRAINED, Filters
from cnnlab.interpret.weights.measures import (
    DEAD,
    FEWEST_NUMBERS,
    GREY,
    RANDOM_QUANTILE,
    SAME,
    STILL,
    Measures,
    Order,
    has_axis,
)
from cnnlab.render import formatting

MOST_NAMED = 12
AXES = {0: "red–cyan", 60: "yellow–blue", 120: "green–magenta"}
# Of random weights two of three dimensions are colour.
RANDOM_COLOUR = 2 / 3


def sentences(
    filters: Filters,
    measures: Measures,
    unchanged: Sequence[int],
    hardly: Sequence[int],
) -> list[str]:
    """All that is seen."""
    said = [*start_sentences(filters), *_changed(filters, measures, unchanged, hardly)]
    if measures.coherence is not None:
        said.append(_oriented(filters, measures))
    if measures.colourfulness is not None:
        said.append(_coloured(filters, measures))
    return [*said, *_dead_or_twice(filters, measures)]


def start_sentences(filters: Filters) -> list[str]:
    """How the state before training is known, or why it is not shown; nothing where nothing was trained."""
    if filters.begun == UNTRAINED:
        return []
    loaded = f" and {formatting.shown(filters.loaded, 80)}" if filters.loaded else ""
    if filters.begun == CHECKED:
        return [f"Before training: made anew from the seed{loaded}; its SHA-256 is the one that the run wrote down."]
    if filters.begun == UNCHECKED:
        how = filters.reason or "the run wrote no digest of its start (start.json)"
        how += ", so this is not checked"
        return [f"Before training: made anew from the seed{loaded}; {how}."]
    if filters.begun == LOST and filters.before is not None:
        return [f"Not checked: {filters.reason}; but this layer is frozen, and began as it is."]
    return [f"What was before training is not shown: {filters.reason}."]


def axis_name(angle: float) -> str:
    """The pair of opposite colours that an axis is nearest to.

    >>> axis_name(175), axis_name(70)
    ('red–cyan', 'yellow–blue')
    """
    return AXES[min(AXES, key=lambda known: abs((angle - known + 90) % 180 - 90))]


def numbered(noun: str, numbers: Sequence[int]) -> str:
    """Filters by their numbers.

    >>> numbered("filter", [3]), numbered("filter", [1, 2, 5])
    ('filter 3', 'filters 1, 2 and 5')
    """
    if len(numbers) == 1:
        return f"{noun} {numbers[0]}"
    if len(numbers) > MOST_NAMED:
        return f"{noun}s {', '.join(map(str, numbers[:MOST_NAMED]))} and {len(numbers) - MOST_NAMED:,} more"
    return f"{noun}s {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def legend(filters: Filters, measures: Measures, shown: int, order: Order) -> list[str]:
    """How to read the table."""
    count = len(filters.after)
    notes = []
    if shown < count:
        which = "the first" if order == "number" else "those of the largest norm"
        notes.append(f"{shown:,} of {count:,} {filters.noun}s are listed, {which}; --most lists more.")
    told = ["Numbers count from 0. norm: ‖w‖."]
    if measures.change is not None:
        told.append("change: ‖w − w₀‖ / ‖w₀‖; cosine: between w and w₀, its start.")
    if measures.coherence is not None:
        told.append(
            "orientation: of the stripes, 0° lying, 90° standing, counter-clockwise, – where no clearer than that of "
            "random weights; coherence: 1 for a grating, 0 for none; cycles/px: where the spectrum is highest."
        )
    if measures.colourfulness is not None:
        told.append(
            f"colour: the share of ‖w‖² that differs between red, green and blue, grey below {100 * GREY:g} %; "
            "axis: the opposites that its colours lie between, – where no clearer than in random weights."
        )
    return [*notes, " ".join(told)]


def _changed(filters: Filters, measures: Measures, unchanged: Sequence[int], hardly: Sequence[int]) -> list[str]:
    change = measures.change
    if change is None or not len(change):
        return []
    if filters.frozen and len(unchanged) == len(change):
        return [f"The layer is frozen: every {filters.noun} is bit for bit what it began as."]
    if len(unchanged) == len(change):
        return [f"Training changed nothing: every {filters.noun} is bit for bit what it began as."]
    most = int(np.argmax(change))
    said = [
        f"Training moved the {filters.noun}s by {np.median(change):.2f} of their size (median), most of all "
        f"{filters.noun} {most} (by {change[most]:.2f})."
    ]
    if unchanged:
        said.append(f"Bit for bit what they began as: {numbered(filters.noun, unchanged)}.")
    if hardly:
        said.append(f"Changed by less than {100 * STILL:g} % of their size: {numbered(filters.noun, hardly)}.")
    if not unchanged and not hardly:
        said[0] += f" None changed by less than {100 * STILL:g} %."
    return said


def _oriented(filters: Filters, measures: Measures) -> str:
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


def _coloured(filters: Filters, measures: Measures) -> str:
    assert measures.colourfulness is not None
    assert measures.axis is not None
    share = measures.colourfulness
    most = int(np.argmax(share))
    named = f", {axis_name(float(measures.axis[most]))}" if has_axis(measures, most) else ""
    return (
        f"{formatting.percent(float(np.median(share)))} of a {filters.noun}'s squared weights are colour (median; of random "
        f"weights {formatting.percent(RANDOM_COLOUR)}); the most colourful is {filters.noun} {most} "
        f"({formatting.percent(float(share[most]))}{named})."
    )


def _dead_or_twice(filters: Filters, measures: Measures) -> list[str]:
    said = []
    if measures.broken:
        named = numbered(filters.noun, measures.broken)
        said.append(f"Some weights are not a number (NaN or ±Inf), and count as 0: of {named}.")
    if measures.dead:
        named = numbered(filters.noun, measures.dead)
        said.append(f"Almost 0, their norm below {100 * DEAD:g} % of the median: {named}.")
    for pairs, total, how in (
        (measures.twins, measures.twins_in_all, f"above {SAME}"),
        (measures.opposites, measures.opposites_in_all, f"below −{SAME}"),
    ):
        if pairs:
            named = ", ".join(f"{a} and {b}" for a, b in pairs[:MOST_NAMED])
            more = f" and {total - MOST_NAMED:,} more pairs" if total > MOST_NAMED else ""
            said.append(f"Cosine {how}: {filters.noun}s {named}{more}.")
    whole = len(measures.broken) < len(filters.after)
    if whole and not measures.dead and not measures.twins and filters.after[0].size >= FEWEST_NUMBERS:
        other = "other " if measures.broken else ""
        said.append(f"No {other}{filters.noun} is almost 0, and no two point the same way (cosine above {SAME}).")
    return said
