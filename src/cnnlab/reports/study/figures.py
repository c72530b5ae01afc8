"""The figures of a study: its runs with the differences to the baseline, and the learning curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from statistics import median
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cnnlab.config.stopping import is_fraction
from cnnlab.render.formatting import shorten
from cnnlab.render.plots import COLOURS, NORMAL, POINTS_PER_INCH, SMALL, minimal_axes, new_figure
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
# The width of bold letters relative to others, in most fonts.
BOLD_WIDTH = 1.15
# Round steps between ticks.
TICK_STEPS = (1, 2, 2.5, 5, 10)
WIDTH = 640.0
# The column of verdicts.
VERDICT_WIDTH = 106.0
HEAD, FOOT, GAP = 48.0, 28.0, 16.0
# The heights of rows with dots above a mean, and of rows with a single mark.
SEED_ROW_HEIGHT, FOREST_ROW_HEIGHT = 34.0, 24.0
# The diameter of a run's dot in points, and where in its row dots are spread, as shares of the row's height.
DOT_SIZE, DOT_SPREAD = 5.4, (-0.22, 0.05)
MAX_NAME_LENGTH, MAX_NAMES_WIDTH = 28, 216.0
CURVES_HEIGHT, CURVES_LEFT, CURVES_HEAD, CURVES_FOOT = 360.0, 48.0, 62.0, 46.0


def axis_limits(points: Iterable[float], bounds: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The limits of an axis that shows all points, and intervals except for the ends of unusually long ones.

    Args:
        points: those that are not finite are left out.
    """
    shown = [point for point in points if isfinite(point)]
    spans = [bound for bound in bounds if all(map(isfinite, bound))]
    if not shown:
        return (0.0, 1.0)
    low, high = min(shown), max(shown)
    room = max(high - low, 3 * median((end - start) / 2 for start, end in spans) if spans else 0.0)
    low = min(low, max(min((start for start, _ in spans), default=low), low - room))
    high = max(high, min(max((end for _, end in spans), default=high), high + room))
    pad = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
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


def set_value_ticks(axes: Axes, nbins: int = 6) -> None:
    """Set round ticks for the values of a vertical axis."""
    axes.yaxis.set_major_locator(MaxNLocator(nbins=nbins, steps=TICK_STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value)))


def format_tick(value: float, *, signs: bool = False) -> str:
    """A tick's number with a minus sign; with `signs` also with a plus sign."""
    text = f"{abs(value):.6g}"
    sign = "−" if value < 0 else "+" if signs and value > 0 else ""
    return text if text == "0" else sign + text


def names_width(names: Iterable[str], max_width: float) -> float:
    """The width in points of a column of names."""
    return min(max((BOLD_WIDTH * text_width(name, SMALL) for name in names), default=0.0) + 14, max_width)


def write_title(axes: Axes, title: str, note: str, *, left: float = 0.0) -> None:
    """Write a title above axes, and below it a note, both `left` points to the left of the axes' edge."""
    for line, height, style in ((title, 34, {"weight": "bold"}), (note, 17, {"color": COLOURS["muted"]})):
        axes.annotate(
            line,
            (0, 1),
            xycoords="axes fraction",
            xytext=(-left, height),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
            parse_math=False,
            **{"color": COLOURS["ink"], "fontsize": NORMAL if "weight" in style else SMALL, **style},  # type: ignore[arg-type]
        )


def missing_runs_text(sample: Sample) -> str:
    """The failed runs of a row of dots, or that there are none yet."""
    if not sample.values:
        return "no run yet"
    return f"{sample.failures} of {len(sample.values)} failed" if sample.failures else ""


def axis_difference(comparison: Comparison, metric: str) -> tuple[float | None, Interval | None]:
    """A difference and its interval in the units of the axis: points for fractions, the loss itself for losses."""
    scale = 100.0 if is_fraction(metric) else 1.0
    interval = None
    if comparison.low is not None and comparison.high is not None:
        interval = (scale * comparison.low, scale * comparison.high)
    return None if comparison.difference is None else scale * comparison.difference, interval


