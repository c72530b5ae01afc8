"""The figure of compared runs: that of a study, with the losses and accuracies of the groups by epoch below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnnlab.render.plots import COLOURS, NORMAL, POINTS_PER_INCH, SMALL, label_line_ends, minimal_axes
from cnnlab.render.svg import text_width
from cnnlab.reports.comparison.result import ComparedGroup, GroupCurve
from cnnlab.reports.run.figures import LABELS, LOG_SCALE_RATIO
from cnnlab.reports.study.figures import seed_figure, write_title
from cnnlab.reports.study.text import short_names
from cnnlab.studies.result import StudyResult

CURVES_HEIGHT = 320.0
MAX_NAME_LENGTH = 32
# Distinct in light and in dark; the curves of more groups than these are not drawn.
TONES = ("train", "validation", "test", "other", "ink", "muted")
# With markers, since a single epoch would not be seen without.
_STYLES: dict[str, dict[str, Any]] = {
    "train": {"linewidth": 1.5, "linestyle": (0, (4, 2)), "marker": "o", "markersize": 3.4},
    "validation": {"linewidth": 1.9, "linestyle": "-", "marker": "o", "markersize": 3.4},
    "test": {"linewidth": 1.4, "linestyle": (0, (1, 1.6)), "marker": "s", "markersize": 3.6},
}


def comparison_figure(study: StudyResult, groups: Sequence[ComparedGroup]) -> Figure:
    """Plot the runs and differences of a study, and below them the losses and accuracies of its groups by epoch."""
    names = short_names([group.name for group in groups], MAX_NAME_LENGTH)
    panels = []
    for measure in ("loss", "accuracy"):
        curves = [group.curves if measure == "loss" else group.accuracy_curves for group in groups]
        known = [(name, each) for name, each in zip(names, curves, strict=True) if each][: len(TONES)]
        panels += [(LABELS[measure], known)] if known else []
    figure = seed_figure(study, below=CURVES_HEIGHT * len(panels))
    for number, (label, known) in enumerate(panels, 1):
        _draw_panel(figure, known, label, bottom=CURVES_HEIGHT * (len(panels) - number))
    return figure


def draw_curves(axes: Axes, groups: Sequence[tuple[str, Sequence[GroupCurve]]], *, log: bool = True) -> None:
    """Draw the curves of each named group in its own colour: train dashed, validation solid, test dotted.

    Args:
        log: whether values far apart have a logarithmic axis.
    """
    ends = []
    for (name, curves), tone in zip(groups, TONES, strict=False):
        for curve in curves:
            _draw(axes, curve, COLOURS[tone])
        by_split = {curve.split: curve for curve in curves}
        # The label stands at the end of the validation curve, if there is one.
        named = by_split.get("validation") or by_split.get("train") or by_split.get("test")
        ends += [(name, named.mean[-1], COLOURS[tone])] if named else []
    values = [value for _, curves in groups[: len(TONES)] for curve in curves for value in (*curve.low, *curve.high)]
    if log and min(values) > 0 and max(values) / min(values) > LOG_SCALE_RATIO:
        axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    label_line_ends(axes, ends)


def _draw_panel(figure: Figure, groups: Sequence[tuple[str, Sequence[GroupCurve]]], label: str, bottom: float) -> None:
    width = figure.get_size_inches()[0] * POINTS_PER_INCH
    # Bold letters are wider.
    right = 20 + 1.15 * max(text_width(name, NORMAL) for name, _ in groups)
    axes = minimal_axes(figure, 44, bottom + 42, width - 44 - right, CURVES_HEIGHT - 42 - 64)
    draw_curves(axes, groups, log=label == LABELS["loss"])
    axes.set_xlabel("epoch", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)
    log = ", log scale" if axes.get_yscale() == "log" else ""
    write_title(axes, f"{label}{log}", "; ".join(_reading(groups)))


def _reading(groups: Sequence[tuple[str, Sequence[GroupCurve]]]) -> Iterator[str]:
    """How the lines are read."""
    curves = [curve for _, each in groups for curve in each]
    yield "solid: validation; dashed: train, running mean"
    if any(curve.split == "test" and not curve.final for curve in curves):
        yield "dotted: test"
    if any(curve.final for curve in curves):
        yield "squares: final test"
    if any(curve.low != curve.high for curve in curves):
        yield "mean and range over seeds"


def _draw(axes: Axes, curve: GroupCurve, colour: str) -> None:
    if curve.split == "validation":
        axes.fill_between(curve.epochs, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0)
    style = {"linewidth": 1.0, "linestyle": "none", "marker": "s", "markersize": 6.5} if curve.final else {}
    axes.plot(
        curve.epochs,
        curve.mean,
        color=colour,
        clip_on=False,
        markeredgewidth=0,
        **{**_STYLES[curve.split], **style},
    )
