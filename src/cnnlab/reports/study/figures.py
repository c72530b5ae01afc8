"""The figures of a study: its runs, the differences to the baseline, and the learning curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean, median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cnnlab.render.formatting import shorten
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
# The width of bold letters relative to others, in most fonts.
BOLD_WIDTH = 1.15
# Round steps between ticks.
TICK_STEPS = (1, 2, 2.5, 5, 10)


def swarm_levels(positions: Sequence[float], gap: float) -> list[int]:
    """Levels of dots, from 0, so that dots of one level are at least `gap` apart.

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
    """The limits of an axis that shows all points, and intervals except for the ends of unusually long ones.

    Args:
        points: those that are not finite are left out.
        least: the smallest length of the axis.
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
    """Set as many ticks as fit into the width; with `signs` their numbers have signs."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=max(2, int(width / 62)), steps=TICK_STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value, signs=signs)))


def format_tick(value: float, *, signs: bool = False) -> str:
    """A tick's number with a minus sign; with `signs` also with a plus sign."""
    text = f"{abs(value):.6g}"
    sign = "−" if value < 0 else "+" if signs and value > 0 else ""
    return text if text == "0" else sign + text


def names_width(names: Iterable[str], max_width: float) -> float:
    """The width in points of a column of names."""
    return min(max((BOLD_WIDTH * text_width(name, SMALL) for name in names), default=0.0) + 14, max_width)


WIDTH = 640.0
# The column of verdicts.
VERDICT_WIDTH = 92.0
HEAD, FOOT = 48.0, 28.0
# The heights of rows with dots above a mean, and of rows with a single mark.
SEED_ROW_HEIGHT, FOREST_ROW_HEIGHT = 34.0, 24.0
MAX_NAME_LENGTH, MAX_NAMES_WIDTH = 28, 216.0
DOT = 6.4


def missing_runs_text(sample: Sample) -> str:
    """The failed runs of a row of dots, or that there are none yet."""
    if not sample.values:
        return "no run yet"
    if not sample.n:
        return f"all {len(sample.values)} failed" if len(sample.values) > 1 else "it failed"
    return f"{sample.failures} of {len(sample.values)} failed" if sample.failures else ""


def axis_difference(comparison: Comparison, metric: str) -> tuple[float | None, Interval | None]:
    """A difference and its interval in the units of the axis: points for fractions, the loss itself for losses."""
    scale = 100.0 if study_text.is_share(metric) else 1.0
    interval = None
    if comparison.low is not None and comparison.high is not None:
        interval = (scale * comparison.low, scale * comparison.high)
    return None if comparison.difference is None else scale * comparison.difference, interval


def seed_figure(result: StudyResult, *, differences: bool = True) -> Figure:
    """Every run a dot, with mean and 95 % interval of each arm; below, with `differences`, those to the baseline."""
    arms = [arm for arm in result.arms if not arm.same_as]
    compared = comparisons(result) if differences else ()
    remarks = [missing_runs_text(arm.sample) for arm in arms]
    upper = HEAD + SEED_ROW_HEIGHT * len(arms)
    lower = 16 + HEAD + FOREST_ROW_HEIGHT * len(compared) + FOOT if compared else 0
    figure = new_figure(WIDTH, upper + FOOT + lower)
    canvas = new_canvas(figure)
    names = _short_names([arm.name for arm in arms])
    left = names_width(names.values(), MAX_NAMES_WIDTH)
    right = VERDICT_WIDTH if compared or any(remarks) else 8.0
    note = "each dot is a run; the bar is the mean with its 95 % interval"
    _head(canvas, 0, study_text.metric_name(result.metric), note)
    axes = row_axes(figure, left, HEAD, WIDTH - left - right, len(arms), SEED_ROW_HEIGHT)
    _draw_seeds(axes, arms, result.baseline)
    for number, (arm, remark) in enumerate(zip(arms, remarks, strict=True)):
        middle = HEAD + SEED_ROW_HEIGHT * (number + 0.5)
        write_text(canvas, left - 10, middle, names[arm.name], ha="right", bold=arm.name == result.baseline)
        write_text(canvas, WIDTH - right + 8, middle, remark, colour="validation")
    if compared:
        _draw_differences(figure, canvas, result, names, upper + FOOT + 16, left)
    return figure


