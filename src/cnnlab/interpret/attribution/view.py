"""Attribution maps as tables. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnnlab.interpret.attribution.result import WEAK_CORRELATION, Attributions, PerturbationCurve
from cnnlab.render.document import Document, TitledTable
from cnnlab.render.formatting import (
    format_correlation,
    format_count,
    format_fraction,
    format_percent,
    pluralize,
    shorten,
)
from cnnlab.render.result import document, figures
from cnnlab.render.tables import TextTable

if TYPE_CHECKING:
    from cnnlab.render.plots import CaptionedFigure

NOTES = (
    "Deletion and insertion: the area under the class's probability while the pixels are exchanged, the highest first; "
    "deletion, from the image to the baseline, should be small, insertion, from the baseline to the image, large "
    "(Petsiuk et al., 2018). Better: images on which it is better than every random order of the pixels.",
    "Randomized: rank correlation of |map| with that of the network with random weights; near 1 the map does not "
    "depend on the weights (Adebayo et al., 2018).",
)
MAPS_NOTES = (
    "Orange supports the class, blue opposes it; saliency has no sign, and Grad-CAM shows nothing below 0. Full "
    "colour from the map's 99th percentile on. The background is the image in pale grey.",
    "del, ins: areas under the curves of deletion (small is good) and insertion (large is good). randomized: rank "
    "correlation with the map of random weights; near 1 the map does not depend on the weights.",
)


@document.register
def _(result: Attributions) -> Document:
    tables: list[TitledTable] = [
        ("Images", _image_table(result)),
        (f"Checks of the methods over {pluralize(len(result.images), 'image')}", _check_table(result)),
        ("Maps", _map_table(result)),
    ]
    if any(each.completeness for image in result.images for each in image.maps):
        tables.append(("Completeness: the sum of integrated gradients", _completeness_table(result)))
    skipped = (f"No {name}: {reason}." for name, reason in result.skipped_methods)
    return Document(
        title=f"Attribution in {result.network}",
        lines=tuple(filter(None, (headline(result),))),
        tables=tuple(tables),
        notes=(settings_text(result), *NOTES, *skipped),
    )


@figures.register(Attributions)
def _(result: Attributions) -> dict[str, CaptionedFigure]:
    from cnnlab.interpret.attribution.figures import curves_figure, maps_figure
    from cnnlab.render.plots import CaptionedFigure

    notes = (*MAPS_NOTES, settings_text(result))
    return {
        "attribution": CaptionedFigure(maps_figure(result, notes), f"Attribution maps of images. {headline(result)}"),
        "curves": CaptionedFigure(curves_figure(result), "Curves of deletion and insertion, and of random orders."),
    }


def headline(result: Attributions) -> str:
    """The methods that fail the check by randomized weights; "" without this check."""
    correlations = {method: result.randomization_correlation(method) for method in result.methods}
    if all(value is None for value in correlations.values()):
        return ""
    weak = [method for method, value in correlations.items() if value is not None and value >= WEAK_CORRELATION]
    return (
        "Methods whose maps hardly depend on the weights (their correlation with randomized weights is "
        f"{WEAK_CORRELATION} or more): {', '.join(weak) or 'none'}."
    )


def settings_text(result: Attributions) -> str:
    """Baseline, occlusion's square and Grad-CAM's layer."""
    square = f"occlusion: a square of {result.window} pixels, moved by {result.stride}"
    layer = f"; grad-cam: the maps of {result.layer}, enlarged" if result.layer else ""
    return f"Baseline: {result.baseline}; {square}{layer}."


def _image_table(result: Attributions) -> TextTable:
    rows = [
        (
            shorten(image.name),
            shorten(f"{image.target} {image.class_name}"),
            format_percent(image.probability),
            shorten(image.predicted),
        )
        for image in result.images
    ]
    return TextTable.from_rows(["image", "class", "#probability", "predicted"], rows)


def _check_table(result: Attributions) -> TextTable:
    rows = [
        (
            method,
            str(result.better_than_random(method, "deletion")),
            str(result.better_than_random(method, "insertion")),
            format_correlation(result.randomization_correlation(method)),
        )
        for method in result.methods
    ]
    return TextTable.from_rows(["method", "#deletion better", "#insertion better", "#randomized"], rows)


def _map_table(result: Attributions) -> TextTable:
    rows: list[tuple[str, ...]] = []
    for image in result.images:
        rows += [
            (
                "" if number else shorten(image.name),
                each.method,
                format_fraction(each.deletion.auc),
                format_fraction(each.insertion.auc),
                format_correlation(each.mean_randomization_correlation),
            )
            for number, each in enumerate(image.maps)
        ]
        areas = (_mean_and_sd(image.random_deletion), _mean_and_sd(image.random_insertion))
        rows.append(("", "random orders", *areas, ""))
    return TextTable.from_rows(["image", "method", "#deletion", "#insertion", "#randomized"], rows)


def _completeness_table(result: Attributions) -> TextTable:
    rows = [
        (
            shorten(image.name),
            format_count(each.completeness.steps),
            *(f"{value:.4f}".replace("-", "−") for value in (each.completeness.total, each.completeness.rise)),
            format_percent(each.completeness.gap),
        )
        for image in result.images
        for each in image.maps
        if each.completeness is not None
    ]
    return TextTable.from_rows(["image", "#steps", "#sum", "#f(image) − f(baseline)", "#gap"], rows)


def _mean_and_sd(curves: Sequence[PerturbationCurve]) -> str:
    areas = [curve.auc for curve in curves]
    return f"{np.mean(areas):.4f} ± {np.std(areas, ddof=1):.4f}" if len(areas) > 1 else f"{areas[0]:.4f}"
