"""Figures of classification errors: confusion matrix, gallery, reliability diagram, map of features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.interpret.mistakes.result import Calibration, ImagePrediction, Mistakes, PCAEmbedding
from cnnlab.render.confusion_matrix import MAX_CLASSES_WITH_COUNTS, MAX_CLASSES_WITH_NAMES, confusion_figure
from cnnlab.render.formatting import format_percent, format_probability, pluralize, shorten
from cnnlab.render.gallery import GalleryPanel, Tile, draw_gallery, to_hwc
from cnnlab.render.plots import COLOURS, NORMAL, SMALL, CaptionedFigure, minimal_axes, new_captioned_figure
from cnnlab.stats.calibration import CalibrationBin, CalibrationMetrics

NUM_COLUMNS = 6
# The reliability diagram, in points.
SIDE, HISTOGRAM, GUTTER, LEFT, BELOW = 280.0, 56.0, 70.0, 62.0, 40.0
# The map, in points; the legend is on its right.
MAP_WIDTH, MAP_SIDE = 680.0, 460.0
# Visible on white and on black; further classes repeat them with another shape.
HUES = ("#1f8fd6", "#e0701a", "#12a57f", "#a066cc", "#b8952b", "#d64f8a", "#6f8a1f", "#8a8f98")
SHAPES = ("o", "^", "s", "D", "v", "P", "X")
# A longer legend would leave the figure.
MAX_NAMED = 24
MAX_NAME_LENGTH = 18


def mistakes_figures(
    result: Mistakes, headline: str, embedding_caption: str, *, equal_mass: bool
) -> dict[str, CaptionedFigure]:
    """The figures that the result has the data for, the confusion matrix first."""
    data = f"the {result.split} split, {shorten(result.run, 40)}"
    figures = {"confusion": _confusion(result, f"Confusion, {data}", headline)}
    if result.pixels and (result.confident_errors or result.uncertain_correct):
        figures["gallery"] = _gallery(result, f"Mistakes, {data}")
    if result.calibration is not None:
        figures["reliability"] = _reliability(result.calibration, f"Reliability, {data}", equal_mass)
    if result.embedding is not None and result.embedding.points is not None:
        figure = embedding_figure(result.embedding, result.classes, f"Features of {data}", embedding_caption)
        figures["map"] = CaptionedFigure(figure, embedding_caption)
    return figures


def embedding_figure(embedding: PCAEmbedding, names: Sequence[str], title: str, caption: str) -> Figure:
    """All images as points, coloured by class; errors have a ring.

    Args:
        embedding: with its points.
        names: of all classes.
    """
    points = embedding.points
    assert points is not None
    kinds = np.unique(points.labels)
    reading = f"{caption}. Rings: {pluralize(int(points.is_error.sum()), 'misclassified image')}."
    if len(kinds) > MAX_NAMED:
        reading += f" The first {MAX_NAMED} of {len(kinds):,} classes are named."
    figure, bottom = new_captioned_figure(MAP_WIDTH, MAP_SIDE + BELOW, title, [reading])
    axes = minimal_axes(figure, BELOW, bottom + BELOW, MAP_SIDE, MAP_SIDE)
    axes.grid(False)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=COLOURS["line"], linewidth=0.8)
    labels = [
        f"component {k}, {format_percent(share)} of the variance"
        for k, share in enumerate(embedding.explained_variance, 1)
    ]
    axes.set_xlabel(labels[0], color=COLOURS["muted"], fontsize=SMALL)
    axes.set_ylabel(labels[1], color=COLOURS["muted"], fontsize=SMALL)
    handles = []
    for number, kind in enumerate(kinds):
        x, y = points.points[points.labels == kind].T
        hue, shape = HUES[number % len(HUES)], SHAPES[number // len(HUES) % len(SHAPES)]
        handles.append(axes.scatter(x, y, s=10, linewidths=0, alpha=0.8, color=hue, marker=shape))
    x, y = points.points[points.is_error].T
    axes.scatter(x, y, s=26, linewidths=0.7, facecolors="none", edgecolors=COLOURS["ink"])
    legend = axes.legend(
        handles[:MAX_NAMED],
        [shorten(names[kind], MAX_NAME_LENGTH) for kind in kinds[:MAX_NAMED]],
        loc="upper left",
        bbox_to_anchor=(1, 1),
        frameon=False,
        fontsize=SMALL,
        labelcolor=COLOURS["ink"],
        markerscale=1.5,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _confusion(result: Mistakes, title: str, headline: str) -> CaptionedFigure:
    size = len(result.classes)
    reading = "Rows: true classes; columns: predicted classes. Colour: share of the row"
    reading += "; numbers: images." if size <= MAX_CLASSES_WITH_COUNTS else "."
    if size > MAX_CLASSES_WITH_NAMES:
        reading += " The numbers at the edges are class indices."
    figure = confusion_figure(np.array(result.confusion), result.classes, title, [headline, reading])
    return CaptionedFigure(figure, f"Confusion matrix. {headline} {reading}")


def _gallery(result: Mistakes, title: str) -> CaptionedFigure:
    heading = f"Most confident errors: {len(result.confident_errors)} of {result.num_candidates:,}"
    panels = [(heading, result.confident_errors), ("Least confident correct predictions", result.uncertain_correct)]
    rows = [
        [GalleryPanel(heading, tuple(_tile(result, each) for each in predictions), NUM_COLUMNS)]
        for heading, predictions in panels
        if predictions
    ]
    reading = "Below each image: its index, its class, and the predicted class with its probability."
    return CaptionedFigure(draw_gallery(title, rows, [reading]), reading)


def _tile(result: Mistakes, prediction: ImagePrediction) -> Tile:
    pixels = to_hwc(result.pixels[int(prediction.image.rpartition(":")[2])])
    name = "correct" if prediction.true == prediction.predicted else shorten(prediction.predicted, 10)
    text = f"→ {name} {format_probability(prediction.probability)}"
    return Tile(pixels, (prediction.image, shorten(prediction.true, 19), text))


def _reliability(calibration: Calibration, title: str, equal_mass: bool) -> CaptionedFigure:
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
    figure, bottom = new_captioned_figure(LEFT + 2 * SIDE + GUTTER + 16, SIDE + HISTOGRAM + 100, title, [reading])
    for number, (name, metrics) in enumerate(sides):
        left = LEFT + number * (SIDE + GUTTER)
        bins = (metrics.mass if equal_mass else metrics.width).bins
        _draw_diagram(minimal_axes(figure, left, bottom + BELOW + HISTOGRAM + 14, SIDE, SIDE), name, metrics, bins)
        _draw_histogram(minimal_axes(figure, left, bottom + BELOW, SIDE, HISTOGRAM), bins, as_density=equal_mass)
    return CaptionedFigure(figure, f"Reliability diagram. {reading}")


def _draw_diagram(axes: Axes, name: str, metrics: CalibrationMetrics, bins: Sequence[CalibrationBin]) -> None:
    low, high, band_low, band_high = np.array([(each.low, each.high, *each.band) for each in bins]).T
    axes.bar(low, band_high - band_low, high - low, bottom=band_low, align="edge", color=COLOURS["line"])
    axes.plot([0, 1], [0, 1], "--", color=COLOURS["muted"], linewidth=1)
    confidences, accuracies = [each.confidence for each in bins], [each.accuracy for each in bins]
    axes.plot(confidences, accuracies, "o-", color=COLOURS["train"], linewidth=1.6, markersize=5, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.tick_params(axis="x", labelbottom=False)
    errors = f"ECE {metrics.width.value:.3f} (equal width), {metrics.mass.value:.3f} (equal mass)"
    axes.set_title(f"{name}\n{errors}", fontsize=NORMAL, color=COLOURS["ink"], loc="left")
    axes.set_ylabel("accuracy", color=COLOURS["muted"], fontsize=SMALL)


def _draw_histogram(axes: Axes, bins: Sequence[CalibrationBin], *, as_density: bool) -> None:
    """The distribution of the probabilities; a density for bins of equal mass, which differ in width only."""
    low, high, images = np.array([(each.low, each.high, each.images) for each in bins]).T
    widths = np.maximum(high - low, 1e-3)
    heights = images / images.sum() / widths if as_density else images
    axes.bar(low, heights, widths, align="edge", color=COLOURS["train"], alpha=0.55)
    axes.set_xlim(0, 1)
    axes.locator_params(axis="y", nbins=2)
    axes.set_ylabel("density" if as_density else "images", color=COLOURS["muted"], fontsize=SMALL)
    axes.set_xlabel("probability of the predicted class", color=COLOURS["muted"], fontsize=SMALL)