def forest_figure(result: StudyResult) -> Figure:
    """The differences to the baseline, the best first, with simultaneous intervals, the ±δ band and verdicts."""
    compared = comparisons(result)
    figure = new_figure(WIDTH, HEAD + FOREST_ROW_HEIGHT * len(compared) + FOOT)
    names = _short_names([each.a for each in compared])
    _draw_differences(figure, new_canvas(figure), result, names, 0, names_width(names.values(), MAX_NAMES_WIDTH))
    return figure


def _short_names(names: Sequence[str]) -> dict[str, str]:
    return dict(zip(names, study_text.short_names(names, MAX_NAME_LENGTH), strict=True))


def _head(canvas: Axes, top: float, title: str, note: str) -> None:
    write_text(canvas, 0, top + 10, title, size=NORMAL, bold=True)
    write_text(canvas, 0, top + 27, note, colour="muted")


def _difference_title(result: StudyResult) -> tuple[str, str]:
    """The title and the legend of a plot of differences."""
    unit = "points" if study_text.is_share(result.metric) else "in its own units"
    base = shorten(result.baseline or "", MAX_NAME_LENGTH)
    found = result.ablation.comparisons if result.ablation else ()
    span = f"the bar is the {study_text.level_text(found[0].level)} interval" if found else ""
    if result.smallest_difference is not None:
        band = study_text.equivalence_band(result.smallest_difference, result.metric)
        span += f"; shaded: {band}, the differences too small to matter"
    return f"difference to {base} ({unit})", span


def _draw_seeds(axes: Axes, arms: Sequence[ArmRecord], baseline: str | None) -> None:
    intervals = [interval for arm in arms if (interval := arm.sample.interval()) is not None]
    low, high = axis_limits([value for arm in arms for value in arm.sample.finite], intervals)
    axes.set_xlim(low, high)
    width = axes.bbox.width
    for number, arm in enumerate(arms):
        colour, values = COLOURS["muted" if arm.name == baseline else "train"], arm.sample.finite
        levels = swarm_levels(values, DOT / width * (high - low))
        # Dots are stacked upwards from above the bar, closer where there are many, so that they stay in the row.
        step = min(DOT / SEED_ROW_HEIGHT, 0.5 / max([*levels, 1]))
        heights = [number - 0.02 - step * level for level in levels]
        axes.plot(values, heights, "o", color=colour, markersize=DOT - 1, markeredgewidth=0, alpha=0.75, clip_on=False)
        if arm.sample.mean is not None:
            _bar(axes, arm.sample.mean, arm.sample.interval(), number + 0.24, "ink", "D")
    set_ticks(axes, width)


def _bar(axes: Axes, mean: float, interval: Interval | None, height: float, colour: str, marker: str) -> None:
    """Draw a mean and its interval; an end beyond the axis becomes an arrow."""
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
    figure: Figure, canvas: Axes, result: StudyResult, names: dict[str, str], top: float, left: float
) -> None:
    """Draw a row for each comparison, with the arm's name to the left and the verdict to the right."""
    compared, width = comparisons(result), WIDTH - left - VERDICT_WIDTH
    marks = [axis_difference(each, result.metric) for each in compared]
    _head(canvas, top, *_difference_title(result))
    axes = row_axes(figure, left, top + HEAD, width, len(compared), FOREST_ROW_HEIGHT)
    delta = (result.smallest_difference or 0.0) * (100.0 if study_text.is_share(result.metric) else 1.0)
    known = [difference for difference, _ in marks if difference is not None]
    axes.set_xlim(axis_limits([*known, -delta, delta], [interval for _, interval in marks if interval is not None]))
    axes.axvspan(-delta, delta, color=COLOURS["line"], alpha=0.6, linewidth=0, zorder=0.5)
    axes.axvline(0, color=COLOURS["muted"], linewidth=1)
    for number, (each, (difference, interval)) in enumerate(zip(compared, marks, strict=True)):
        colour, middle = VERDICT_COLOURS[each.verdict], top + HEAD + FOREST_ROW_HEIGHT * (number + 0.5)
        if difference is not None:
            _bar(axes, difference, interval, number, colour, VERDICT_MARKERS[each.verdict])
        write_text(canvas, left - 10, middle, names[each.a], ha="right")
        write_text(canvas, WIDTH - VERDICT_WIDTH + 8, middle, each.verdict, colour=colour)
    set_ticks(axes, width, signs=True)


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
    """The colours of the baseline, and of the arms with the best and the worst mean; others are grey.

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
