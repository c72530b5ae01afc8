"""The plot of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from cnnlab.render.formatting import display_width, shorten
from cnnlab.render.plots import COLOURS, NORMAL, SMALL, minimal_axes, new_captioned_figure

MAX_CLASSES_WITH_COUNTS = 20
MAX_CLASSES_WITH_NAMES = 60
MAX_LABEL_LENGTH = 18
MAX_FULL_COUNT = 1000
# Of a figure with a title and notes.
MIN_WIDTH = 560.0

Counts = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]


def confusion_figure(counts: Counts, names: Sequence[str], title: str = "", notes: Sequence[str] = ()) -> Figure:
    """Plot a confusion matrix: rows are the true classes, columns the predicted ones.

    A cell's opacity shows its share of the row. Up to `MAX_CLASSES_WITH_COUNTS` classes the counts are written in the
    cells; up to `MAX_CLASSES_WITH_NAMES` the axes have class names, beyond that class indices.

    Args:
        title, notes: above and below the plot, for a figure outside a page.
    """
    size = len(names)
    cell = _cell_size(size)
    labels = [shorten(name, MAX_LABEL_LENGTH) for name in names]
    margin = 32 + (6.4 * max(map(display_width, labels)) if size <= MAX_CLASSES_WITH_NAMES else 24)
    side = cell * size
    width = max(margin + side + 8, MIN_WIDTH if title else 0.0)
    figure, bottom = new_captioned_figure(width, margin + side + 8, title, notes)
    axes = minimal_axes(figure, margin, bottom + 8, side, side)
    axes.grid(False)
    axes.spines[:].set(visible=True, color=COLOURS["line"], linewidth=0.8)
    # The opacity is a square root, which makes the few errors of a good network visible.
    colours = np.empty((size, size, 4))
    colours[...] = to_rgba(COLOURS["train"])
    colours[..., 3] = np.sqrt(normalize_rows(counts))
    axes.imshow(colours, interpolation="none", aspect="auto")
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    ticks = range(size) if size <= MAX_CLASSES_WITH_NAMES else range(0, size, ceil(size / 20))
    texts = [labels[tick] if size <= MAX_CLASSES_WITH_NAMES else str(tick) for tick in ticks]
    axes.set_xticks(ticks, texts, rotation=90, rotation_mode="anchor", ha="left", va="center", parse_math=False)
    axes.set_yticks(ticks, texts, parse_math=False)
    axes.set_xlabel("predicted class", labelpad=6, color=COLOURS["ink"], fontsize=NORMAL, weight="bold")
    axes.set_ylabel("true class", color=COLOURS["ink"], fontsize=NORMAL, weight="bold")
    if size <= MAX_CLASSES_WITH_COUNTS:
        _write_counts(axes, counts)
    return figure


def normalize_rows(counts: Counts) -> Floats:
    """Divide each row by its sum; a class without images has zeros."""
    sums = counts.sum(axis=1, keepdims=True)
    return np.asarray(counts / np.maximum(sums, 1), dtype=np.float64)


def _cell_size(size: int) -> float:
    """The side of a cell in points, by whether it holds a count, or its row a name."""
    if size <= MAX_CLASSES_WITH_COUNTS:
        return 30.0
    return 13.5 if size <= MAX_CLASSES_WITH_NAMES else max(600 / size, 1.0)


def _write_counts(axes: Axes, counts: Counts) -> None:
    shares = normalize_rows(counts)
    for row, column in np.argwhere(counts > 0):
        axes.text(
            column,
            row,
            f"{counts[row, column]}",
            ha="center",
            va="center",
            fontsize=SMALL if counts[row, column] < MAX_FULL_COUNT else 9,
            color=COLOURS["on-dark" if shares[row, column] > 0.3 else "ink"],
        )
