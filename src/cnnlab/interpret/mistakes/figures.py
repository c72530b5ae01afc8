"""Figures of a network's mistakes: confusion matrix, reliability diagram, gallery, map of features."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cnnlab.interpret.mistakes.embedding import PCAEmbedding
from cnnlab.interpret.mistakes.result import Calibration, ImagePrediction, Mistakes
from cnnlab.interpret.mistakes.view import (
    accuracy_sentence,
    calibration_sentence,
    format_probability,
    gallery_sentence,
    map_sentence,
    pairs_sentence,
    temperature_sentence,
)
from cnnlab.render.confusion_matrix import MAX_CLASSES_WITH_COUNTS, MAX_CLASSES_WITH_NAMES, confusion_figure
from cnnlab.render.formatting import format_percent, pluralize, shorten
from cnnlab.render.gallery import GalleryPanel, Tile, draw_gallery, to_hwc
from cnnlab.render.plots import (
    COLOURS,
    NORMAL,
    SMALL,
    CaptionedFigure,
    minimal_axes,
    new_captioned_figure,
    spread_positions,
)
from cnnlab.stats.calibration import CalibrationBin, CalibrationMetrics

Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

WIDTH, HEIGHT, MARGIN = 680.0, 440.0, 14.0
# Below and beside the large map stands which component it is.
AXIS = 22.0
CLASS_COLUMNS, SMALL_HEIGHT, HEAD, GAP = 5, 92.0, 20.0, 10.0
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
    below = ceil(len(alone) / CLASS_COLUMNS) * (HEAD + SMALL_HEIGHT + GAP)
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
    width = (WIDTH - 2 * MARGIN - (CLASS_COLUMNS - 1) * GAP) / CLASS_COLUMNS
    for place, kind in enumerate(alone):
        left = MARGIN + place % CLASS_COLUMNS * (width + GAP)
        top = bottom + MARGIN + below - place // CLASS_COLUMNS * (HEAD + SMALL_HEIGHT + GAP)
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


NUM_COLUMNS = 6
SIDE, HISTOGRAM, GUTTER, LEFT = 280.0, 56.0, 70.0, 62.0


def mistakes_figures(result: Mistakes, *, equal_mass: bool = False) -> dict[str, CaptionedFigure]:
    """Every picture that there is, the confusion matrix first."""
    figures = {"confusion": _confusion(result)}
    if result.images and (result.confident_errors or result.uncertain_correct):
        figures["gallery"] = _gallery(result)
    if result.calibration is not None:
        figures["reliability"] = _reliability(result, result.calibration, equal_mass)
    if result.embedding is not None:
        notes = _map_notes(result)
        wrong = result.predicted[result.embedding.image_indices] != result.embedding.labels
        figure = embedding_figure(
            result.embedding, wrong, result.classes, f"Features of {_title_suffix(result)}", notes
        )
        figures["map"] = CaptionedFigure(figure, " ".join(notes))
    return figures


def _title_suffix(result: Mistakes) -> str:
    return f"the {result.split} part, {shorten(result.run, 40)}"


def _confusion(result: Mistakes) -> CaptionedFigure:
    size = len(result.classes)
    notes = [accuracy_sentence(result), pairs_sentence(result) or "There are no confused pairs."]
    reading = "Rows: true classes; columns: what they were taken for. The deeper the colour, the larger the share of "
    reading += "its row; the numbers are images." if size <= MAX_CLASSES_WITH_COUNTS else "its row."
    if size > MAX_CLASSES_WITH_NAMES:
        reading += " The numbers at the edges are those of classes, from 0."
    figure = confusion_figure(
        result.confusion, result.classes, f"Confusion, {_title_suffix(result)}", [*notes, reading]
    )
    return CaptionedFigure(figure, " ".join(["Confusion matrix.", *notes, reading]))


def _gallery(result: Mistakes) -> CaptionedFigure:
    rows = []
    if result.confident_errors:
        which = "The surest mistakes"
        if result.pair is not None:
            which = f"{shorten(result.pair[0], 24)} taken for {shorten(result.pair[1], 24)}, the surest"
        balanced = f", at most {result.per_pair} of each pair" if result.per_pair and result.pair is None else ""
        heading = f"{which}{balanced}: {len(result.confident_errors)} of {result.num_pair_mistakes:,}"
        rows.append(
            [GalleryPanel(heading, tuple(_tile(result, case) for case in result.confident_errors), NUM_COLUMNS)]
        )
    if result.uncertain_correct:
        heading = "Right, with the least probability"
        rows.append(
            [GalleryPanel(heading, tuple(_tile(result, case) for case in result.uncertain_correct), NUM_COLUMNS)]
        )
    reading = "Below each picture: its number, its class, → what it was taken for and with which probability."
    notes = [*filter(None, (gallery_sentence(result),)), reading]
    return CaptionedFigure(draw_gallery(f"Mistakes, {_title_suffix(result)}", rows, notes), " ".join(notes))


def _tile(result: Mistakes, case: ImagePrediction) -> Tile:
    pixels = to_hwc(result.images[int(case.image.rpartition(":")[2])])
    named = "right" if case.true == case.predicted else shorten(case.predicted, 10)
    return Tile(pixels, (case.image, shorten(case.true, 19), f"→ {named} {format_probability(case.probability)}"))


def _reliability(result: Mistakes, calibration: Calibration, equal_mass: bool) -> CaptionedFigure:
    """One diagram as it is, and one with the temperature, where there is one."""
    sides = [("as it is", calibration.before)]
    if calibration.after is not None:
        sides.append((f"with a temperature of {calibration.after.temperature.value:.2f}", calibration.after.sureness))
    kind = "as many images in each bin" if equal_mass else "bins of equal width"
    reading = (
        f"Each point is a bin ({kind}): the share named right against the mean probability. On the diagonal both are "
        "equal; in the grey boxes lie 95 % of the shares of a calibrated network. Below: how many images have which "
        "probability."
    )
    notes = [calibration_sentence(calibration), temperature_sentence(result), reading]
    # One diagram has the room of two, so that title and notes are not squeezed.
    width = LEFT + 2 * SIDE + GUTTER + 16
    figure, bottom = new_captioned_figure(width, SIDE + HISTOGRAM + 100, f"Reliability, {_title_suffix(result)}", notes)
    for number, (name, metrics) in enumerate(sides):
        left = LEFT + number * (SIDE + GUTTER)
        _diagram(figure, left, bottom, name, metrics, (metrics.mass if equal_mass else metrics.width).bins)
        _histogram(figure, left, bottom, (metrics.mass if equal_mass else metrics.width).bins, as_density=equal_mass)
    return CaptionedFigure(figure, " ".join(["Reliability diagram.", *notes]))


def _diagram(
    figure: Figure, left: float, bottom: float, name: str, metrics: CalibrationMetrics, bins: tuple[CalibrationBin, ...]
) -> None:
    axes = minimal_axes(figure, left, bottom + 40 + HISTOGRAM + 14, SIDE, SIDE)
    for each in bins:
        low, high = each.band
        box = Rectangle((each.low, low), each.high - each.low, high - low, color=COLOURS["line"], linewidth=0, zorder=1)
        axes.add_patch(box)
    axes.plot([0, 1], [0, 1], color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 2.5)), zorder=2)
    means, shares = [each.confidence for each in bins], [each.accuracy for each in bins]
    axes.plot(means, shares, color=COLOURS["train"], linewidth=1.6, marker="o", markersize=5, clip_on=False, zorder=3)
    _unit_limits(axes)
    axes.set_ylim(0, 1)
    axes.tick_params(axis="x", labelbottom=False)
    errors = f"ECE {metrics.width.value:.3f} (equal width), {metrics.mass.value:.3f} (equal mass)"
    for text, size, colour, weight, up in ((name, NORMAL, "ink", "bold", 26), (errors, SMALL, "muted", "normal", 10)):
        style = {"fontsize": size, "color": COLOURS[colour], "weight": weight}
        axes.text(0, 1 + up / SIDE, text, style, transform=axes.transAxes)
    axes.set_ylabel("share named right", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)


def _histogram(
    figure: Figure, left: float, bottom: float, bins: tuple[CalibrationBin, ...], *, as_density: bool
) -> None:
    """How many images have which probability. Bins of equal mass differ in width alone: theirs is a density."""
    below = minimal_axes(figure, left, bottom + 40, SIDE, HISTOGRAM)
    everything = sum(each.images for each in bins)
    for each in bins:
        wide = max(each.high - each.low, 1e-3)
        height = each.images / everything / wide if as_density else each.images
        below.bar(each.low, height, wide, align="edge", color=COLOURS["train"], alpha=0.55)
    _unit_limits(below)
    below.yaxis.set_major_locator(MaxNLocator(2, integer=not as_density))
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    below.set_ylabel("density" if as_density else "images", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)
    below.set_xlabel("probability of the named class", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)


def _unit_limits(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])


def _map_notes(result: Mistakes) -> list[str]:
    return [map_sentence(result.embedding)] if result.embedding is not None else []
