"""The plot of a range test: the loss against the learning rate, with the suggested rate and the limit."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from cnnlab.render.plots import COLOURS, NORMAL, SMALL, minimal_axes, new_figure
from cnnlab.training.lr_finder.result import LRRangeResult, format_lr

WIDTH, HEIGHT = 600, 360
LEFT, RIGHT, BOTTOM, TOP = 52, 20, 50, 54
# The axis ends above the first losses by this share of the fall below them, however high the loss went.
ABOVE_FIRST = 0.75


def range_figure(result: LRRangeResult) -> Figure:
    """Plot each step's loss (thin) and the smoothed loss (bold), and mark the suggested, highest and own rates."""
    figure = new_figure(WIDTH, HEIGHT)
    axes = minimal_axes(figure, LEFT, BOTTOM, WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM - TOP)
    axes.plot(result.rates, result.losses, color=COLOURS["train"], linewidth=0.8, alpha=0.45)
    if result.smoothed:
        axes.plot(result.rates, result.smoothed, color=COLOURS["train"], linewidth=2.4, solid_capstyle="round")
    _scale(axes, result)
    low, high = result.planned[0], result.planned[-1]
    beyond = "" if low <= result.own <= high else ", beyond this axis"
    own = min(max(result.own, low), high)
    axes.axvline(own, color=COLOURS["ink"], linestyle="--", label=f"the recipe's own, {result.own:g}{beyond}")
    if result.suggestion is not None and result.limit is not None:
        suggested, limit = f"suggested, {format_lr(result.suggestion)}", f"upper limit, {format_lr(result.limit)}"
        axes.axvline(result.suggestion, color=COLOURS["test"], label=suggested)
        axes.axvline(result.limit, color=COLOURS["validation"], linestyle=":", label=limit)
    axes.legend(loc="lower left", fontsize=SMALL, labelcolor=COLOURS["ink"], frameon=False)
    axes.set_xlabel("learning rate", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)
    title = "loss of the training batches while the learning rate rises"
    figure.text(12 / WIDTH, 1 - 24 / HEIGHT, title, fontsize=NORMAL, color=COLOURS["ink"], weight="bold")
    note = "thin: each step, bold: smoothed"
    if result.stopped_at_lr is not None:
        note += f"; it blew up at {format_lr(result.stopped_at_lr)}"
    figure.text(12 / WIDTH, 1 - 42 / HEIGHT, note, fontsize=SMALL, color=COLOURS["muted"])
    return figure


def _scale(axes: Axes, result: LRRangeResult) -> None:
    axes.set_xscale("log")
    axes.set_xlim(result.planned[0], result.planned[-1])
    axes.xaxis.set_major_locator(LogLocator(numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value >= 1e-3 else f"{value:.0e}"))
    axes.xaxis.set_minor_locator(NullLocator())
    if result.losses:
        losses = np.asarray(result.losses)
        first = float(losses[: max(3, len(losses) // 10)].mean())
        lowest, highest = float(losses.min()), float(losses.max())
        highest = min(highest, first + ABOVE_FIRST * (first - lowest))
        room = 0.06 * (highest - lowest) or 0.1
        axes.set_ylim(lowest - room, highest + room)
