"""Pictures of a study of arms: every seed a dot, and the differences to the baseline. Computed, then drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.render import formatting
from cnnlab.render.plots import COLOURS, NORMAL, new_figure
from cnnlab.report import study_words
from cnnlab.report.study_drawing import (
    VERDICT_COLOURS,
    VERDICT_MARKERS,
    limits,
    name_room,
    new_canvas,
    plain_ticks,
    row_axes,
    swarm,
    write,
)
from cnnlab.report.study_headline import comparisons
from cnnlab.stats.comparison import Comparison, Judgement
from cnnlab.stats.sample import Interval, Sample
from cnnlab.studies.result import StudyResult

WIDTH = 640.0
FOREST_WIDTH = 800.0
HEAD, FOOT = 48.0, 28.0
# Of rows with dots above a mean, and of rows with a single mark.
TALL, LOW = 34.0, 24.0
LONGEST, MOST_ROOM = 28, 216.0
DOT = 6.4


@dataclass(frozen=True)
class SeedRow:
    """One arm's runs: the finite values, their mean and its 95 % interval, and a word on what is missing."""

    name: str
    values: tuple[float, ...]
    mean: float | None
    interval: Interval | None
    remark: str
    baseline: bool


@dataclass(frozen=True)
class DifferenceRow:
    """One arm against the baseline, in the axis's units; `extra` are its parameters beyond the baseline's."""

    name: str
    difference: float | None
    interval: Interval | None
    verdict: Judgement
    n: int
    failures: int
    extra: int
    seconds: float | None


def seed_rows(result: StudyResult) -> tuple[SeedRow, ...]:
    """The arms in the order of the study, without those that are the same experiment as another."""
    return tuple(
        SeedRow(
            arm.name, arm.sample.finite, arm.sample.mean, arm.sample.interval(), remark(arm.sample), arm.name == base
        )
        for base in (result.baseline,)
        for arm in result.arms
        if not arm.same_as
    )


def remark(sample: Sample) -> str:
    """What a row of dots does not show: runs that failed, or that there are none."""
    if not sample.values:
        return "no run yet"
    if not sample.n:
        return f"all {len(sample.values)} failed" if len(sample.values) > 1 else "it failed"
    return f"{sample.failures} of {len(sample.values)} failed" if sample.failures else ""


def difference_rows(result: StudyResult) -> tuple[DifferenceRow, ...]:
    """The arms against the baseline, the best first; shares in points, losses in their own units."""
    scale = 100.0 if study_words.is_share(result.metric) else 1.0
    base = result.arm(result.baseline) if result.baseline is not None else None
    return tuple(
        DifferenceRow(
            name=found.a,
            difference=None if found.difference is None else scale * found.difference,
            interval=_scaled(found, scale),
            verdict=found.verdict,
            n=found.n_a,
            failures=found.failures_a,
            extra=result.arm(found.a).parameters - (base.parameters if base else 0),
            seconds=result.arm(found.a).seconds,
        )
        for found in comparisons(result)
    )


def seed_figure(result: StudyResult, *, differences: bool = True) -> Figure:
    """Every seed a dot, mean and 95 % interval of each arm; below, with `differences`, those to the baseline."""
    rows = seed_rows(result)
    below = difference_rows(result) if differences else ()
    upper = HEAD + TALL * len(rows)
    figure = new_figure(WIDTH, upper + FOOT + (16 + HEAD + LOW * len(below) + FOOT if below else 0))
    canvas = new_canvas(figure)
    names = dict(
        zip((row.name for row in rows), study_words.short_names([row.name for row in rows], LONGEST), strict=True)
    )
    left = name_room(names.values(), MOST_ROOM)
    right = 92.0 if below or any(row.remark for row in rows) else 8.0
    _head(
        canvas,
        0,
        study_words.metric_name(result.metric),
        "each dot is a run; the bar is the mean with its 95 % interval",
    )
    axes = row_axes(figure, left, HEAD, WIDTH - left - right, len(rows), TALL)
    _seeds(axes, rows)
    for number, row in enumerate(rows):
        middle = HEAD + TALL * (number + 0.5)
        write(canvas, left - 10, middle, names[row.name], ha="right", bold=row.baseline)
        write(canvas, WIDTH - right + 8, middle, row.remark, colour="validation")
    if below:
        _below(figure, canvas, result, below, names, (left, upper + FOOT + 16, right))
    return figure


def forest_figure(result: StudyResult) -> Figure:
    """The differences to the baseline, the best first, with their simultaneous intervals and the ±δ band.

    Beside them stand verdict, n, failed runs, parameters beyond the baseline's and minutes a run.
    """
    rows = difference_rows(result)
    figure = new_figure(FOREST_WIDTH, HEAD + 18 + LOW * len(rows) + FOOT)
    canvas = new_canvas(figure)
    names = study_words.short_names([row.name for row in rows], LONGEST)
    left, right = name_room(names, MOST_ROOM), 326.0
    _head(canvas, 0, *_difference_words(result))
    _forest(figure, result, rows, (left, HEAD + 18, FOREST_WIDTH - left - right))
    ends = [FOREST_WIDTH - right + place for place in (16, 150, 198, 276, 322)]
    for title, end, ha in zip(
        ("verdict", "n", "failed", "± param.", "min"), ends, ("left", *["right"] * 4), strict=True
    ):
        write(canvas, end, HEAD + 8, title, colour="muted", ha=ha)  # type: ignore[arg-type]
    for number, row in enumerate(rows):
        middle = HEAD + 18 + LOW * (number + 0.5)
        write(canvas, left - 10, middle, names[number], ha="right")
        write(canvas, ends[0], middle, row.verdict, colour=VERDICT_COLOURS[row.verdict])
        extra = "0" if not row.extra else f"{'+' if row.extra > 0 else '−'}{formatting.count(abs(row.extra))}"
        minutes = formatting.NONE if row.seconds is None else f"{row.seconds / 60:.1f}"
        for end, text in zip(ends[1:], (str(row.n), str(row.failures), extra, minutes), strict=True):
            write(canvas, end, middle, text, colour="muted", ha="right")
    return figure


