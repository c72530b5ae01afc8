"""Figures of classification errors: confusion matrix, reliability diagram, gallery, map of features."""

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

from cnnlab.interpret.mistakes.result import Calibration, EmbeddingPoints, ImagePrediction, Mistakes, PCAEmbedding
from cnnlab.render.confusion_matrix import MAX_CLASSES_WITH_COUNTS, MAX_CLASSES_WITH_NAMES, confusion_figure
from cnnlab.render.formatting import format_percent, format_probability, pluralize, shorten
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

Indices = npt.NDArray[np.int64]

# The gallery and the reliability diagram.
NUM_COLUMNS = 6
SIDE, HISTOGRAM, GUTTER, LEFT = 280.0, 56.0, 70.0, 62.0
# The map.
WIDTH, HEIGHT, MARGIN = 680.0, 440.0, 14.0
# Room for the axis labels of the large map.
AXIS = 22.0
CLASS_COLUMNS, SMALL_HEIGHT, HEAD, GAP = 5, 92.0, 20.0, 10.0
# Visible on white and on black; further classes repeat them with another shape.
HUES = ("#1f8fd6", "#e0701a", "#12a57f", "#a066cc", "#b8952b", "#d64f8a", "#6f8a1f", "#8a8f98")
SHAPES = ("o", "^", "s", "D", "v", "P", "X")
# Names of more classes would cover the points, or be far from them.
MAX_NAMED = 20
MAX_NAME_LENGTH = 18
NAME_SPACING = 14.0
# Points of other classes in the background of a small map.
MAX_BACKGROUND_POINTS = 300


def mistakes_figures(
    result: Mistakes, headline: str, embedding_caption: str, *, equal_mass: bool
) -> dict[str, CaptionedFigure]:
    """The figures that the result has the data for, the confusion matrix first."""
    figures = {"confusion": _confusion(result, headline)}
    if result.pixels and (result.confident_errors or result.uncertain_correct):
        figures["gallery"] = _gallery(result)
    if result.calibration is not None:
        figures["reliability"] = _reliability(result, result.calibration, equal_mass)
    if result.embedding is not None and result.embedding.points is not None:
        title = f"Features of {_title_suffix(result)}"
        figure = embedding_figure(result.embedding, result.classes, title, [embedding_caption])
        figures["map"] = CaptionedFigure(figure, embedding_caption)
    return figures


def embedding_figure(embedding: PCAEmbedding, names: Sequence[str], title: str, notes: Sequence[str]) -> Figure:
    """All images as points, coloured by class; below, a small map for each class, with its errors as rings.

    Args:
        embedding: with its points.
        names: of all classes.
    """
    points = embedding.points
    assert points is not None
    kinds, counts = np.unique(points.labels, return_counts=True)
    shown = kinds[np.sort(np.argsort(-counts, kind="stable")[:MAX_NAMED])]
    below = ceil(len(shown) / CLASS_COLUMNS) * (HEAD + SMALL_HEIGHT + GAP)
    lines = [*notes, _reading(len(kinds), len(shown), int(points.is_error.sum()))]
    figure, bottom = new_captioned_figure(WIDTH, HEIGHT + AXIS + below + 2 * MARGIN, title, lines)
    axes = _box(figure, MARGIN + AXIS, bottom + MARGIN + below + AXIS, WIDTH - 2 * MARGIN - AXIS, HEIGHT)
    first, second = (
        f"component {k}, {format_percent(share)} of the variance"
        for k, share in enumerate(embedding.explained_variance, 1)
    )
    axes.set_xlabel(first, color=COLOURS["muted"], fontsize=SMALL, labelpad=4)
    axes.set_ylabel(second, color=COLOURS["muted"], fontsize=SMALL, labelpad=4)
    _set_limits(axes, points.points)
    for number, kind in enumerate(kinds):
        x, y = points.points[points.labels == kind].T
        axes.scatter(x, y, s=10, linewidths=0, alpha=0.8, color=_hue(number), marker=_shape(number), zorder=2)
    if len(kinds) <= MAX_NAMED:
        _label_classes(axes, points, shown, kinds, names)
    width = (WIDTH - 2 * MARGIN - (CLASS_COLUMNS - 1) * GAP) / CLASS_COLUMNS
    for position, kind in enumerate(shown):
        left = MARGIN + position % CLASS_COLUMNS * (width + GAP)
        top = bottom + MARGIN + below - position // CLASS_COLUMNS * (HEAD + SMALL_HEIGHT + GAP)
        small = _box(figure, left, top - HEAD - SMALL_HEIGHT, width, SMALL_HEIGHT)
        _draw_class(small, points, int(kind), _hue(int(np.searchsorted(kinds, kind))))
        name = shorten(names[kind], MAX_NAME_LENGTH)
        small.set_title(name, fontsize=SMALL, color=COLOURS["ink"], loc="left", pad=4, parse_math=False)
    return figure


