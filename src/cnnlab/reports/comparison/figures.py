"""The figure of compared runs: that of a study, with the loss curves of the groups below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnnlab.render.plots import COLOURS, NORMAL, POINTS_PER_INCH, SMALL, label_line_ends, minimal_axes
from cnnlab.render.svg import text_width
from cnnlab.reports.comparison.result import ComparedGroup, LossCurve
from cnnlab.reports.run.figures import LOG_SCALE_RATIO
from cnnlab.reports.study.figures import seed_figure, write_title
from cnnlab.reports.study.text import short_names
from cnnlab.studies.result import StudyResult

CURVES_HEIGHT = 320.0
MAX_NAME_LENGTH = 32
# Distinct in light and in dark; the curves of more groups than these are not drawn.
TONES = ("train", "validation", "test", "other", "ink", "muted")


def comparison_figure(study: StudyResult, groups: Sequence[ComparedGroup]) -> Figure:
    """Plot the runs and differences of a study, and below them the losses of its groups by epoch."""
    names = short_names([group.name for group in groups], MAX_NAME_LENGTH)
    curves = [(name, group.curves) for name, group in zip(names, groups, strict=True) if group.curves][: len(TONES)]
    figure = seed_figure(study, below=CURVES_HEIGHT if curves else 0.0)
    if curves:
        _draw_losses(figure, curves)
    return figure


def draw_curves(axes: Axes, groups: Sequence[tuple[str, Sequence[LossCurve]]]) -> None:
    """Draw the curves of each named group in its own colour: validation as a line, training dashed."""
    ends = []
    for (name, curves), tone in zip(groups, TONES, strict=False):
        for curve in curves:
            _draw(axes, curve, COLOURS[tone])
        # The last curve is that of validation, if there is one.
        ends += [(name, curves[-1].mean[-1], COLOURS[tone])] if curves else []
    values = [value for _, curves in groups[: len(TONES)] for curve in curves for value in (*curve.low, *curve.high)]
    if min(values) > 0 and max(values) / min(values) > LOG_SCALE_RATIO:
        axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    label_line_ends(axes, ends)


def _draw_losses(figure: Figure, groups: Sequence[tuple[str, Sequence[LossCurve]]]) -> None:
    width = figure.get_size_inches()[0] * POINTS_PER_INCH
    # Bold letters are wider.
    right = 20 + 1.15 * max(text_width(name, NORMAL) for name, _ in groups)
    axes = minimal_axes(figure, 44, 42, width - 44 - right, CURVES_HEIGHT - 42 - 64)
    draw_curves(axes, groups)
    axes.set_xlabel("epoch", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)
    log = ", log scale" if axes.get_yscale() == "log" else ""
    several = any(curve.low != curve.high for _, curves in groups for curve in curves)
    seeds = "; mean over seeds, band: lowest to highest" if several else ""
    note = f"line: validation; dashed: training, running mean of the steps{seeds}"
    write_title(axes, f"loss (cross-entropy, nats{log})", note)


def _draw(axes: Axes, curve: LossCurve, colour: str) -> None:
    is_validation = curve.split == "validation"
    if is_validation:
        axes.fill_between(curve.epochs, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0)
    style: dict[str, Any] = (
        {"linewidth": 1.9, "linestyle": "-"} if is_validation else {"linewidth": 1.5, "linestyle": (0, (4, 2))}
    )
    # Without markers a single epoch would not be seen.
    axes.plot(
        curve.epochs, curve.mean, color=colour, marker="o", markersize=3.4, markeredgewidth=0, clip_on=False, **style
    )
