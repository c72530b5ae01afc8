"""Arrays as pictures: first-layer weights."""

from __future__ import annotations

from math import ceil

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.paper.plots import COLOURS, NORMAL, new_figure
from cnnlab.probe.weights.colouring import around_grey
from cnnlab.report.view import Weights

MOST_FILTERS = 64
FILTERS_WIDTH = 400

Floats = npt.NDArray[np.float64]


def filter_figure(weights: Weights, title: str) -> Figure:
    """The filters of a convolution as numbered pictures, at most `MOST_FILTERS` of them.

    Args:
        weights: F×C×H×W.
    """
    pictures = around_grey(weights)[:MOST_FILTERS]
    across = 8 if len(pictures) > 6 else max(len(pictures), 4)
    cell, gap, caption, head = (FILTERS_WIDTH + 6) / across, 6.0, 13.0, 28.0
    height = head + ceil(len(pictures) / across) * (cell - gap + caption + 4)
    figure = new_figure(FILTERS_WIDTH, height)
    axes = _canvas(figure, FILTERS_WIDTH, height)
    axes.text(0, 12, title, fontsize=NORMAL, color=COLOURS["ink"], weight="bold", va="center", parse_math=False)
    for number, picture in enumerate(pictures):
        left = (number % across) * cell
        top = head + (number // across) * (cell - gap + caption + 4)
        _picture(axes, picture, left, top, cell - gap)
        axes.text(
            left, top + cell - gap + caption / 2 + 2, str(number), fontsize=10, color=COLOURS["muted"], va="center"
        )
    return figure


def _canvas(figure: Figure, width: float, height: float) -> Axes:
    """Axes over the whole figure, in points from its upper left corner."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return axes


def _picture(axes: Axes, picture: Floats, left: float, top: float, side: float) -> None:
    high, wide = picture.shape[:2]
    across, down = side * wide / max(high, wide), side * high / max(high, wide)
    extent = (left, left + across, top + down, top)
    axes.imshow(picture, extent=extent, interpolation="none", aspect="auto", clip_on=False)
