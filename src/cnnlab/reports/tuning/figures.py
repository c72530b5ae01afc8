"""The figures of a search: its trials in order, the values of each parameter, and the importances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from cnnlab.render.formatting import format_percent
from cnnlab.render.plots import COLOURS, NORMAL, SMALL, minimal_axes, new_canvas, new_figure, write_text
from cnnlab.reports.study import text
from cnnlab.reports.study.figures import (
    TICK_STEPS,
    axis_limits,
    format_tick,
    names_width,
    row_axes,
)
from cnnlab.reports.study.text import short_names
from cnnlab.reports.tuning.text import format_parameter
from cnnlab.reports.tuning.text import short_names as parameter_names
from cnnlab.tuning.result import ParameterRecord, TrialRecord, TuningResult

WIDTH, HEIGHT = 640.0, 340.0
LEFT, RIGHT, HEAD, FOOT = 52.0, 16.0, 66.0, 46.0
PANEL = 300.0
ROW = 28.0
DOT = 26.0
# By status: the marker, its colour, and its text in the legend.
STATUS_MARKERS = {
    "finished": ("o", "train", "finished"),
    "pruned": ("x", "muted", "pruned, at its last figure"),
    "diverged": ("v", "validation", "diverged, without a figure"),
    "failed": ("v", "validation", "failed, without a figure"),
}


@dataclass(frozen=True)
class TrialPoint:
    """A trial as a point; without a metric it is drawn at the lower edge."""

    number: int
    value: float | None
    status: str
    best: bool


def trial_points(result: TuningResult) -> tuple[TrialPoint, ...]:
    """The trials that have ended, by number; a pruned one has its last value."""
    best = result.best.number if result.best is not None else None
    return tuple(
        TrialPoint(trial.number, _figure(trial), trial.status, trial.number == best)
        for trial in result.trials
        if trial.status != "running"
    )


def best_so_far(result: TuningResult) -> tuple[tuple[int, float], ...]:
    """The best value so far as the corners of a line: (trial, value), the last one at the last trial."""
    found = list(result.best_so_far())
    corners: list[tuple[int, float]] = []
    for number, value in found:
        corners += [(number, corners[-1][1])] if corners else []
        corners.append((number, value))
    if corners:
        corners.append((result.trials[-1].number, corners[-1][1]))
    return tuple(corners)


def history_figure(result: TuningResult) -> Figure:
    """The value of each trial by its number, and the best so far as a line."""
    figure = new_figure(WIDTH, HEIGHT)
    canvas = new_canvas(figure)
    found = trial_points(result)
    write_text(canvas, 0, 10, f"{text.metric_name(result.metric)} of each trial", size=NORMAL, bold=True)
    _legend(canvas, found, 30)
    right = 96.0 if result.baseline.value is not None else RIGHT
    axes = minimal_axes(figure, LEFT, FOOT, WIDTH - LEFT - right, HEIGHT - HEAD - FOOT)
    _value_scale(axes, result, found)
    corners = best_so_far(result)
    axes.plot(*zip(*corners, strict=True), color=COLOURS["test"], linewidth=1.8) if corners else None
    for point in found:
        _dot(axes, float(point.number), point)
    _baseline(axes, result)
    last = max((point.number for point in found), default=1)
    axes.set_xlim(-0.5, max(last, 1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    axes.set_xlabel("trial", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)
    return figure


def slice_figure(result: TuningResult) -> Figure:
    """The metric against each parameter: two panels in a row, each with all trials that have the parameter."""
    panels, names = result.parameters, parameter_names(result)
    rows = ceil(len(panels) / 2)
    row = 236.0
    figure = new_figure(WIDTH, HEAD - 8 + row * rows)
    canvas = new_canvas(figure)
    write_text(canvas, 0, 10, f"{text.metric_name(result.metric)} against each parameter", size=NORMAL, bold=True)
    _legend(canvas, trial_points(result), 30)
    for number, parameter in enumerate(panels):
        left = LEFT + (number % 2) * (WIDTH / 2 + 6)
        top = HEAD - 8 + row * (number // 2)
        wide = WIDTH / 2 - LEFT - 10
        height = figure.get_size_inches()[1] * 72
        axes = minimal_axes(figure, left, height - top - row + 48, wide, row - 62)
        _slice(axes, result, parameter, wide)
        axes.set_xlabel(
            names[parameter.name] + (" (log scale)" if parameter.log else ""),
            color=COLOURS["ink"],
            fontsize=SMALL,
            labelpad=6,
            parse_math=False,
        )
    return figure


def importance_figure(result: TuningResult) -> Figure:
    """The importance of each parameter, the highest first."""
    shares = sorted(result.importance, key=lambda one: -one.share)
    names = parameter_names(result)
    labels = short_names([names[one.name] for one in shares], 28)
    left = names_width(labels, 216.0)
    figure = new_figure(WIDTH, 52 + ROW * len(shares) + 42)
    canvas = new_canvas(figure)
    write_text(canvas, 0, 10, "importance of the parameters", size=NORMAL, bold=True)
    write_text(canvas, 0, 27, "share of all importances for the best trials (PED-ANOVA)", colour="muted")
    axes = row_axes(figure, left, 46, WIDTH - left - 56, len(shares), ROW)
    for row, one in enumerate(shares):
        axes.plot([0, one.share], [row, row], color=COLOURS["train"], linewidth=1.6)
        axes.plot([one.share], [row], "o", color=COLOURS["train"], markersize=7, markeredgewidth=0, clip_on=False)
        write_text(canvas, left - 10, 46 + ROW * (row + 0.5), labels[row], ha="right")
        write_text(canvas, WIDTH - 46, 46 + ROW * (row + 0.5), format_percent(one.share))
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    return figure


def _figure(trial: TrialRecord) -> float | None:
    return trial.value if trial.value is not None else trial.last if trial.status == "pruned" else None


def _legend(canvas: Axes, points: Sequence[TrialPoint], height: float) -> None:
    """Draw the legend of the marks that occur."""
    x = 4.0
    for status, (marker, colour, meaning) in STATUS_MARKERS.items():
        if any(point.status == status for point in points):
            canvas.scatter([x], [height], s=DOT, marker=marker, color=COLOURS[colour], linewidths=1.4)
            write_text(canvas, x + 9, height, meaning, colour="muted")
            x += 9 + 5.9 * len(meaning) + 14
    _ring(canvas, x, height, 2.2 * DOT)
    write_text(canvas, x + 10, height, "the best", colour="muted")


def _dot(axes: Axes, x: float, point: TrialPoint) -> None:
    marker, colour, _ = STATUS_MARKERS[point.status]
    low = axes.get_ylim()[0]
    y = point.value if point.value is not None else low
    axes.scatter([x], [y], s=DOT, marker=marker, color=COLOURS[colour], linewidths=1.4, clip_on=False, zorder=3)
    if point.best:
        _ring(axes, x, y, 3.4 * DOT)


def _ring(axes: Axes, x: float, y: float, size: float) -> None:
    """Draw the ring around the best trial."""
    green = COLOURS["test"]
    axes.scatter([x], [y], s=size, facecolors="none", edgecolors=green, linewidths=1.6, clip_on=False, zorder=4)


def _value_scale(axes: Axes, result: TuningResult, points: Sequence[TrialPoint]) -> None:
    """Set the axis of values; a loss that is far above the others is left out."""
    values = [point.value for point in points if point.value is not None]
    if result.baseline.value is not None:
        values.append(result.baseline.value)
    if values and not result.higher_is_better:
        usual = sorted(values)[len(values) // 2]
        values = [value for value in values if value <= 4 * usual] or values
    axes.set_ylim(axis_limits(values, []))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=TICK_STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value)))


def _baseline(axes: Axes, result: TuningResult) -> None:
    value = result.baseline.value
    if value is None:
        return
    axes.axhline(value, color=COLOURS["ink"], linewidth=1.2, linestyle=(0, (4, 2.5)), zorder=1)
    axes.annotate(
        "baseline",
        (1, value),
        xycoords=("axes fraction", "data"),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL,
        color=COLOURS["ink"],
        annotation_clip=False,
    )


def _slice(axes: Axes, result: TuningResult, parameter: ParameterRecord, wide: float) -> None:
    found = trial_points(result)
    _value_scale(axes, result, found)
    params = {trial.number: trial.params for trial in result.trials}
    if parameter.options:
        axes.set_xlim(-0.5, len(parameter.options) - 0.5)
        longest = max(4, int(wide / len(parameter.options) / 6.4))
        axes.set_xticks(range(len(parameter.options)), short_names(parameter.options, longest))
    elif parameter.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_parameter(float(value))))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=TICK_STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value)))
    for point in found:
        value = params[point.number].get(parameter.name)
        if value is not None:
            x = parameter.options.index(str(value)) if parameter.options else float(value)
            _dot(axes, float(x), point)
    if result.baseline.value is not None:
        axes.axhline(result.baseline.value, color=COLOURS["ink"], linewidth=1.2, linestyle=(0, (4, 2.5)), zorder=1)
