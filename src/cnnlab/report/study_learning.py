"""The learning curves of a study's arms as a picture. Computed, then drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cnnlab.render.plots import COLOURS, NORMAL, SMALL, name_ends, new_figure, quiet_axes
from cnnlab.render.svg import text_width
from cnnlab.report import study_words
from cnnlab.report.study_drawing import STEPS, limits, new_canvas, tick, write
from cnnlab.studies.result import ArmRecord, StudyResult

WIDTH, HEIGHT = 640.0, 360.0
LEFT, HEAD, FOOT = 48.0, 52.0, 46.0
# More lines than these are named only where they have a colour.
MOST_LINES_NAMED = 8


@dataclass(frozen=True)
class Band:
    """An arm's learning curve: at each epoch the mean, the smallest and the largest of its seeds."""

    name: str
    epochs: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    seeds: int


def bands(result: StudyResult) -> tuple[Band, ...]:
    """The learning curve of each arm that has one, in the order of the study."""
    return tuple(band for arm in result.arms if not arm.same_as and (band := _band(arm)) is not None)


def coloured(result: StudyResult, found: Sequence[Band]) -> dict[str, str]:
    """Which arms have a colour: the baseline, the best and the worst by mean; the others are grey.

    None is the colour of a verdict: a mean that is best is not yet better.
    """
    means = {band.name: mean for band in found if (mean := result.arm(band.name).sample.mean) is not None}
    ranked = sorted((name for name in means if name != result.baseline), key=lambda name: means[name])
    if not result.higher_is_better:
        ranked.reverse()
    colours = {ranked[0]: "other"} if len(ranked) > 1 else {}
    if ranked:
        colours[ranked[-1]] = "train"
    if result.baseline in {band.name for band in found}:
        colours[str(result.baseline)] = "ink"
    return colours


def learning_figure(result: StudyResult) -> Figure:
    """The arms' learning curves: the mean over seeds, with a band from the lowest seed to the highest."""
    found = bands(result)
    colours = coloured(result, found)
    few = len(found) <= MOST_LINES_NAMED
    titled = dict(
        zip((band.name for band in found), study_words.short_names([band.name for band in found], 24), strict=True)
    )
    named = [band for band in found if few or band.name in colours]
    right = 20 + max((1.2 * text_width(titled[band.name], NORMAL) for band in named), default=0.0)
    figure = new_figure(WIDTH, HEIGHT)
    canvas = new_canvas(figure)
    write(canvas, 0, 10, f"{study_words.metric_name(result.metric)} against the epoch", size=NORMAL, bold=True)
    write(canvas, 0, 27, "line: mean over seeds; band: from the lowest seed to the highest", colour="muted")
    axes = quiet_axes(figure, LEFT, FOOT, WIDTH - LEFT - right, HEIGHT - HEAD - FOOT)
    for band in sorted(found, key=lambda band: band.name in colours):
        _draw_band(axes, band, colours.get(band.name))
    _epoch_scale(axes, found)
    ends = [(titled[band.name], band.mean[-1], COLOURS[colours.get(band.name, "muted")]) for band in named]
    name_ends(axes, ends)
    axes.set_xlabel("epoch", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)
    return figure


def _band(arm: ArmRecord) -> Band | None:
    if arm.curve is None:
        return None
    points = [
        (epoch, finite)
        for epoch, values in zip(arm.curve.epochs, arm.curve.values, strict=True)
        if (finite := [value for value in values if isfinite(value)])
    ]
    if not points:
        return None
    return Band(
        name=arm.name,
        epochs=tuple(epoch for epoch, _ in points),
        mean=tuple(fmean(values) for _, values in points),
        low=tuple(min(values) for _, values in points),
        high=tuple(max(values) for _, values in points),
        seeds=max(len(values) for _, values in points),
    )


def _draw_band(axes: Axes, band: Band, colour: str | None) -> None:
    drawn = COLOURS[colour or "muted"]
    alone = len(band.epochs) == 1
    width, alpha = (2.2, 1.0) if colour else (1.2, 0.55)
    if colour and band.seeds > 1:
        axes.fill_between(band.epochs, band.low, band.high, color=drawn, alpha=0.16, linewidth=0)
    axes.plot(band.epochs, band.mean, color=drawn, linewidth=width, alpha=alpha, marker="D" if alone else "")


def _epoch_scale(axes: Axes, found: Sequence[Band]) -> None:
    last = max((band.epochs[-1] for band in found), default=1.0)
    first = min((band.epochs[0] for band in found), default=0.0)
    axes.set_xlim(0 if first < 1.5 else first, last if last > first else first + 1)
    axes.set_ylim(limits([value for band in found for value in (*band.low, *band.high)], []))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
