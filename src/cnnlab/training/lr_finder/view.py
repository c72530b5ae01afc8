"""The loss of a range test against the rate, with the rates that it points at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from cnnlab.render.plots import COLOURS, NORMAL, SMALL, minimal_axes, new_figure, to_svg
from cnnlab.render.svg import text_width
from cnnlab.training.lr_finder.result import LRRangeResult, format_lr

WIDTH, HEIGHT = 600, 380
LEFT, RIGHT, BOTTOM, TOP = 52, 20, 50, 100
# Above the axes, one row a mark: names of rates that lie close would hide each other on one.
ROW = 15.0
# The blow-up may go on to any height: above the first losses there is room for this share of the fall below them.
ABOVE_FIRST = 0.75
Dash: TypeAlias = tuple[int, tuple[float, ...]]
SOLID: Dash = (0, ())
DASHED: Dash = (0, (4, 2.5))
DOTTED: Dash = (0, (1.2, 2))
# How much wider bold letters are.
BOLD_WIDTH = 1.15


class LRMarker(NamedTuple):
    """A rate to mark: with which words, in which colour, with which dashes."""

    rate: float
    name: str
    colour: str
    dash: Dash


def range_svg(result: LRRangeResult) -> str:
    """The plot, standing alone."""
    description = f"The training loss of {result.recipe} against a rising learning rate. {result.summary()}"
    return to_svg(
        range_figure(result), "lr-range", f"{description} {result.comparison_text()}".strip(), standalone=True
    )


def range_figure(result: LRRangeResult) -> Figure:
    """Each step's loss thin, the smoothed loss bold; the suggestion, the limit and the recipe's own rate marked."""
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


def _draw_markers(axes: Axes, marks: list[LRMarker]) -> None:
    """Vertical lines, each with its name in a row of its own above the axes, so that no line goes through a name."""
    width, height = axes.bbox.width, axes.bbox.height
    along = {mark: float(axes.transData.transform((mark.rate, 1))[0]) - axes.bbox.x0 for mark in marks}
    needs = {mark: BOLD_WIDTH * text_width(mark.name) + 6 for mark in marks}
    # To the right of their lines where all have the room; the line furthest that way is then the shortest.
    leftwards = any(along[mark] + needs[mark] > width for mark in marks)
    for row, mark in enumerate(sorted(marks, key=lambda mark: along[mark], reverse=not leftwards)):
        top = 1 + (8 + ROW * row) / height
        ends = ([mark.rate, mark.rate], [0, top])
        through = axes.get_xaxis_transform()
        colour = COLOURS[mark.colour]
        axes.plot(*ends, transform=through, color=colour, linestyle=mark.dash, linewidth=1.6, clip_on=False)
        left = leftwards and along[mark] > needs[mark]
        axes.annotate(
            mark.name,
            (mark.rate, top),
            xycoords=through,
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
