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
from cnnlab.render.plots import COLOURS, NORMAL, POINTS_PER_INCH, SMALL, minimal_axes, new_figure, style_axes
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
# Round steps between ticks.
TICK_STEPS = (1, 2, 2.5, 5, 10)
WIDTH = 640.0
# The heights of rows with dots above a mean, and of rows with a single mark; and of a panel's titles and ticks.
SEED_ROW_HEIGHT, FOREST_ROW_HEIGHT, PANEL_HEIGHT = 34.0, 24.0, 98.0
MARGIN = 8.0
# The dots of a row are spread over this share of its height, around a point above its middle.
DOTS_ABOVE, DOT_SPREAD = 0.09, 0.13
MAX_NAME_LENGTH = 28
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


def row_panels(panels: Sequence[tuple[int, float]], below: float = 0.0) -> tuple[Figure, list[Axes]]:
    """A figure with panels of rows below each other; row number i has its middle at y = i, the first at the top.

    Args:
        panels: for each the number of its rows, and their height in points.
        below: room below them, in points.
    """
    heights = [rows * height for rows, height in panels]
    total = sum(heights) + PANEL_HEIGHT * len(heights) + below
    figure = new_figure(WIDTH, total)
    above = (0, below / total, 1, 1 - below / total)
    figure.set_layout_engine("constrained", rect=above, h_pad=MARGIN / POINTS_PER_INCH)
    columns = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, (rows, _) in zip(columns, panels, strict=True):
        style_axes(axes, grid="x")
        axes.set_ylim(rows - 0.5, -0.5)
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=TICK_STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: study_text.format_value(value)))
    return figure, list(columns)


def set_value_ticks(axes: Axes, nbins: int = 6) -> None:
    """Set round ticks for the values of a vertical axis."""
    axes.yaxis.set_major_locator(MaxNLocator(nbins=nbins, steps=TICK_STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: study_text.format_value(value)))


def write_title(axes: Axes, title: str, note: str = "") -> None:
    """Write a title above axes, and below it a note, both at the figure's left edge."""
    axes.set_title(" ", pad=30)  # room for both
    for line, height, style in ((title, 34, {"weight": "bold"}), (note, 17, {"color": COLOURS["muted"]})):
        written = axes.annotate(
            line,
            (3, 1),
            xycoords=("figure points", "axes fraction"),
            xytext=(0, height),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
            parse_math=False,
            **{"color": COLOURS["ink"], "fontsize": NORMAL if "weight" in style else SMALL, **style},  # type: ignore[arg-type]
        )
        written.set_in_layout(False)


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


def seed_figure(result: StudyResult, below: float = 0.0) -> Figure:
    """Every run a dot, with mean and 95 % interval of each arm; below, the differences to the baseline, best first.

    Args:
        below: room below the figure, in points.
    """
    arms, compared = [arm for arm in result.arms if not arm.same_as], comparisons(result)
    panels = [(len(arms), SEED_ROW_HEIGHT), *([(len(compared), FOREST_ROW_HEIGHT)] if compared else [])]
    figure, (upper, *lower) = row_panels(panels, below)
    names = [arm.name for arm in arms]
    short = dict(zip(names, study_text.short_names(names, MAX_NAME_LENGTH), strict=True))
    note = "each dot is a run; the bar is the mean with its 95 % interval"
    write_title(upper, study_text.metric_name(result.metric), note)
    _draw_seeds(upper, arms, result.baseline)
    _name_rows(upper, [short[arm.name] for arm in arms], [missing_runs_text(arm.sample) for arm in arms])
    for axes in lower:
        write_title(axes, *_difference_title(result))
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
        # Spread in the order of the seeds, the first at the top, so that equal values are seen.
        heights = row - DOTS_ABOVE + DOT_SPREAD * np.linspace(-1, 1, len(values))
        axes.plot(values, heights, "o", color=colour, markersize=5.4, markeredgewidth=0, alpha=0.75)
        _draw_bar(axes, arm.sample.mean, arm.sample.interval(), row + 0.2, "ink", "D")


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
    signed = FuncFormatter(lambda value, _: ("+" if value > 0 else "") + study_text.format_value(value))
    axes.xaxis.set_major_formatter(signed)


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
    write_title(axes, title)
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
