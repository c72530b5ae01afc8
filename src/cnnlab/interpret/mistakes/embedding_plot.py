"""Images on a plane of their features: all classes together, and each class by itself."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from cnnlab.interpret.mistakes.embedding import Embedding
from cnnlab.render import formatting
from cnnlab.render.plots import COLOURS, SMALL, captioned, quiet_axes, spread

Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

WIDTH, HEIGHT, MARGIN = 680.0, 440.0, 14.0
# Below and beside the large map stands which component it is.
AXIS = 22.0
ACROSS, SMALL_HEIGHT, HEAD, GAP = 5, 92.0, 20.0, 10.0
# Each is seen on white and on black; beyond so many classes they come again with another shape.
HUES = ("#1f8fd6", "#e0701a", "#12a57f", "#a066cc", "#b8952b", "#d64f8a", "#6f8a1f", "#8a8f98")
SHAPES = ("o", "^", "s", "D", "v", "P", "X")
# Names of more classes would cover the points, or stand far from them.
MOST_NAMED = 20
LONGEST = 18
BETWEEN_NAMES = 14.0
# Behind a class by itself so many points of all stand for the rest.
BACKGROUND = 300


def embedding_figure(found: Embedding, wrong: Flags, names: Sequence[str], title: str, notes: Sequence[str]) -> Figure:
    """Every image as a point of its class, named at its centre; below, each class by itself, its mistakes as rings.

    Args:
        wrong: which of the images were named wrong, N.
        names: of all classes.
    """
    kinds, counts = np.unique(found.labels, return_counts=True)
    alone = kinds[np.sort(np.argsort(-counts, kind="stable")[:MOST_NAMED])]
    below = ceil(len(alone) / ACROSS) * (HEAD + SMALL_HEIGHT + GAP)
    lines = [*notes, _reading(len(kinds), len(alone), wrong)]
    figure, bottom = captioned(WIDTH, HEIGHT + AXIS + below + 2 * MARGIN, title, lines)
    axes = _box(figure, MARGIN + AXIS, bottom + MARGIN + below + AXIS, WIDTH - 2 * MARGIN - AXIS, HEIGHT)
    first, second = (
        f"component {k}, {formatting.percent(share)} of the variance" for k, share in enumerate(found.shares, 1)
    )
    axes.set_xlabel(first, color=COLOURS["muted"], fontsize=SMALL, labelpad=4)
    axes.set_ylabel(second, color=COLOURS["muted"], fontsize=SMALL, labelpad=4)
    _see_all(axes, found.points)
    for number, kind in enumerate(kinds):
        x, y = found.points[found.labels == kind].T
        axes.scatter(x, y, s=10, linewidths=0, alpha=0.8, color=_hue(number), marker=_shape(number), zorder=2)
    if len(kinds) <= MOST_NAMED:
        _name(axes, found, alone, kinds, names)
    wide = (WIDTH - 2 * MARGIN - (ACROSS - 1) * GAP) / ACROSS
    for place, kind in enumerate(alone):
        left = MARGIN + place % ACROSS * (wide + GAP)
        top = bottom + MARGIN + below - place // ACROSS * (HEAD + SMALL_HEIGHT + GAP)
        small = _box(figure, left, top - HEAD - SMALL_HEIGHT, wide, SMALL_HEIGHT)
        _one_class(small, found, wrong, int(kind), _hue(int(np.searchsorted(kinds, kind))))
        head = formatting.shown(names[kind], LONGEST)
        small.set_title(head, fontsize=SMALL, color=COLOURS["ink"], loc="left", pad=4, parse_math=False)
    return figure


def _reading(there: int, shown: int, wrong: Flags) -> str:
    named = shown == there
    near = ", its name near its centre" if named else f"; names of {there:,} classes would cover it, so it has none"
    which = "each class" if named else f"each of the {shown} classes with the most images"
    return (
        f"Above: a colour and a shape for each class{near}. Below: {which} by itself before all others in grey; a ring "
        f"is one of the {formatting.plural(int(wrong.sum()), 'image')} named wrong."
    )


def _hue(number: int) -> str:
    return HUES[number % len(HUES)]


def _shape(number: int) -> str:
    return SHAPES[number // len(HUES) % len(SHAPES)]


def _box(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    axes = quiet_axes(figure, left, bottom, width, height)
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=True, color=COLOURS["line"], linewidth=0.8)
    return axes


def _one_class(axes: Axes, found: Embedding, wrong: Flags, kind: int, hue: str) -> None:
    every = np.unique(np.linspace(0, len(found.points) - 1, min(BACKGROUND, len(found.points))).round().astype(int))
    own = found.labels == kind
    _see_all(axes, found.points)
    x, y = found.points.T
    axes.scatter(x[every], y[every], s=4, linewidths=0, color=COLOURS["line"], zorder=1)
    axes.scatter(x[own & ~wrong], y[own & ~wrong], s=6, linewidths=0, color=hue, zorder=2)
    rings = {"facecolors": "none", "edgecolors": COLOURS["ink"]}
    axes.scatter(x[own & wrong], y[own & wrong], s=10, linewidths=0.6, zorder=3, **rings)  # type: ignore[arg-type]


def _see_all(axes: Axes, points: npt.NDArray[np.float64]) -> None:
    """Limits that hold all points. Each direction has its own scale, or most of the second would be lost."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.where(high > low, 0.03 * (high - low), 1.0)
    axes.set_xlim(float(low[0] - room[0]), float(high[0] + room[0]))
    axes.set_ylim(float(low[1] - room[1]), float(high[1] + room[1]))


def _name(axes: Axes, found: Embedding, named: Places, kinds: Places, names: Sequence[str]) -> None:
    """Names at the centres of the classes, moved up or down until none covers another."""
    centres = np.stack([np.median(found.points[found.labels == kind], axis=0) for kind in named])
    at = axes.transData.transform(centres)
    bottom, top = axes.bbox.y0 + BETWEEN_NAMES / 2, axes.bbox.y1 - BETWEEN_NAMES / 2
    heights = spread([float(y) for y in at[:, 1]], BETWEEN_NAMES, bottom, top)
    for kind, centre, (_, y), height in zip(named, centres, at, heights, strict=True):
        text = axes.annotate(
            formatting.shown(names[kind], LONGEST),
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
