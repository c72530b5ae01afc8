"""The figures of a study: every seed a dot, the differences to the baseline, the learning curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean, median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cnnlab.render.formatting import MISSING, format_count, shorten
from cnnlab.render.plots import (
    COLOURS,
    NORMAL,
    POINTS_PER_INCH,
    SMALL,
    label_line_ends,
    minimal_axes,
    new_canvas,
    new_figure,
    write_text,
)
from cnnlab.render.svg import text_width
from cnnlab.reports.study import text as study_text
from cnnlab.reports.study.text import comparisons
from cnnlab.stats.comparison import Comparison, Judgement
from cnnlab.stats.sample import Interval, Sample
from cnnlab.studies.result import ArmRecord, StudyResult

VERDICT_COLOURS: dict[Judgement, str] = {
    "better": "test",
    "worse": "validation",
    "practically equal": "train",
    "undecided": "muted",
    "no verdict": "muted",
}
VERDICT_MARKERS: dict[Judgement, str] = {
    "better": "o",
    "worse": "o",
    "practically equal": "s",
    "undecided": "|",
    "no verdict": "|",
}
# How much wider bold letters are, in most fonts.
BOLD_WIDTH = 1.15
# Of ticks: numbers that people count in.
TICK_STEPS = (1, 2, 2.5, 5, 10)


def swarm_levels(positions: Sequence[float], gap: float) -> list[int]:
    """The level of each dot, 0 for the lowest, so that dots of one level lie `gap` or more apart.

    >>> swarm_levels([1.0, 1.1, 5.0, 1.2], 0.15)
    [0, 1, 0, 0]
    """
    last: list[float] = []
    levels = dict.fromkeys(range(len(positions)), 0)
    for index in sorted(levels, key=lambda index: positions[index]):
        level = next((number for number, end in enumerate(last) if positions[index] - end >= gap), len(last))
        last[level : level + 1] = [positions[index]]
        levels[index] = level
    return list(levels.values())


def axis_limits(
    points: Iterable[float], bounds: Iterable[tuple[float, float]], least: float = 0.0
) -> tuple[float, float]:
    """The limits of an axis: all points are seen, and intervals but for the ends of unusually long ones.

    Args:
        points: what must be seen; those that are not finite are left out.
        least: the axis is at least so long.
    """
    shown = [point for point in points if isfinite(point)]
    spans = [bound for bound in bounds if all(map(isfinite, bound))]
    if not shown:
        return (0.0, least or 1.0)
    low, high = min(shown), max(shown)
    halves = [(end - start) / 2 for start, end in spans]
    room = max(high - low, 3 * median(halves) if halves else 0.0)
    low = min(low, max(min((start for start, _ in spans), default=low), low - room))
    high = max(high, min(max((end for _, end in spans), default=high), high + room))
    pad = max(0.05 * (high - low), (least - (high - low)) / 2) or abs(high) * 0.05 or 1.0
    return low - pad, high + pad


def row_axes(figure: Figure, left: float, top: float, width: float, rows: int, row: float) -> Axes:
    """Axes for rows of one height (points), the first at the top; `top` is measured from the figure's upper edge.

    Row number i has its middle at y = i.
    """
    height = figure.get_size_inches()[1] * POINTS_PER_INCH
    axes = minimal_axes(figure, left, height - top - rows * row, width, rows * row)
    axes.grid(False, axis="y")
    axes.grid(True, axis="x", color=COLOURS["line"], linewidth=0.8)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_yticks([])
    return axes


def set_ticks(axes: Axes, width: float, *, signs: bool = False) -> None:
    """Few enough ticks for the width, written in full; with `signs` as differences are."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=max(2, int(width / 62)), steps=TICK_STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value, signs=signs)))


def format_tick(value: float, *, signs: bool = False) -> str:
    """A tick's number, short; a difference's sign is as long as `+`."""
    text = f"{abs(value):.6g}"
    sign = "−" if value < 0 else "+" if signs and value > 0 else ""
    return text if text == "0" else sign + text


def names_width(names: Iterable[str], max_width: float) -> float:
    """The width in points of a column of names."""
    return min(max((BOLD_WIDTH * text_width(name, SMALL) for name in names), default=0.0) + 14, max_width)