def _head(canvas: Axes, top: float, title: str, note: str) -> None:
    write(canvas, 0, top + 10, title, size=NORMAL, bold=True)
    write(canvas, 0, top + 27, note, colour="muted")


def _difference_words(result: StudyResult) -> tuple[str, str]:
    """The title of a plot of differences, and what its marks are."""
    unit = "points" if study_words.is_share(result.metric) else "in its own units"
    base = formatting.shown(result.baseline or "", LONGEST)
    found = result.ablation.comparisons if result.ablation else ()
    span = f"the bar is the {study_words.level(found[0].level)} interval" if found else ""
    if result.smallest_difference is not None:
        band = study_words.smallest(result.smallest_difference, result.metric)
        span += f"; shaded: {band}, the differences too small to matter"
    return f"difference to {base} ({unit})", span


def _seeds(axes: Axes, rows: Sequence[SeedRow]) -> None:
    values = [value for row in rows for value in row.values]
    low, high = limits(values, [row.interval for row in rows if row.interval is not None])
    axes.set_xlim(low, high)
    width = axes.bbox.width
    for number, row in enumerate(rows):
        colour = COLOURS["muted" if row.baseline else "train"]
        levels = swarm(row.values, DOT / width * (high - low))
        # Dots grow upwards from above the bar, closer where there are many: a row's dots stay in the row.
        step = min(DOT / TALL, 0.5 / max([*levels, 1]))
        heights = [number - 0.02 - step * level for level in levels]
        axes.plot(
            row.values, heights, "o", color=colour, markersize=DOT - 1, markeredgewidth=0, alpha=0.75, clip_on=False
        )
        if row.mean is not None:
            _bar(axes, row.mean, row.interval, number + 0.24, "ink", "D")
    plain_ticks(axes, width)


def _bar(axes: Axes, mean: float, interval: Interval | None, height: float, colour: str, marker: str) -> None:
    """A mean and its interval; an end beyond the axis is cut off with an arrow."""
    low, high = axes.get_xlim()
    style: dict[str, Any] = {"color": COLOURS[colour], "markeredgewidth": 0, "clip_on": False}
    if interval is not None:
        start, end = max(interval[0], low), min(interval[1], high)
        axes.plot([start, end], [height, height], color=COLOURS[colour], linewidth=2, solid_capstyle="butt")
        for cut, place, arrow in ((interval[0] < low, low, "<"), (interval[1] > high, high, ">")):
            if cut:
                axes.plot([place], [height], arrow, markersize=6, **style)
    edge = 2.0 if marker == "|" else 0.0
    axes.plot([mean], [height], marker, markersize=11 if edge else 7, **(style | {"markeredgewidth": edge}))


def _below(
    figure: Figure,
    canvas: Axes,
    result: StudyResult,
    rows: Sequence[DifferenceRow],
    names: dict[str, str],
    place: tuple[float, float, float],
) -> None:
    left, top, right = place
    _head(canvas, top, *_difference_words(result))
    _forest(figure, result, rows, (left, top + HEAD, WIDTH - left - right))
    for number, row in enumerate(rows):
        middle = top + HEAD + LOW * (number + 0.5)
        write(canvas, left - 10, middle, names[row.name], ha="right")
        write(canvas, WIDTH - right + 8, middle, row.verdict, colour=VERDICT_COLOURS[row.verdict])


def _forest(
    figure: Figure, result: StudyResult, rows: Sequence[DifferenceRow], place: tuple[float, float, float]
) -> None:
    left, top, width = place
    axes = row_axes(figure, left, top, width, len(rows), LOW)
    delta = (result.smallest_difference or 0.0) * (100.0 if study_words.is_share(result.metric) else 1.0)
    known = [row.difference for row in rows if row.difference is not None]
    axes.set_xlim(limits([*known, -delta, delta], [row.interval for row in rows if row.interval is not None]))
    axes.axvspan(-delta, delta, color=COLOURS["line"], alpha=0.6, linewidth=0, zorder=0.5)
    axes.axvline(0, color=COLOURS["muted"], linewidth=1)
    for number, row in enumerate(rows):
        if row.difference is not None:
            colour, marker = VERDICT_COLOURS[row.verdict], VERDICT_MARKERS[row.verdict]
            _bar(axes, row.difference, row.interval, number, colour, marker)
    plain_ticks(axes, width, signs=True)


def _scaled(found: Comparison, scale: float) -> Interval | None:
    return None if found.low is None or found.high is None else (scale * found.low, scale * found.high)