def seed_figure(result: StudyResult) -> Figure:
    """Every run a dot, with mean and 95 % interval of each arm; below, the differences to the baseline, best first."""
    arms, compared = [arm for arm in result.arms if not arm.same_as], comparisons(result)
    upper = HEAD + SEED_ROW_HEIGHT * len(arms) + FOOT
    figure = new_figure(WIDTH, upper + (GAP + HEAD + FOREST_ROW_HEIGHT * len(compared) + FOOT if compared else 0))
    names = [arm.name for arm in arms]
    short = dict(zip(names, study_text.short_names(names, MAX_NAME_LENGTH), strict=True))
    left = names_width(short.values(), MAX_NAMES_WIDTH)
    width = WIDTH - left - VERDICT_WIDTH
    axes = row_axes(figure, left, HEAD, width, len(arms), SEED_ROW_HEIGHT)
    note = "each dot is a run; the bar is the mean with its 95 % interval"
    write_title(axes, study_text.metric_name(result.metric), note, left=left)
    _draw_seeds(axes, arms, result.baseline)
    _name_rows(axes, [short[arm.name] for arm in arms], [missing_runs_text(arm.sample) for arm in arms])
    if compared:
        axes = row_axes(figure, left, upper + GAP + HEAD, width, len(compared), FOREST_ROW_HEIGHT)
        write_title(axes, *_difference_title(result), left=left)
        _draw_differences(axes, result, compared)
        _name_rows(axes, [short[each.a] for each in compared], [each.verdict for each in compared])
    return figure


def _name_rows(axes: Axes, names: Sequence[str], remarks: Sequence[str]) -> None:
    """Write the name of each row to its left, and a remark to its right."""
    axes.set_yticks(range(len(names)), names, color=COLOURS["ink"], parse_math=False)
    for row, remark in enumerate(remarks):
        colour = COLOURS[VERDICT_COLOURS.get(remark, "validation")]  # type: ignore[call-overload]
        axes.annotate(
            remark,
            (1, row),
            xycoords=axes.get_yaxis_transform(),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=colour,
            annotation_clip=False,
        )


def _difference_title(result: StudyResult) -> tuple[str, str]:
    """The title and the legend of a plot of differences."""
    unit = "points" if is_fraction(result.metric) else "in its own units"
    found = result.ablation.comparisons if result.ablation else ()
    note = f"the bar is the {study_text.level_text(found[0].level)} interval" if found else ""
    if result.smallest_difference is not None:
        band = study_text.equivalence_band(result.smallest_difference, result.metric)
        note += f"; shaded: {band}, the differences too small to matter"
    return f"difference to {shorten(result.baseline or '', MAX_NAME_LENGTH)} ({unit})", note


def _draw_seeds(axes: Axes, arms: Sequence[ArmRecord], baseline: str | None) -> None:
    intervals = [interval for arm in arms if (interval := arm.sample.interval()) is not None]
    axes.set_xlim(axis_limits([value for arm in arms for value in arm.sample.finite], intervals))
    for row, arm in enumerate(arms):
        colour, values = COLOURS["muted" if arm.name == baseline else "train"], arm.sample.finite
        # Dots that would overlap are spread in the order of the seeds, the first at the top.
        heights = row + np.linspace(*DOT_SPREAD, len(values))
        if not _do_dots_overlap(axes, values):
            heights[:] = row + sum(DOT_SPREAD) / 2
        axes.plot(values, heights, "o", color=colour, markersize=DOT_SIZE, markeredgewidth=0, alpha=0.75)
        _draw_bar(axes, arm.sample.mean, arm.sample.interval(), row + 0.2, "ink", "D")
    set_ticks(axes, axes.bbox.width)


def _do_dots_overlap(axes: Axes, values: Sequence[float]) -> bool:
    """Whether dots at these values would overlap on a single line."""
    low, high = axes.get_xlim()
    return bool((np.diff(np.sort(values)) * axes.bbox.width < DOT_SIZE * (high - low)).any())


def _draw_bar(
    axes: Axes, mean: float | None, interval: Interval | None, height: float, colour: str, marker: str
) -> None:
    """Draw a mean and its interval, up to the ends of the axis."""
    if interval is not None:
        axes.hlines(height, *np.clip(interval, *axes.get_xlim()), color=COLOURS[colour], linewidth=2)
    if mean is not None:
        axes.plot([mean], [height], marker, color=COLOURS[colour], markersize=7, markeredgewidth=0)