WIDTH = 640.0
FOREST_WIDTH = 800.0
HEAD, FOOT = 48.0, 28.0
# Of rows with dots above a mean, and of rows with a single mark.
SEED_ROW_HEIGHT, FOREST_ROW_HEIGHT = 34.0, 24.0
MAX_NAME_LENGTH, MAX_NAMES_WIDTH = 28, 216.0
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
            arm.name,
            arm.sample.finite,
            arm.sample.mean,
            arm.sample.interval(),
            missing_runs_text(arm.sample),
            arm.name == base,
        )
        for base in (result.baseline,)
        for arm in result.arms
        if not arm.same_as
    )


def missing_runs_text(sample: Sample) -> str:
    """What a row of dots does not show: runs that failed, or that there are none."""
    if not sample.values:
        return "no run yet"
    if not sample.n:
        return f"all {len(sample.values)} failed" if len(sample.values) > 1 else "it failed"
    return f"{sample.failures} of {len(sample.values)} failed" if sample.failures else ""


def difference_rows(result: StudyResult) -> tuple[DifferenceRow, ...]:
    """The arms against the baseline, the best first; shares in points, losses in their own units."""
    scale = 100.0 if study_text.is_share(result.metric) else 1.0
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
    upper = HEAD + SEED_ROW_HEIGHT * len(rows)
    figure = new_figure(WIDTH, upper + FOOT + (16 + HEAD + FOREST_ROW_HEIGHT * len(below) + FOOT if below else 0))
    canvas = new_canvas(figure)
    names = dict(
        zip(
            (row.name for row in rows), study_text.short_names([row.name for row in rows], MAX_NAME_LENGTH), strict=True
        )
    )
    left = names_width(names.values(), MAX_NAMES_WIDTH)
    right = 92.0 if below or any(row.remark for row in rows) else 8.0
    _head(
        canvas,
        0,
        study_text.metric_name(result.metric),
        "each dot is a run; the bar is the mean with its 95 % interval",
    )
    axes = row_axes(figure, left, HEAD, WIDTH - left - right, len(rows), SEED_ROW_HEIGHT)
    _seeds(axes, rows)
    for number, row in enumerate(rows):
        middle = HEAD + SEED_ROW_HEIGHT * (number + 0.5)
        write_text(canvas, left - 10, middle, names[row.name], ha="right", bold=row.baseline)
        write_text(canvas, WIDTH - right + 8, middle, row.remark, colour="validation")
    if below:
        _draw_differences(figure, canvas, result, below, names, (left, upper + FOOT + 16, right))
    return figure


def forest_figure(result: StudyResult) -> Figure:
    """The differences to the baseline, the best first, with their simultaneous intervals and the ±δ band.

    Beside them stand verdict, n, failed runs, parameters beyond the baseline's and minutes a run.
    """
    rows = difference_rows(result)
    figure = new_figure(FOREST_WIDTH, HEAD + 18 + FOREST_ROW_HEIGHT * len(rows) + FOOT)
    canvas = new_canvas(figure)
    names = study_text.short_names([row.name for row in rows], MAX_NAME_LENGTH)
    left, right = names_width(names, MAX_NAMES_WIDTH), 326.0
    _head(canvas, 0, *_difference_title(result))
    _forest(figure, result, rows, (left, HEAD + 18, FOREST_WIDTH - left - right))
    ends = [FOREST_WIDTH - right + offset for offset in (16, 150, 198, 276, 322)]
    for title, end, ha in zip(
        ("verdict", "n", "failed", "± param.", "min"), ends, ("left", *["right"] * 4), strict=True
    ):
        write_text(canvas, end, HEAD + 8, title, colour="muted", ha=ha)  # type: ignore[arg-type]
    for number, row in enumerate(rows):
        middle = HEAD + 18 + FOREST_ROW_HEIGHT * (number + 0.5)
        write_text(canvas, left - 10, middle, names[number], ha="right")
        write_text(canvas, ends[0], middle, row.verdict, colour=VERDICT_COLOURS[row.verdict])
        extra = "0" if not row.extra else f"{'+' if row.extra > 0 else '−'}{format_count(abs(row.extra))}"
        minutes = MISSING if row.seconds is None else f"{row.seconds / 60:.1f}"
        for end, text in zip(ends[1:], (str(row.n), str(row.failures), extra, minutes), strict=True):
            write_text(canvas, end, middle, text, colour="muted", ha="right")
    return figure


def _head(canvas: Axes, top: float, title: str, note: str) -> None:
    write_text(canvas, 0, top + 10, title, size=NORMAL, bold=True)
    write_text(canvas, 0, top + 27, note, colour="muted")


