"""Images on a plane of their features: all classes together, and each class by itself."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from cnnlab.interpret.mistakes.embedding import PCAEmbedding
from cnnlab.render.formatting import format_percent, pluralize, shorten
from cnnlab.render.plots import COLOURS, SMALL, minimal_axes, new_captioned_figure, spread_positions

Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

WIDTH, HEIGHT, MARGIN = 680.0, 440.0, 14.0
# Below and beside the large map stands which component it is.
AXIS = 22.0
NUM_COLUMNS, SMALL_HEIGHT, HEAD, GAP = 5, 92.0, 20.0, 10.0
# Each is seen on white and on black; beyond so many classes they come again with another shape.
HUES = ("#1f8fd6", "#e0701a", "#12a57f", "#a066cc", "#b8952b", "#d64f8a", "#6f8a1f", "#8a8f98")
SHAPES = ("o", "^", "s", "D", "v", "P", "X")
# Names of more classes would cover the points, or stand far from them.
MAX_NAMED = 20
MAX_NAME_LENGTH = 18
NAME_SPACING = 14.0
# Behind a class by itself so many points of all stand for the rest.
MAX_BACKGROUND_POINTS = 300


def embedding_figure(
    embedding: PCAEmbedding, wrong: Flags, names: Sequence[str], title: str, notes: Sequence[str]
) -> Figure:
    """Every image as a point of its class, named at its centre; below, each class by itself, its mistakes as rings.

    Args:
        wrong: which of the images were named wrong, N.
        names: of all classes.
    """
    kinds, counts = np.unique(embedding.labels, return_counts=True)
    alone = kinds[np.sort(np.argsort(-counts, kind="stable")[:MAX_NAMED])]
    below = ceil(len(alone) / NUM_COLUMNS) * (HEAD + SMALL_HEIGHT + GAP)
    lines = [*notes, _how_to_read(len(kinds), len(alone), wrong)]
    figure, bottom = new_captioned_figure(WIDTH, HEIGHT + AXIS + below + 2 * MARGIN, title, lines)
    axes = _box(figure, MARGIN + AXIS, bottom + MARGIN + below + AXIS, WIDTH - 2 * MARGIN - AXIS, HEIGHT)
    first, second = (
        f"component {k}, {format_percent(share)} of the variance"
        for k, share in enumerate(embedding.explained_variance, 1)
    )
    axes.set_xlabel(first, color=COLOURS["muted"], fontsize=SMALL, labelpad=4)
    axes.set_ylabel(second, color=COLOURS["muted"], fontsize=SMALL, labelpad=4)
    _set_limits(axes, embedding.points)
    for number, kind in enumerate(kinds):
        x, y = embedding.points[embedding.labels == kind].T
        axes.scatter(x, y, s=10, linewidths=0, alpha=0.8, color=_hue(number), marker=_shape(number), zorder=2)
    if len(kinds) <= MAX_NAMED:
        _label_classes(axes, embedding, alone, kinds, names)
    width = (WIDTH - 2 * MARGIN - (NUM_COLUMNS - 1) * GAP) / NUM_COLUMNS
    for place, kind in enumerate(alone):
        left = MARGIN + place % NUM_COLUMNS * (width + GAP)
        top = bottom + MARGIN + below - place // NUM_COLUMNS * (HEAD + SMALL_HEIGHT + GAP)
        small = _box(figure, left, top - HEAD - SMALL_HEIGHT, width, SMALL_HEIGHT)
        _draw_class(small, embedding, wrong, int(kind), _hue(int(np.searchsorted(kinds, kind))))
        head = shorten(names[kind], MAX_NAME_LENGTH)
        small.set_title(head, fontsize=SMALL, color=COLOURS["ink"], loc="left", pad=4, parse_math=False)
    return figure


def _how_to_read(total: int, num_shown: int, wrong: Flags) -> str:
    named = num_shown == total
    near = ", its name near its centre" if named else f"; names of {total:,} classes would cover it, so it has none"
    which = "each class" if named else f"each of the {num_shown} classes with the most images"
    return (
        f"Above: a colour and a shape for each class{near}. Below: {which} by itself before all others in grey; a ring "
        f"is one of the {pluralize(int(wrong.sum()), 'image')} named wrong."
    )


def _hue(number: int) -> str:
    return HUES[number % len(HUES)]


def _shape(number: int) -> str:
    return SHAPES[number // len(HUES) % len(SHAPES)]


def _box(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    axes = minimal_axes(figure, left, bottom, width, height)
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=True, color=COLOURS["line"], linewidth=0.8)
    return axes


def _draw_class(axes: Axes, embedding: PCAEmbedding, wrong: Flags, kind: int, hue: str) -> None:
    every = np.unique(
        np.linspace(0, len(embedding.points) - 1, min(MAX_BACKGROUND_POINTS, len(embedding.points))).round().astype(int)
    )
    own = embedding.labels == kind
    _set_limits(axes, embedding.points)
    x, y = embedding.points.T
    axes.scatter(x[every], y[every], s=4, linewidths=0, color=COLOURS["line"], zorder=1)
    axes.scatter(x[own & ~wrong], y[own & ~wrong], s=6, linewidths=0, color=hue, zorder=2)
    rings = {"facecolors": "none", "edgecolors": COLOURS["ink"]}
    axes.scatter(x[own & wrong], y[own & wrong], s=10, linewidths=0.6, zorder=3, **rings)  # type: ignore[arg-type]


def _set_limits(axes: Axes, points: npt.NDArray[np.float64]) -> None:
    """Limits that hold all points. Each direction has its own scale, or most of the second would be lost."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.where(high > low, 0.03 * (high - low), 1.0)
    axes.set_xlim(float(low[0] - room[0]), float(high[0] + room[0]))
    axes.set_ylim(float(low[1] - room[1]), float(high[1] + room[1]))


def _label_classes(
    axes: Axes, embedding: PCAEmbedding, class_indices: Indices, kinds: Indices, names: Sequence[str]
) -> None:
    """Names at the centres of the classes, moved up or down until none covers another."""
    centres = np.stack([np.median(embedding.points[embedding.labels == kind], axis=0) for kind in class_indices])
    at = axes.transData.transform(centres)
    bottom, top = axes.bbox.y0 + NAME_SPACING / 2, axes.bbox.y1 - NAME_SPACING / 2
    heights = spread_positions([float(y) for y in at[:, 1]], NAME_SPACING, bottom, top)
    for kind, centre, (_, y), height in zip(class_indices, centres, at, heights, strict=True):
        text = axes.annotate(
            shorten(names[kind], MAX_NAME_LENGTH),
            (float(centre[0]), float(centre[1])),
            xytext=(0, height - float(y)),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=SMALL,
            color=_hue(int(np.searchsorted(kinds, kind))),
            weight="bold",
            zorder=5,
            annotation_clip=False,
            parse_math=False,
        )
        text.set_path_effects([withStroke(linewidth=3, foreground=COLOURS["paper"])])
