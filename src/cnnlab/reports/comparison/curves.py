"""The learning curves of compared runs in one plot: computed from their records, then drawn. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from statistics import fmean
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cnnlab.records import EpochRecord, Record
from cnnlab.render.plots import COLOURS, label_line_ends
from cnnlab.reports.run.figures import LOG_SCALE_RATIO

CurveSplit = Literal["train", "validation"]
CURVE_SPLITS: tuple[CurveSplit, ...] = ("train", "validation")
# Distinct in light and in dark; more groups than these are not drawn.
TONES = ("train", "validation", "test", "other", "ink", "muted")


class LossCurve(Record):
    """The loss of a group's runs against the epoch: its mean over them, its smallest and its largest.

    Validation points are of all images in eval mode, those of the training split running means of the steps before.
    """

    split: CurveSplit
    epochs: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def loss_curves(runs: Iterable[Sequence[EpochRecord]]) -> tuple[LossCurve, ...]:
    """The curves of some runs' points, train first; points that are not finite are left out.

    >>> loss_curves([])
    ()
    """
    kept = [list(points) for points in runs]
    found = []
    for split in CURVE_SPLITS:
        at: dict[float, list[float]] = {}
        for point in (point for points in kept for point in points):
            score = getattr(point, split)
            if score is not None and isfinite(score.loss):
                at.setdefault(point.epoch, []).append(score.loss)
        if at:
            ordered = sorted(at.items())
            found.append(
                LossCurve(
                    split=split,
                    epochs=tuple(epoch for epoch, _ in ordered),
                    mean=tuple(fmean(losses) for _, losses in ordered),
                    low=tuple(min(losses) for _, losses in ordered),
                    high=tuple(max(losses) for _, losses in ordered),
                )
            )
    return tuple(found)


def draw_curves(axes: Axes, groups: Sequence[tuple[str, Sequence[LossCurve]]]) -> None:
    """Draw the curves of each named group in a colour of its own: validation as a line, training dashed."""
    ends = []
    for (name, curves), tone in zip(groups, TONES, strict=False):
        for curve in curves:
            _draw(axes, curve, COLOURS[tone])
        # The validation curve's end where there is one: it comes last.
        ends += [(name, curves[-1].mean[-1], COLOURS[tone])] if curves else []
    _scale(axes, [curve for _, curves in groups[: len(TONES)] for curve in curves])
    label_line_ends(axes, ends)


def _draw(axes: Axes, curve: LossCurve, colour: str) -> None:
    is_validation = curve.split == "validation"
    alone = len(curve.epochs) == 1
    if is_validation and curve.low != curve.high:
        axes.fill_between(curve.epochs, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(
        curve.epochs,
        curve.mean,
        color=colour,
        linewidth=1.9 if is_validation else 1.5,
        linestyle="-" if is_validation else (0, (4, 2)),
        marker=("D" if alone else "o") if is_validation else ("d" if alone else ""),
        markersize=5 if alone else 3.4,
        markeredgewidth=0,
        clip_on=False,
    )


def _scale(axes: Axes, curves: Sequence[LossCurve]) -> None:
    values = [value for curve in curves for value in (*curve.low, *curve.high)]
    last = max(curve.epochs[-1] for curve in curves)
    first = min(curve.epochs[0] for curve in curves)
    axes.set_xlim(0 if first < 1.5 else first, max(last, 1))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    low, high = min(values), max(values)
    if low > 0 and high / low > LOG_SCALE_RATIO:
        axes.set_yscale("log")
    else:
        bottom = 0.0 if low < high / 2 else low - (high - low or high) / 4
        axes.set_ylim(bottom, high + 0.06 * (high - bottom) or 1)
