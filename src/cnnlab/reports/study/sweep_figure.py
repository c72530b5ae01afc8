"""The figure of a sweep: all runs, means, the fitted quadratic and the plateau, and the metric on training images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import offset_copy

from cnnlab.render.plots import COLOURS, SMALL, minimal_axes, new_figure
from cnnlab.reports.study import text as study_text
from cnnlab.reports.study.figures import axis_limits, set_value_ticks, write_title
from cnnlab.stats.sweep import SweepCurve
from cnnlab.studies.result import StudyResult

Floats = npt.NDArray[np.float64]

WIDTH, HEIGHT, TRAIN_HEIGHT = 640.0, 262.0, 90.0
LEFT, RIGHT, HEAD, FOOT, GAP = 52.0, 12.0, 52.0, 46.0, 26.0
# Values over more than this factor are drawn on a log scale.
LOG_SCALE_RATIO = 30.0
MAX_TICKS = 10


def sweep_figure(result: StudyResult, curve: SweepCurve) -> Figure:
    """Plot all runs, means with 95 % intervals, the fitted quadratic and the plateau; below, the training split."""
    figure = new_figure(WIDTH, HEAD + HEIGHT + GAP + TRAIN_HEIGHT + FOOT)
    upper = minimal_axes(figure, LEFT, FOOT + TRAIN_HEIGHT + GAP, WIDTH - LEFT - RIGHT, HEIGHT)
    lower = minimal_axes(figure, LEFT, FOOT, WIDTH - LEFT - RIGHT, TRAIN_HEIGHT)
    for axes in (upper, lower):
        set_sweep_axis(axes, sorted(curve.sweep_values))
    _draw_runs(upper, curve)
    for low, high in plateau_spans(curve):
        upper.axvspan(low, high, color=COLOURS["test"], alpha=0.14, linewidth=0)
    upper.plot(*fitted_curve(curve), color=COLOURS["muted"], linewidth=1.4, linestyle=(0, (5, 3)))
    trained = sorted(
        (arm.sweep_value, arm.train.mean)
        for arm in result.arms
        if arm.sweep_value is not None and arm.train.mean is not None
    )
    if trained:
        lower.plot(*zip(*trained, strict=True), color=COLOURS["train"], linewidth=1.4, marker="s", markersize=4.5)
    lower.set_ylim(axis_limits([mean for _, mean in trained], []))
    upper.tick_params(labelbottom=False)
    set_value_ticks(upper)
    set_value_ticks(lower, nbins=3)
    note = "dot: a run; diamond: mean, 95 % interval; dashed: fitted quadratic; shaded: plateau"
    key = study_text.sweep_key(result)
    write_title(upper, f"{study_text.metric_name(result.metric)} against {key}", note)
    lower.set_title("the same on training images", loc="left", fontsize=SMALL, color=COLOURS["muted"], pad=4)
    lower.set_xlabel(key, color=COLOURS["muted"], fontsize=SMALL, labelpad=6, parse_math=False)
    return figure


def is_logarithmic(values: Sequence[float]) -> bool:
    """Whether rising values are drawn on a log scale."""
    return values[0] > 0 and values[-1] / values[0] > LOG_SCALE_RATIO


def set_sweep_axis(axes: Axes, values: Sequence[float]) -> None:
    """Set the axis of rising values, with ticks at the values, or at some of many."""
    low, high = values[0], values[-1]
    if is_logarithmic(values):
        axes.set_xscale("log")
        axes.set_xlim(low * (low / high) ** 0.05, high * (high / low) ** 0.05)
    else:
        room = 0.05 * (high - low) or 1.0
        axes.set_xlim(low - room, high + room)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator(values, nbins=MAX_TICKS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: study_text.format_value(value, 4)))


def fitted_curve(curve: SweepCurve) -> tuple[Floats, Floats]:
    """Points of the fitted quadratic, between the outermost values that have runs; empty without a fit."""
    values = [value for value, sample in zip(curve.sweep_values, curve.samples, strict=True) if sample.n]
    if curve.coefficients is None:
        return np.empty(0), np.empty(0)
    spaced = np.geomspace if is_logarithmic(sorted(curve.sweep_values)) else np.linspace
    points = spaced(min(values), max(values), 101)
    return points, np.polyval(curve.coefficients, points).astype(np.float64)


def plateau_spans(curve: SweepCurve) -> list[tuple[float, float]]:
    """The values around each one of the plateau that are closer to it than to another value of the sweep."""
    values = np.sort(curve.sweep_values)
    if logarithmic := is_logarithmic(values.tolist()):
        values = np.log(values)
    middles = (values[1:] + values[:-1]) / 2
    edges = np.array([2 * values[0] - middles[0], *middles, 2 * values[-1] - middles[-1]])
    if logarithmic:
        edges = np.exp(edges)
    ranks = np.argsort(np.argsort(curve.sweep_values))[list(curve.plateau)]
    return [(float(edges[rank]), float(edges[rank + 1])) for rank in sorted(ranks)]


def _draw_runs(axes: Axes, curve: SweepCurve) -> None:
    """Draw the runs of each value, and beside them their mean and its interval."""
    spans = [interval for sample in curve.samples if (interval := sample.interval()) is not None]
    axes.set_ylim(axis_limits([metric for sample in curve.samples for metric in sample.finite], spans))
    beside = offset_copy(axes.transData, axes.get_figure(root=True), x=-7, units="points")
    for value, sample in zip(curve.sweep_values, curve.samples, strict=True):
        axes.plot([value] * sample.n, sample.finite, "o", color=COLOURS["validation"], markersize=5, alpha=0.6)
        if (interval := sample.interval()) is not None:
            axes.plot([value] * 2, interval, color=COLOURS["ink"], linewidth=2, transform=beside)
        if sample.mean is not None:
            axes.plot([value], [sample.mean], "D", color=COLOURS["ink"], markersize=6, transform=beside)
        if sample.failures:
            axes.annotate(
                f"{sample.failures} failed",
                (value, 0.98),
                xycoords=axes.get_xaxis_transform(),
                ha="center",
                va="top",
                fontsize=SMALL,
                color=COLOURS["validation"],
            )