def _draw_differences(axes: Axes, result: StudyResult, compared: Sequence[Comparison]) -> None:
    marks = [axis_difference(each, result.metric) for each in compared]
    delta = (result.smallest_difference or 0.0) * (100.0 if is_fraction(result.metric) else 1.0)
    known = [difference for difference, _ in marks if difference is not None]
    axes.set_xlim(axis_limits([*known, -delta, delta], [interval for _, interval in marks if interval is not None]))
    axes.axvspan(-delta, delta, color=COLOURS["line"], alpha=0.6, linewidth=0, zorder=0.5)
    axes.axvline(0, color=COLOURS["muted"], linewidth=1)
    for row, (each, (difference, interval)) in enumerate(zip(compared, marks, strict=True)):
        marker = "s" if each.verdict == "practically equal" else "o"
        _draw_bar(axes, difference, interval, row, VERDICT_COLOURS[each.verdict], marker)
    set_ticks(axes, axes.bbox.width, signs=True)


def arm_colours(result: StudyResult) -> dict[str, str]:
    """The colours of the baseline, and of the arms with the best and the worst mean; others are grey.

    None is the colour of a verdict: a mean that is best is not yet better.
    """
    sign = 1 if result.higher_is_better else -1
    means = {arm.name: sign * mean for arm in result.arms if not arm.same_as and (mean := arm.sample.mean) is not None}
    ranked = sorted((name for name in means if name != result.baseline), key=lambda name: means[name])
    colours = {ranked[0]: "other"} if len(ranked) > 1 else {}
    if ranked:
        colours[ranked[-1]] = "train"
    if result.baseline is not None:
        colours[result.baseline] = "ink"
    return colours


def learning_figure(result: StudyResult) -> Figure:
    """The arms' learning curves: the mean over seeds, with a band from the lowest seed to the highest."""
    figure = new_figure(WIDTH, CURVES_HEIGHT)
    height = CURVES_HEIGHT - CURVES_HEAD - CURVES_FOOT
    axes = minimal_axes(figure, CURVES_LEFT, CURVES_FOOT, WIDTH - CURVES_LEFT - 8, height)
    colours, handles, limits = arm_colours(result), dict[str, Artist](), list[float]()
    for arm in sorted(result.arms, key=lambda arm: arm.name in colours):  # coloured ones above grey ones
        points = [
            (epoch, finite)
            for epoch, values in (zip(arm.curve.epochs, arm.curve.values, strict=True) if arm.curve else ())
            if (finite := [value for value in values if isfinite(value)])
        ]
        if arm.same_as or not points:
            continue
        epochs, values = zip(*points, strict=True)
        is_named, colour = arm.name in colours, COLOURS[colours.get(arm.name, "muted")]
        lows, means, highs = ([float(f(each)) for each in values] for f in (min, np.mean, max))
        limits += [*lows, *highs]
        style: dict[str, Any] = {"linewidth": 2.2 if is_named else 1.2, "alpha": 1.0 if is_named else 0.55}
        (line,) = axes.plot(epochs, means, color=colour, marker="D" if len(epochs) == 1 else "", **style)
        if is_named:
            axes.fill_between(epochs, lows, highs, color=colour, alpha=0.16, linewidth=0)
        handles[shorten(arm.name, MAX_NAME_LENGTH) if is_named else "other arms"] = line
    axes.set_ylim(axis_limits(limits, []))
    axes.set_xlim(0, 1.02 * max(1.0, axes.dataLim.x1))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    set_value_ticks(axes)
    axes.set_xlabel("epoch", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)
    title = f"{study_text.metric_name(result.metric)} against the epoch"
    write_title(axes, title, "", left=CURVES_LEFT)
    add_legend(axes, list(handles.values())[::-1], list(handles)[::-1])
    return figure


def add_legend(axes: Axes, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Add a legend in one row above the axes."""
    legend = axes.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(labels) or 1,
        frameon=False,
        fontsize=SMALL,
        labelcolor=COLOURS["muted"],
        borderaxespad=0,
        handlelength=1.4,
    )
    for label in legend.get_texts():
        label.set_parse_math(False)