def _difference_title(result: StudyResult) -> tuple[str, str]:
    """The title of a plot of differences, and what its marks are."""
    unit = "points" if study_text.is_share(result.metric) else "in its own units"
    base = shorten(result.baseline or "", MAX_NAME_LENGTH)
    found = result.ablation.comparisons if result.ablation else ()
    span = f"the bar is the {study_text.level_text(found[0].level)} interval" if found else ""
    if result.smallest_difference is not None:
        band = study_text.equivalence_band(result.smallest_difference, result.metric)
        span += f"; shaded: {band}, the differences too small to matter"
    return f"difference to {base} ({unit})", span


def _seeds(axes: Axes, rows: Sequence[SeedRow]) -> None:
    values = [value for row in rows for value in row.values]
    low, high = axis_limits(values, [row.interval for row in rows if row.interval is not None])
    axes.set_xlim(low, high)
    width = axes.bbox.width
    for number, row in enumerate(rows):
        colour = COLOURS["muted" if row.baseline else "train"]
        levels = swarm_levels(row.values, DOT / width * (high - low))
        # Dots grow upwards from above the bar, closer where there are many: a row's dots stay in the row.
        step = min(DOT / SEED_ROW_HEIGHT, 0.5 / max([*levels, 1]))
        heights = [number - 0.02 - step * level for level in levels]
        axes.plot(
            row.values, heights, "o", color=colour, markersize=DOT - 1, markeredgewidth=0, alpha=0.75, clip_on=False
        )
        if row.mean is not None:
            _bar(axes, row.mean, row.interval, number + 0.24, "ink", "D")
    set_ticks(axes, width)


def _bar(axes: Axes, mean: float, interval: Interval | None, height: float, colour: str, marker: str) -> None:
    """A mean and its interval; an end beyond the axis is cut off with an arrow."""
    low, high = axes.get_xlim()
    style: dict[str, Any] = {"color": COLOURS[colour], "markeredgewidth": 0, "clip_on": False}
    if interval is not None:
        start, end = max(interval[0], low), min(interval[1], high)
        axes.plot([start, end], [height, height], color=COLOURS[colour], linewidth=2, solid_capstyle="butt")
        for cut, bound, arrow in ((interval[0] < low, low, "<"), (interval[1] > high, high, ">")):
            if cut:
                axes.plot([bound], [height], arrow, markersize=6, **style)
    edge = 2.0 if marker == "|" else 0.0
    axes.plot([mean], [height], marker, markersize=11 if edge else 7, **(style | {"markeredgewidth": edge}))


def _draw_differences(
    figure: Figure,
    canvas: Axes,
    result: StudyResult,
    rows: Sequence[DifferenceRow],
    names: dict[str, str],
    bounds: tuple[float, float, float],
) -> None:
    left, top, right = bounds
    _head(canvas, top, *_difference_title(result))
    _forest(figure, result, rows, (left, top + HEAD, WIDTH - left - right))
    for number, row in enumerate(rows):
        middle = top + HEAD + FOREST_ROW_HEIGHT * (number + 0.5)
        write_text(canvas, left - 10, middle, names[row.name], ha="right")
        write_text(canvas, WIDTH - right + 8, middle, row.verdict, colour=VERDICT_COLOURS[row.verdict])


def _forest(
    figure: Figure, result: StudyResult, rows: Sequence[DifferenceRow], bounds: tuple[float, float, float]
) -> None:
    left, top, width = bounds
    axes = row_axes(figure, left, top, width, len(rows), FOREST_ROW_HEIGHT)
    delta = (result.smallest_difference or 0.0) * (100.0 if study_text.is_share(result.metric) else 1.0)
    known = [row.difference for row in rows if row.difference is not None]
    axes.set_xlim(axis_limits([*known, -delta, delta], [row.interval for row in rows if row.interval is not None]))
    axes.axvspan(-delta, delta, color=COLOURS["line"], alpha=0.6, linewidth=0, zorder=0.5)
    axes.axvline(0, color=COLOURS["muted"], linewidth=1)
    for number, row in enumerate(rows):
        if row.difference is not None:
            colour, marker = VERDICT_COLOURS[row.verdict], VERDICT_MARKERS[row.verdict]
            _bar(axes, row.difference, row.interval, number, colour, marker)
    set_ticks(axes, width, signs=True)


def _scaled(comparison: Comparison, scale: float) -> Interval | None:
    return (
        None if comparison.low is None or comparison.high is None else (scale * comparison.low, scale * comparison.high)
    )


