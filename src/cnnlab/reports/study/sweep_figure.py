"""The figure of a sweep: its numbers are computed first, then drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import offset_copy

from cnnlab.render.plots import (
    COLOURS,
    NORMAL,
    SMALL,
    label_line_ends,
    minimal_axes,
    new_canvas,
    new_figure,
    write_text,
)
from cnnlab.render.svg import text_width
from cnnlab.reports.study import text as study_text
from cnnlab.reports.study.figures import TICK_STEPS, axis_limits, format_tick, swarm_levels
from cnnlab.stats.sample import Interval, Sample
from cnnlab.stats.sweep import SweepCurve
from cnnlab.studies.result import ArmRecord, StudyResult

WIDTH, HEIGHT = 640.0, 360.0
LEFT, HEAD, FOOT = 48.0, 52.0, 46.0
# Values over more than this factor are drawn on a log scale.
LOG_SCALE_RATIO = 30.0
# A second curve that would make the axis longer than so many times its own length gets axes of its own.
MAX_STRETCH = 2.0
TRAIN_HEIGHT = 110.0
DOT = 6.0


@dataclass(frozen=True)
class SweepPoint:
    """The runs at one value; `x` is the value."""

    x: float
    values: tuple[float, ...]
    mean: float | None
    interval: Interval | None
    train: float | None
    failures: int
    runs: int


@dataclass(frozen=True)
class SweepPlot:
    """The content of the figure.

    Attributes:
        points: by rising value.
        fitted_curve: the fitted quadratic, (value, figure), between the outermost values that have figures.
        plateau: the ranges of values to shade, each a little wider than its outermost values.
        logarithmic: values are positive and span a large factor.
        separate_train_axes: the train figures lie so far from the others that they get axes of their own.
    """

    points: tuple[SweepPoint, ...]
    fitted_curve: tuple[tuple[float, float], ...]
    plateau: tuple[Interval, ...]
    logarithmic: bool
    separate_train_axes: bool


def sweep_plot(result: StudyResult, curve: SweepCurve) -> SweepPlot:
    """The content of the figure of a sweep."""
    order = sorted(range(len(curve.sweep_values)), key=lambda index: curve.sweep_values[index])
    points = tuple(_point(curve, index, study_text.arm_of_sweep_value(result, curve, index)) for index in order)
    doses = [point.x for point in points]
    logarithmic = is_logarithmic(doses)
    ranges = study_text.adjacent_groups(curve.sweep_values, curve.plateau)
    plateau = [
        _widened_range(doses, curve.sweep_values[run[0]], curve.sweep_values[run[-1]], logarithmic) for run in ranges
    ]
    return SweepPlot(
        points, _fitted_curve(curve, logarithmic), tuple(plateau), logarithmic, _needs_separate_axes(points)
    )


def sweep_figure(result: StudyResult, curve: SweepCurve) -> Figure:
    """All runs, means with 95 % intervals, the fitted quadratic, the plateau, and the metric on the training split."""
    picture = sweep_plot(result, curve)
    doses = [point.x for point in picture.points]
    height = HEIGHT + (TRAIN_HEIGHT + 26 if picture.separate_train_axes else 0)
    figure, right = new_figure(WIDTH, height), 64.0
    canvas = new_canvas(figure)
    write_text(
        canvas,
        0,
        10,
        f"{study_text.metric_name(result.metric)} against {study_text.sweep_key(result)}",
        size=NORMAL,
        bold=True,
    )
    write_text(canvas, 0, 27, _sweep_note(picture), colour="muted")
    bottom = height - HEIGHT + FOOT
    axes = minimal_axes(figure, LEFT, bottom, WIDTH - LEFT - right, HEIGHT - HEAD - FOOT)
    set_sweep_axis(axes, doses)
    _value_scale(axes, picture, with_train=not picture.separate_train_axes)
    for low, high in picture.plateau:
        axes.axvspan(low, high, color=COLOURS["test"], alpha=0.14, linewidth=0)
    if picture.fitted_curve:
        axes.plot(
            *zip(*picture.fitted_curve, strict=True), color=COLOURS["muted"], linewidth=1.4, linestyle=(0, (5, 3))
        )
    _draw_runs(axes, picture)
    below = (
        minimal_axes(figure, LEFT, FOOT, WIDTH - LEFT - right, TRAIN_HEIGHT - 20)
        if picture.separate_train_axes
        else axes
    )
    if picture.separate_train_axes:
        set_sweep_axis(below, doses)
        _train_scale(below, picture)
        axes.tick_params(labelbottom=False)
    label_line_ends(below, _draw_train(below, picture))
    below.set_xlabel(study_text.sweep_key(result), color=COLOURS["muted"], fontsize=SMALL, labelpad=6, parse_math=False)
    return figure


def is_logarithmic(values: Sequence[float]) -> bool:
    """Whether rising values are drawn on a log scale."""
    return values[0] > 0 and values[-1] / values[0] > LOG_SCALE_RATIO


def set_sweep_axis(axes: Axes, values: Sequence[float]) -> None:
    """Set the axis of rising values, with ticks at the values where there is room."""
    low, high = values[0], values[-1]
    if is_logarithmic(values):
        axes.set_xscale("log")
        axes.set_xlim(low * (low / high) ** 0.05, high * (high / low) ** 0.05)
    else:
        room = 0.05 * (high - low) or 1.0
        axes.set_xlim(low - room, high + room)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator(_spaced_values(axes, values)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))


def _point(curve: SweepCurve, index: int, arm: ArmRecord | None) -> SweepPoint:
    sample: Sample = curve.samples[index]
    train = arm.train.mean if arm is not None else None
    runs = len(sample.values)
    return SweepPoint(
        curve.sweep_values[index], sample.finite, sample.mean, sample.interval(), train, sample.failures, runs
    )


def _fitted_curve(curve: SweepCurve, logarithmic: bool) -> tuple[tuple[float, float], ...]:
    if curve.coefficients is None:
        return ()
    doses = [dose for dose, sample in zip(curve.sweep_values, curve.samples, strict=True) if sample.n]
    first, last = min(doses), max(doses)
    low, high = (log(first), log(last)) if logarithmic else (first, last)
    places = [low + (high - low) * step / 100 for step in range(101)]
    found = [(dose, curve.predict(dose)) for dose in (map(exp, places) if logarithmic else places)]
    return tuple((dose, value) for dose, value in found if value is not None)


def _widened_range(values: Sequence[float], low: float, high: float, logarithmic: bool) -> Interval:
    """A range, widened by 0.3 of the distance to the next values; at an end by that of the inner side."""
    along = [log(dose) for dose in values] if logarithmic else list(values)
    first, last = values.index(low), values.index(high)
    gaps = [after - before for before, after in pairwise(along)] or [1.0]
    start = along[first] - 0.3 * gaps[max(first - 1, 0)]
    end = along[last] + 0.3 * gaps[min(last, len(gaps) - 1)]
    return (exp(start), exp(end)) if logarithmic else (start, end)


def _needs_separate_axes(points: Sequence[SweepPoint]) -> bool:
    values = [value for point in points for value in point.values]
    both = values + [point.train for point in points if point.train is not None]
    return bool(values) and max(both) - min(both) > MAX_STRETCH * (max(values) - min(values))


def _sweep_note(plot: SweepPlot) -> str:
    parts = ["dot: a run; diamond: mean, 95 % interval"]
    if plot.fitted_curve:
        parts.append("dashed: fitted quadratic")
    if plot.plateau:
        parts.append("shaded: plateau")
    if any(point.failures for point in plot.points):
        parts.append("×: failed runs")
    return "; ".join(parts)


def _spaced_values(axes: Axes, values: Sequence[float]) -> list[float]:
    """The values whose numbers do not overlap those before them."""
    kept: list[float] = []
    end = -1e9
    for dose in values:
        middle = float(axes.transData.transform((dose, 0))[0])
        half = text_width(f"{dose:g}", SMALL) / 2 + 4
        if middle - half >= end:
            kept.append(dose)
            end = middle + half
    return kept


def _value_scale(axes: Axes, plot: SweepPlot, *, with_train: bool) -> None:
    values = [value for point in plot.points for value in point.values]
    train = [point.train for point in plot.points if point.train is not None and with_train]
    spans = [point.interval for point in plot.points if point.interval is not None]
    low, high = axis_limits([*values, *train], spans)
    if any(point.failures for point in plot.points):
        low -= 0.1 * (high - low)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=TICK_STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value)))


def _train_scale(axes: Axes, plot: SweepPlot) -> None:
    axes.set_ylim(axis_limits([point.train for point in plot.points if point.train is not None], []))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, steps=TICK_STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value)))


def _draw_runs(axes: Axes, plot: SweepPlot) -> None:
    """Draw the runs to the right of each mean; runs with similar values are side by side."""
    low, high = axes.get_ylim()
    along = [float(axes.transData.transform((point.x, low))[0]) for point in plot.points]
    room = min((after - before for before, after in pairwise(along)), default=60.0)
    for point in plot.points:
        levels = swarm_levels(point.values, DOT / axes.bbox.height * (high - low))
        step = min(DOT, (0.7 * room - 6) / max([*levels, 1]))
        for value, level in zip(point.values, levels, strict=True):
            moved = offset_copy(axes.transData, axes.get_figure(root=True), x=6 + step * level, units="points")
            style: dict[str, Any] = {"color": COLOURS["validation"], "markersize": DOT - 1, "markeredgewidth": 0}
            axes.plot([point.x], [value], "o", transform=moved, alpha=0.6, **style)
        if point.interval is not None:
            axes.plot([point.x] * 2, point.interval, color=COLOURS["ink"], linewidth=2, solid_capstyle="butt")
        if point.mean is not None:
            axes.plot([point.x], [point.mean], "D", color=COLOURS["ink"], markersize=6.5, markeredgewidth=0)
        if point.failures:
            place = (point.x, low + 0.035 * (high - low))
            text = f"{point.failures}×" if point.failures > 1 else "×"
            axes.annotate(text, place, ha="center", va="center", fontsize=SMALL, color=COLOURS["validation"])


def _draw_train(axes: Axes, plot: SweepPlot) -> list[tuple[str, float, str]]:
    """Draw the metric on the training split as a second curve; return its label, if there is one."""
    points = [(point.x, point.train) for point in plot.points if point.train is not None]
    if not points:
        return []
    doses, values = zip(*points, strict=True)
    style: dict[str, Any] = {"color": COLOURS["train"], "linewidth": 1.4, "markersize": 4.5, "markeredgewidth": 0}
    axes.plot(doses, values, marker="s", **style)
    return [("train", values[-1], COLOURS["train"])]