def _reading(num_classes: int, num_shown: int, num_errors: int) -> str:
    every = num_shown == num_classes
    names = "with its name near the centre" if every else f"without names ({num_classes:,} classes)"
    which = "each class" if every else f"the {num_shown} classes with the most images"
    return (
        f"Above: a colour and a shape for each class, {names}. Below: {which} in front of the others in grey; rings: "
        f"{pluralize(num_errors, 'misclassified image')}."
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


def _draw_class(axes: Axes, points: EmbeddingPoints, kind: int, hue: str) -> None:
    count = len(points.points)
    background = np.unique(np.linspace(0, count - 1, min(MAX_BACKGROUND_POINTS, count)).round().astype(int))
    own = points.labels == kind
    _set_limits(axes, points.points)
    x, y = points.points.T
    correct, errors = own & ~points.is_error, own & points.is_error
    axes.scatter(x[background], y[background], s=4, linewidths=0, color=COLOURS["line"], zorder=1)
    axes.scatter(x[correct], y[correct], s=6, linewidths=0, color=hue, zorder=2)
    rings = {"facecolors": "none", "edgecolors": COLOURS["ink"]}
    axes.scatter(x[errors], y[errors], s=10, linewidths=0.6, zorder=3, **rings)  # type: ignore[arg-type]


def _set_limits(axes: Axes, points: npt.NDArray[np.float64]) -> None:
    """Set limits that hold all points. Each axis has its own scale, since the second component varies less."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.where(high > low, 0.03 * (high - low), 1.0)
    axes.set_xlim(float(low[0] - room[0]), float(high[0] + room[0]))
    axes.set_ylim(float(low[1] - room[1]), float(high[1] + room[1]))


def _label_classes(
    axes: Axes, points: EmbeddingPoints, class_indices: Indices, kinds: Indices, names: Sequence[str]
) -> None:
    """Write the names at the medians of the classes, moved up or down until none covers another."""
    centres = np.stack([np.median(points.points[points.labels == kind], axis=0) for kind in class_indices])
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


def _title_suffix(result: Mistakes) -> str:
    return f"the {result.split} split, {shorten(result.run, 40)}"


def _confusion(result: Mistakes, headline: str) -> CaptionedFigure:
    size = len(result.classes)
    reading = "Rows: true classes; columns: predicted classes. Colour: share of the row"
    reading += "; numbers: images." if size <= MAX_CLASSES_WITH_COUNTS else "."
    if size > MAX_CLASSES_WITH_NAMES:
        reading += " The numbers at the edges are class indices."
    notes = [headline, reading]
    title = f"Confusion, {_title_suffix(result)}"
    return CaptionedFigure(
        confusion_figure(np.array(result.confusion), result.classes, title, notes),
        " ".join(["Confusion matrix.", *notes]),
    )


def _gallery(result: Mistakes) -> CaptionedFigure:
    rows = []
    if result.confident_errors:
        which = "Most confident errors"
        if result.pair is not None:
            which += f", {shorten(result.pair[0], 24)} predicted as {shorten(result.pair[1], 24)}"
        elif result.per_pair:
            which += f", at most {result.per_pair} of each pair"
        heading = f"{which}: {len(result.confident_errors)} of {result.num_candidates:,}"
        rows.append([_panel(result, heading, result.confident_errors)])
    if result.uncertain_correct:
        rows.append([_panel(result, "Least confident correct predictions", result.uncertain_correct)])
    reading = "Below each image: its index, its class, and the predicted class with its probability."
    return CaptionedFigure(draw_gallery(f"Mistakes, {_title_suffix(result)}", rows, [reading]), reading)


def _panel(result: Mistakes, heading: str, predictions: Sequence[ImagePrediction]) -> GalleryPanel:
    return GalleryPanel(heading, tuple(_tile(result, prediction) for prediction in predictions), NUM_COLUMNS)


def _tile(result: Mistakes, prediction: ImagePrediction) -> Tile:
    pixels = to_hwc(result.pixels[int(prediction.image.rpartition(":")[2])])
    name = "correct" if prediction.true == prediction.predicted else shorten(prediction.predicted, 10)
    text = f"→ {name} {format_probability(prediction.probability)}"
    return Tile(pixels, (prediction.image, shorten(prediction.true, 19), text))


def _reliability(result: Mistakes, calibration: Calibration, equal_mass: bool) -> CaptionedFigure:
    """A diagram of the network's probabilities, and one with temperature scaling, where there is a temperature."""
    sides = [("unscaled", calibration.before)]
    if calibration.after is not None:
        sides.append((f"temperature {calibration.after.temperature.value:.2f}", calibration.after.sureness))
    kind = "equally many images in each" if equal_mass else "of equal width"
    reading = (
        f"Accuracy against the mean probability, in bins ({kind}); on the diagonal both are equal. Grey boxes: 95 % of "
        "the accuracies of a calibrated network. Below: the distribution of the probabilities."
    )
    # One diagram has the room of two, so that title and notes are not squeezed.
    width = LEFT + 2 * SIDE + GUTTER + 16
    title = f"Reliability, {_title_suffix(result)}"
    figure, bottom = new_captioned_figure(width, SIDE + HISTOGRAM + 100, title, [reading])
    for number, (name, metrics) in enumerate(sides):
        left = LEFT + number * (SIDE + GUTTER)
        bins = (metrics.mass if equal_mass else metrics.width).bins
        _diagram(figure, left, bottom, name, metrics, bins)
        _histogram(figure, left, bottom, bins, as_density=equal_mass)
    return CaptionedFigure(figure, f"Reliability diagram. {reading}")


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
    axes.set_ylabel("accuracy", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)


def _histogram(
    figure: Figure, left: float, bottom: float, bins: tuple[CalibrationBin, ...], *, as_density: bool
) -> None:
    """The distribution of the probabilities; a density for bins of equal mass, which differ in width only."""
    below = minimal_axes(figure, left, bottom + 40, SIDE, HISTOGRAM)
    total = sum(each.images for each in bins)
    for each in bins:
        wide = max(each.high - each.low, 1e-3)
        height = each.images / total / wide if as_density else each.images
        below.bar(each.low, height, wide, align="edge", color=COLOURS["train"], alpha=0.55)
    _unit_limits(below)
    below.yaxis.set_major_locator(MaxNLocator(2, integer=not as_density))
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    below.set_ylabel("density" if as_density else "images", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)
    below.set_xlabel("probability of the predicted class", color=COLOURS["muted"], fontsize=SMALL, labelpad=6)


def _unit_limits(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
