"""The learning curves of a run's report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cnnlab.records import EpochRecord, RunResult
from cnnlab.render.formatting import format_count, format_epoch
from cnnlab.render.plots import COLOURS, NORMAL, SMALL, label_line_ends, minimal_axes, new_figure

Measure = Literal["loss", "accuracy"]
WIDTH, HEIGHT = 400, 304
FOOT = 56
LABELS = {"loss": "loss (cross-entropy, nats)", "accuracy": "accuracy (fraction of images)"}
LOG_SCALE_RATIO = 100.0
_DASHES = {"train": (0, ()), "validation": (0, ()), "test": (0, (4, 2))}
_MARKERS = {"train": "", "validation": "o", "test": "s"}


@dataclass(frozen=True)
class MetricCurve:
    """One metric of one split; values that are not finite break the line."""

    split: str
    epochs: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def last(self) -> tuple[float, float] | None:
        """The last finite point."""
        return next(((e, v) for e, v in zip(self.epochs[::-1], self.values[::-1], strict=True) if isfinite(v)), None)


def metric_curves(epochs: Sequence[EpochRecord], result: RunResult, measure: Measure) -> tuple[MetricCurve, ...]:
    """Return the curves of one metric: train, and validation and test if they were measured.

    Without a test curve, the final test figure is a single point at the selected epoch.
    """
    curves = [_metric_curve(split, epochs, measure) for split in _MARKERS]
    if result.test is not None and curves[-1].last is None:
        curves[-1] = MetricCurve("test", (result.selected_epoch,), (result.test.metric(measure),))
    return tuple(curve for curve in curves if curve.last is not None)


def curve_figure(epochs: Sequence[EpochRecord], result: RunResult, measure: Measure) -> Figure:
    """Plot train, validation and test against epochs and training steps, with the selected epoch marked."""
    figure = new_figure(WIDTH, HEIGHT)
    axes = minimal_axes(figure, 34, FOOT, WIDTH - 34 - 72, HEIGHT - FOOT - 64)
    lines = metric_curves(epochs, result, measure)
    for curve in lines:
        _draw(axes, curve)
    _scale(axes, lines, measure)
    if lines:
        _mark_selected(axes, result.selected_epoch)
        _label_lines(axes, lines)
    else:
        axes.text(0.5, 0.5, "nothing was measured", transform=axes.transAxes, ha="center", color=COLOURS["muted"])
    show_steps(axes, [(record.epoch, record.step) for record in epochs])
    figure.text(0, 1 - 14 / HEIGHT, _title(axes, measure), fontsize=NORMAL, color=COLOURS["ink"], weight="bold")
    note = "train: running mean of the steps" + ("; test: final figure" if _test_is_single_point(lines) else "")
    figure.text(0, 1 - 30 / HEIGHT, note, fontsize=SMALL, color=COLOURS["muted"])
    return figure


def show_steps(axes: Axes, points: Sequence[tuple[float, int]]) -> None:
    """Name the axis of epochs, and write the training steps below the epochs.

    Args:
        points: (epoch, step) of each point of a curve, in ascending order; without any, epochs stand alone.
    """
    label = "epoch; below it the training step" if points else "epoch"
    axes.set_xlabel(label, color=COLOURS["muted"], fontsize=SMALL, labelpad=6)
    if points:
        epochs, steps = zip(*((0.0, 0), *points), strict=True)

        def both(epoch: float, _position: int | None = None) -> str:
            return f"{format_epoch(epoch)}\n{format_count(round(float(np.interp(epoch, epochs, steps))))}"

        axes.xaxis.set_major_formatter(FuncFormatter(both))


def _test_is_single_point(lines: Sequence[MetricCurve]) -> bool:
    return any(curve.split == "test" and len(curve.epochs) == 1 for curve in lines)


def _metric_curve(split: str, epochs: Sequence[EpochRecord], measure: Measure) -> MetricCurve:
    points = [(record.epoch, getattr(record, split)) for record in epochs]
    measured = [(epoch, float(getattr(score, measure))) for epoch, score in points if score is not None]
    return MetricCurve(split, tuple(epoch for epoch, _ in measured), tuple(value for _, value in measured))


def _draw(axes: Axes, curve: MetricCurve) -> None:
    alone = sum(map(isfinite, curve.values)) == 1
    axes.plot(
        curve.epochs,
        curve.values,
        color=COLOURS[curve.split],
        linewidth=1.8,
        linestyle=_DASHES[curve.split],
        marker="D" if alone else _MARKERS[curve.split],
        markersize=6 if alone else 3.6,
        markeredgewidth=0,
        label=curve.split,
        clip_on=False,
    )


def _scale(axes: Axes, lines: Sequence[MetricCurve], measure: Measure) -> None:
    values = [value for curve in lines for value in curve.values if isfinite(value)]
    last = max((epoch for curve in lines for epoch in curve.epochs), default=1.0)
    first = min((epoch for curve in lines for epoch in curve.epochs), default=0.0)
    axes.set_xlim(0 if first < 1.5 else first, max(last, 1))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    if measure == "accuracy":
        low = min(values, default=0.0)
        axes.set_ylim(max(0.0, low - 0.05), min(1.0, max(values, default=1.0) + 0.05))
    elif values and min(values) > 0 and max(values) / min(values) > LOG_SCALE_RATIO:
        axes.set_yscale("log")
    elif values:
        low, high = min(values), max(values)
        # From 0 unless the curves are close together far above it.
        bottom = 0.0 if low < high / 2 else low - (high - low or high) / 4
        axes.set_ylim(bottom, high + 0.06 * (high - bottom) or 1)


def _mark_selected(axes: Axes, epoch: float) -> None:
    axes.axvline(epoch, color=COLOURS["muted"], linewidth=0.9, linestyle=(0, (1.5, 2.5)), zorder=1)
    right = epoch > sum(axes.get_xlim()) / 2
    axes.annotate(
        f"selected: epoch {format_epoch(epoch)}",
        (epoch, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if right else 5, 3),
        textcoords="offset points",
        ha="right" if right else "left",
        fontsize=SMALL,
        color=COLOURS["muted"],
    )


def _label_lines(axes: Axes, lines: Sequence[MetricCurve]) -> None:
    """Label each line at its end, in its color."""
    label_line_ends(axes, [(curve.split, curve.last[1], COLOURS[curve.split]) for curve in lines if curve.last])


def _title(axes: Axes, measure: Measure) -> str:
    return LABELS[measure] + (", log scale" if axes.get_yscale() == "log" else "")
