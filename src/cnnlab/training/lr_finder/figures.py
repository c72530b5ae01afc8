"""The plot of a range test: the loss against the learning rate, with the suggested rate and the limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from cnnlab.render.plots import COLOURS, NORMAL, SMALL, minimal_axes, new_figure
from cnnlab.render.svg import text_width
from cnnlab.training.lr_finder.result import LRRangeResult, format_lr

WIDTH, HEIGHT = 600, 380
LEFT, RIGHT, BOTTOM, TOP = 52, 20, 50, 100
# Height of a row of marker names above the axes: each name has its own row, so that close rates don't overlap.
ROW = 15.0
# The axis ends above the first losses by this share of the fall below them, however high the loss went.
ABOVE_FIRST = 0.75
Dash: TypeAlias = tuple[int, tuple[float, ...]]
SOLID: Dash = (0, ())
DASHED: Dash = (0, (4, 2.5))
DOTTED: Dash = (0, (1.2, 2))
# Width of bold letters relative to normal ones.
BOLD_WIDTH = 1.15


class LRMarker(NamedTuple):
    """A vertical line at a rate, with its name, colour and dashes."""

    rate: float
    name: str
    colour: str
    dash: Dash


def range_figure(result: LRRangeResult) -> Figure:
    """Plot each step's loss (thin) and the smoothed loss (bold), and mark the suggested, highest and own rates."""
    figure = new_figure(WIDTH, HEIGHT)
    axes = minimal_axes(figure, LEFT, BOTTOM, WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM - TOP)
    axes.plot(result.rates, result.losses, color=COLOURS["train"], linewidth=0.8, alpha=0.45)
    if result.smoothed:
        axes.plot(result.rates, result.smoothed, color=COLOURS["train"], linewidth=2.4, solid_capstyle="round")
    _scale(axes, result)
    _draw_markers(axes, list(_lr_markers(result)))
    axes.set_xlabel("learning rate", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)
    title = "loss of the training batches while the learning rate rises"
    figure.text(12 / WIDTH, 1 - 24 / HEIGHT, title, fontsize=NORMAL, color=COLOURS["ink"], weight="bold")
    note = "thin: each step, bold: smoothed"
    if result.stopped_at_lr is not None:
        note += f"; it blew up at {format_lr(result.stopped_at_lr)}"
    figure.text(12 / WIDTH, 1 - 42 / HEIGHT, note, fontsize=SMALL, color=COLOURS["muted"])
    return figure


def _lr_markers(result: LRRangeResult) -> Iterator[LRMarker]:
    low, high = result.planned[0], result.planned[-1]
    beyond = "" if low <= result.own <= high else ", beyond this axis"
    yield LRMarker(min(max(result.own, low), high), f"the recipe's own, {result.own:g}{beyond}", "ink", DASHED)
    if result.suggestion is not None and result.limit is not None:
        yield LRMarker(result.suggestion, f"suggested, {format_lr(result.suggestion)}", "test", SOLID)
        yield LRMarker(result.limit, f"upper limit, {format_lr(result.limit)}", "validation", DOTTED)


def _draw_markers(axes: Axes, markers: list[LRMarker]) -> None:
    """Draw vertical lines, each with its name in its own row above the axes, so that no line crosses a name."""
    width, height = axes.bbox.width, axes.bbox.height
    x = {marker: float(axes.transData.transform((marker.rate, 1))[0]) - axes.bbox.x0 for marker in markers}
    needed = {marker: BOLD_WIDTH * text_width(marker.name) + 6 for marker in markers}
    # Names are right of their lines if there is room for all of them; the rightmost line is then the shortest.
    leftwards = any(x[marker] + needed[marker] > width for marker in markers)
    for row, marker in enumerate(sorted(markers, key=lambda marker: x[marker], reverse=not leftwards)):
        top = 1 + (8 + ROW * row) / height
        ends = ([marker.rate, marker.rate], [0, top])
        transform = axes.get_xaxis_transform()
        colour = COLOURS[marker.colour]
        axes.plot(*ends, transform=transform, color=colour, linestyle=marker.dash, linewidth=1.6, clip_on=False)
        left = leftwards and x[marker] > needed[marker]
        axes.annotate(
            marker.name,
            (marker.rate, top),
            xycoords=transform,
            xytext=(-5 if left else 5, -1),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=SMALL,
            color=colour,
            weight="bold",
            annotation_clip=False,
        )


def _scale(axes: Axes, result: LRRangeResult) -> None:
    axes.set_xscale("log")
    axes.set_xlim(result.planned[0], result.planned[-1])
    axes.xaxis.set_major_locator(LogLocator(numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value >= 1e-3 else f"{value:.0e}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    if not result.losses:
        return
    losses = np.asarray(result.losses)
    first = float(losses[: max(3, len(losses) // 10)].mean())
    lowest, highest = float(losses.min()), float(losses.max())
    highest = min(highest, first + ABOVE_FIRST * (first - lowest))
    room = 0.06 * (highest - lowest) or 0.1
    axes.set_ylim(lowest - room, highest + room)
