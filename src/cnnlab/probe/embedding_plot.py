"""Images on a plane of their features: a colour and a shape for each class, a ring for each mistake."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from cnnlab.paper import words
from cnnlab.paper.plots import COLOURS, SMALL, captioned, quiet_axes, spread
from cnnlab.probe.embedding import Embedding

Flags = npt.NDArray[np.bool_]

WIDTH, HEIGHT, MARGIN = 640.0, 480.0, 16.0
# Each is seen on white and on black; beyond so many classes they come again with another shape.
HUES = ("#1f8fd6", "#e0701a", "#12a57f", "#a066cc", "#b8952b", "#d64f8a", "#6f8a1f", "#8a8f98")
SHAPES = ("o", "^", "s", "D", "v", "P", "X")
MOST_NAMED = 24
LONGEST = 20
GAP = 14.0


def embedding_figure(found: Embedding, wrong: Flags, names: Sequence[str], title: str, notes: Sequence[str]) -> Figure:
    """Every image as a point of its class; those named wrong have a ring; classes are named at their centres.

    Args:
        wrong: which of the images were named wrong, N.
        names: of all classes.
    """
    kinds, counts = np.unique(found.labels, return_counts=True)
    named = kinds[np.sort(np.argsort(-counts, kind="stable")[:MOST_NAMED])]
    lines = [*notes, _reading(len(kinds), len(named), int(wrong.sum()))]
    figure, bottom = captioned(WIDTH, HEIGHT + 2 * MARGIN, title, lines)
    axes = quiet_axes(figure, MARGIN, bottom + MARGIN, WIDTH - 2 * MARGIN, HEIGHT)
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=True, color=COLOURS["line"], linewidth=0.8)
    for number, kind in enumerate(kinds):
        own = found.labels == kind
        x, y = found.points[own].T
        style = {"color": HUES[number % len(HUES)], "marker": SHAPES[number // len(HUES) % len(SHAPES)]}
        axes.scatter(x, y, s=9, linewidths=0, alpha=0.75, zorder=2, **style)
    x, y = found.points[wrong].T
    axes.scatter(x, y, s=26, facecolors="none", edgecolors=COLOURS["ink"], linewidths=0.5, alpha=0.6, zorder=3)
    axes.set_aspect("equal", adjustable="datalim")
    _name(axes, found, named, names)
    return figure


def _reading(there: int, named: int, wrong: int) -> str:
    said = f"A colour and a shape for each class; its name stands near its centre. {words.plural(wrong, 'image')} "
    said += "named wrong: ringed."
    return said if named == there else f"{said} The {named} classes with the most images are named."


def _name(axes: Axes, found: Embedding, kinds: npt.NDArray[np.int64], names: Sequence[str]) -> None:
    """Names at the centres of the classes, moved up or down until none covers another."""
    axes.apply_aspect()
    centres = np.stack([np.median(found.points[found.labels == kind], axis=0) for kind in kinds])
    at = axes.transData.transform(centres)
    bottom, top = axes.bbox.y0 + GAP / 2, axes.bbox.y1 - GAP / 2
    heights = spread([float(y) for y in at[:, 1]], GAP, bottom, top)
    everyone = np.unique(found.labels).tolist()
    for kind, centre, (_, y), height in zip(kinds.tolist(), centres, at, heights, strict=True):
        text = axes.annotate(
            words.shown(names[kind], LONGEST),
            centre,
            xytext=(0, height - float(y)),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=SMALL,
            color=HUES[everyone.index(kind) % len(HUES)],
            weight="bold",
            zorder=5,
            annotation_clip=False,
            parse_math=False,
        )
        text.set_path_effects([withStroke(linewidth=3, foreground=COLOURS["paper"])])
