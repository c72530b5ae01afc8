"""The figures of a search: its trials in order, and the metric against each parameter."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator

from cnnlab.render.formatting import format_percent
from cnnlab.render.plots import COLOURS, POINTS_PER_INCH, SMALL, minimal_axes, new_figure
from cnnlab.reports.study import text
from cnnlab.reports.study.figures import TICK_STEPS, add_legend, axis_limits, set_value_ticks, write_title
from cnnlab.reports.tuning.text import format_parameter
from cnnlab.reports.tuning.text import short_names as parameter_names
from cnnlab.tuning.result import ParameterRecord, TrialRecord, TuningResult

WIDTH, HEIGHT = 640.0, 340.0
LEFT, RIGHT, HEAD, FOOT = 52.0, 16.0, 66.0, 46.0
# The height of a row of two panels.
ROW = 236.0
# By status: the marker, its colour, and its text in the legend.
STATUS_MARKERS = {
    "finished": ("o", "train", "finished"),
    "pruned": ("x", "muted", "pruned, last value"),
    "diverged": ("v", "validation", "diverged"),
    "failed": ("v", "validation", "failed"),
}


def history_figure(result: TuningResult) -> Figure:
    """The value of each trial by its number, and the best so far as a line."""
    figure = new_figure(WIDTH, HEIGHT)
    axes = minimal_axes(figure, LEFT, FOOT, WIDTH - LEFT - RIGHT, HEIGHT - HEAD - FOOT)
    corners = list(result.best_so_far())
    if corners:
        numbers, values = zip(*corners, (result.trials[-1].number, corners[-1][1]), strict=True)
        axes.plot(numbers, values, color=COLOURS["test"], linewidth=1.8, drawstyle="steps-post")
    _draw_trials(axes, result, [(trial.number, trial) for trial in result.trials])
    last = max((trial.number for trial in result.trials), default=1)
    axes.set_xlim(-0.5, max(last, 1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    axes.set_xlabel("trial", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)
    write_title(axes, f"{text.metric_name(result.metric)} of each trial")
    add_legend(axes, *axes.get_legend_handles_labels())
    return figure


def slice_figure(result: TuningResult) -> Figure:
    """The metric against each parameter: two panels in a row, each with all trials that have the parameter."""
    names, shares = parameter_names(result), {one.name: one.share for one in result.importance}
    figure = new_figure(WIDTH, HEAD + ROW * ceil(len(result.parameters) / 2))
    height = figure.get_size_inches()[1] * POINTS_PER_INCH
    for number, parameter in enumerate(result.parameters):
        left, top = LEFT + number % 2 * (WIDTH / 2 + 6), HEAD + ROW * (number // 2)
        axes = minimal_axes(figure, left, height - top - ROW + FOOT, WIDTH / 2 - LEFT - 10, ROW - FOOT - 16)
        _draw_slice(axes, result, parameter)
        label = names[parameter.name] + (" (log scale)" if parameter.log else "")
        label += f", importance {format_percent(shares[parameter.name])}" if parameter.name in shares else ""
        axes.set_xlabel(label, color=COLOURS["ink"], fontsize=SMALL, labelpad=6, parse_math=False)
        if not number:
            write_title(axes, f"{text.metric_name(result.metric)} against each parameter")
            add_legend(axes, *axes.get_legend_handles_labels())
    return figure


def _draw_trials(axes: Axes, result: TuningResult, trials: Sequence[tuple[float, TrialRecord]]) -> None:
    """Draw trials at their positions; one without a value is at the lower edge, a pruned one at its last value."""
    values = [value for _, trial in trials if (value := _value(trial)) is not None]
    baseline = result.baseline.value
    # Losses that are far above the others are left out.
    usual = sorted(values)[len(values) // 2] if values else 0.0
    shown = values if result.higher_is_better else [value for value in values if value <= 4 * usual]
    axes.set_ylim(axis_limits([*shown, *([] if baseline is None else [baseline])], []))
    set_value_ticks(axes)
    low = axes.get_ylim()[0]
    for status, (marker, colour, label) in STATUS_MARKERS.items():
        points = [(x, low if (y := _value(trial)) is None else y) for x, trial in trials if trial.status == status]
        if points:
            style = {"s": 26, "marker": marker, "color": COLOURS[colour], "linewidths": 1.4, "clip_on": False}
            axes.scatter(*zip(*points, strict=True), label=label, zorder=3, **style)  # type: ignore[arg-type]
    best = [(x, trial.value) for x, trial in trials if result.best is not None and trial.number == result.best.number]
    style = {"s": 88, "facecolors": "none", "edgecolors": COLOURS["test"], "linewidths": 1.6, "clip_on": False}
    if best:
        axes.scatter(*zip(*best, strict=True), label="best", zorder=4, **style)  # type: ignore[arg-type]
    if baseline is not None:
        axes.axhline(baseline, color=COLOURS["ink"], linewidth=1.2, linestyle=(0, (4, 2.5)), zorder=1, label="baseline")


def _value(trial: TrialRecord) -> float | None:
    return trial.last if trial.status == "pruned" else trial.value


def _draw_slice(axes: Axes, result: TuningResult, parameter: ParameterRecord) -> None:
    found = [(value, trial) for trial in result.trials if (value := trial.params.get(parameter.name)) is not None]
    if parameter.options:
        axes.set_xlim(-0.5, len(parameter.options) - 0.5)
        longest = max(4, int(40 / len(parameter.options)))
        labels = text.short_names(parameter.options, longest)
        axes.set_xticks(range(len(labels)), labels, parse_math=False)
        _draw_trials(axes, result, [(parameter.options.index(str(value)), trial) for value, trial in found])
        return
    if parameter.log:
        axes.set_xscale("log")
    _draw_trials(axes, result, [(float(value), trial) for value, trial in found])
    axes.xaxis.set_major_locator(
        _log_locator(*axes.get_xlim()) if parameter.log else MaxNLocator(nbins=5, steps=TICK_STEPS)
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_parameter(float(value))))


def _log_locator(low: float, high: float) -> Locator:
    """Powers of ten from two decades on; below that also twice and five times them, or round steps where few fit."""
    if high >= 100 * low:
        return LogLocator(numticks=6)
    exponents = range(floor(log10(low)), ceil(log10(high)))
    ticks = [digit * 10.0**exponent for exponent in exponents for digit in (1, 2, 5, 10)]
    inside = sorted({tick for tick in ticks if low <= tick <= high})
    return FixedLocator(inside) if len(inside) > 1 else MaxNLocator(nbins=4, steps=TICK_STEPS)