CURVES_WIDTH, CURVES_HEIGHT = 640.0, 360.0
CURVES_LEFT, CURVES_HEAD, CURVES_FOOT = 48.0, 52.0, 46.0
# More lines than these are named only where they have a colour.
MAX_LINES_NAMED = 8


@dataclass(frozen=True)
class LearningCurveBand:
    """An arm's learning curve: at each epoch the mean, the smallest and the largest of its seeds."""

    name: str
    epochs: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    seeds: int


def learning_bands(result: StudyResult) -> tuple[LearningCurveBand, ...]:
    """The learning curve of each arm that has one, in the order of the study."""
    return tuple(band for arm in result.arms if not arm.same_as and (band := _band(arm)) is not None)


def arm_colours(result: StudyResult, bands: Sequence[LearningCurveBand]) -> dict[str, str]:
    """Which arms have a colour: the baseline, the best and the worst by mean; the others are grey.

    None is the colour of a verdict: a mean that is best is not yet better.
    """
    means = {band.name: mean for band in bands if (mean := result.arm(band.name).sample.mean) is not None}
    ranked = sorted((name for name in means if name != result.baseline), key=lambda name: means[name])
    if not result.higher_is_better:
        ranked.reverse()
    colours = {ranked[0]: "other"} if len(ranked) > 1 else {}
    if ranked:
        colours[ranked[-1]] = "train"
    if result.baseline in {band.name for band in bands}:
        colours[str(result.baseline)] = "ink"
    return colours


def learning_figure(result: StudyResult) -> Figure:
    """The arms' learning curves: the mean over seeds, with a band from the lowest seed to the highest."""
    found = learning_bands(result)
    colours = arm_colours(result, found)
    few = len(found) <= MAX_LINES_NAMED
    titled = dict(
        zip((band.name for band in found), study_text.short_names([band.name for band in found], 24), strict=True)
    )
    named = [band for band in found if few or band.name in colours]
    right = 20 + max((1.2 * text_width(titled[band.name], NORMAL) for band in named), default=0.0)
    figure = new_figure(CURVES_WIDTH, CURVES_HEIGHT)
    canvas = new_canvas(figure)
    write_text(canvas, 0, 10, f"{study_text.metric_name(result.metric)} against the epoch", size=NORMAL, bold=True)
    write_text(canvas, 0, 27, "line: mean over seeds; band: from the lowest seed to the highest", colour="muted")
    axes = minimal_axes(
        figure, CURVES_LEFT, CURVES_FOOT, CURVES_WIDTH - CURVES_LEFT - right, CURVES_HEIGHT - CURVES_HEAD - CURVES_FOOT
    )
    for band in sorted(found, key=lambda band: band.name in colours):
        _draw_band(axes, band, colours.get(band.name))
    _epoch_scale(axes, found)
    ends = [(titled[band.name], band.mean[-1], COLOURS[colours.get(band.name, "muted")]) for band in named]
    label_line_ends(axes, ends)
    axes.set_xlabel("epoch", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)
    return figure


def _band(arm: ArmRecord) -> LearningCurveBand | None:
    if arm.curve is None:
        return None
    points = [
        (epoch, finite)
        for epoch, values in zip(arm.curve.epochs, arm.curve.values, strict=True)
        if (finite := [value for value in values if isfinite(value)])
    ]
    if not points:
        return None
    return LearningCurveBand(
        name=arm.name,
        epochs=tuple(epoch for epoch, _ in points),
        mean=tuple(fmean(values) for _, values in points),
        low=tuple(min(values) for _, values in points),
        high=tuple(max(values) for _, values in points),
        seeds=max(len(values) for _, values in points),
    )


def _draw_band(axes: Axes, band: LearningCurveBand, colour: str | None) -> None:
    drawn = COLOURS[colour or "muted"]
    alone = len(band.epochs) == 1
    width, alpha = (2.2, 1.0) if colour else (1.2, 0.55)
    if colour and band.seeds > 1:
        axes.fill_between(band.epochs, band.low, band.high, color=drawn, alpha=0.16, linewidth=0)
    axes.plot(band.epochs, band.mean, color=drawn, linewidth=width, alpha=alpha, marker="D" if alone else "")


def _epoch_scale(axes: Axes, bands: Sequence[LearningCurveBand]) -> None:
    last = max((band.epochs[-1] for band in bands), default=1.0)
    first = min((band.epochs[0] for band in bands), default=0.0)
    axes.set_xlim(0 if first < 1.5 else first, last if last > first else first + 1)
    axes.set_ylim(axis_limits([value for band in bands for value in (*band.low, *band.high)], []))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=TICK_STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value)))
