"""Attribution maps in tables and sentences. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isfinite
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnlab.interpret.attribution.result import COMPLETENESS_TOLERANCE, TITLES, format_correlation
from cnnlab.render.document import TitledTable
from cnnlab.render.formatting import format_count, format_fraction, format_percent, pluralize, shorten
from cnnlab.render.tables import TextTable

if TYPE_CHECKING:
    from cnnlab.interpret.attribution.result import AttributionMap, Attributions, ImageAttributions, PerturbationCurve


def tables(result: Attributions) -> tuple[TitledTable, ...]:
    """The images with their classes, every map's figures, and the sums of integrated gradients."""
    found = [("Images", _image_table(result)), ("Methods", _method_table(result))]
    sums = _sums_table(result)
    return (*found, ("What integrated gradients add up to", sums)) if sums.rows else tuple(found)


def attribution_dict(result: Attributions) -> dict[str, Any]:
    """All numbers by name, but the maps themselves; None for what is not a number."""
    return {
        "network": result.network,
        "baseline": result.baseline,
        "window": result.window,
        "stride": result.stride,
        "layer": result.layer or None,
        "left_out": dict(result.skipped_methods),
        "findings": result.findings(),
        "agreement": [{"methods": [one, other], "correlation": value} for one, other, value in result.agreement],
        "images": [_image_dict(image) for image in result.images],
    }


def _image_table(result: Attributions) -> TextTable:
    rows = [
        (
            shorten(image.name),
            # Where nobody knows the names, the number is the name.
            shorten(" ".join(dict.fromkeys((str(image.target), image.class_name)))),
            format_percent(image.probability),
            shorten(image.predicted),
        )
        for image in result.images
    ]
    return TextTable.from_rows(["image", "class", "#probability", "predicted"], rows)


def _method_table(result: Attributions) -> TextTable:
    titles = ["image", "method", "#deletion", "#insertion", "#redrawn", "#half on", "#centre"]
    rows: list[tuple[str, ...]] = []
    for image in result.images:
        rows += [
            (
                "" if number else shorten(image.name),
                found.title,
                format_fraction(found.deletion.auc),
                format_fraction(found.insertion.auc),
                format_correlation(found.mean_randomization_correlation),
                format_percent(found.half_mass_area),
                format_percent(found.central_mass),
            )
            for number, found in enumerate(image.maps)
        ]
        areas = (_mean_and_sd_text(image.random_deletion), _mean_and_sd_text(image.random_insertion))
        rows.append(("", "random orders", *areas, "", "", format_percent(image.central_area)))
    return TextTable.from_rows(titles, rows)


def _sums_table(result: Attributions) -> TextTable:
    rows = [
        (
            shorten(image.name),
            format_count(sums.steps),
            f"{sums.total:.4f}".replace("-", "−"),
            f"{sums.rise:.4f}".replace("-", "−"),
            format_percent(sums.gap),
        )
        for image in result.images
        for found in image.maps
        if (sums := found.completeness) is not None
    ]
    return TextTable.from_rows(["image", "#steps", "#sum", "#f(image) − f(baseline)", "#gap"], rows)


def _image_dict(image: ImageAttributions) -> dict[str, Any]:
    return {
        "image": image.name,
        "class": {"number": image.target, "name": image.class_name, "probability": image.probability},
        "predicted": image.predicted,
        "random": {
            "deletion": [curve.auc for curve in image.random_deletion],
            "insertion": [curve.auc for curve in image.random_insertion],
        },
        "methods": {found.method: _map_dict(found) for found in image.maps},
    }


def _map_dict(attribution: AttributionMap) -> dict[str, Any]:
    row, column = np.unravel_index(int(attribution.heatmap.argmax()), attribution.heatmap.shape)
    sums = attribution.completeness
    return {
        "deletion": {"area": attribution.deletion.auc, "curve": attribution.deletion.values.tolist()},
        "insertion": {"area": attribution.insertion.auc, "curve": attribution.insertion.values.tolist()},
        "redrawn": list(attribution.randomization_correlations),
        "half_on": _finite_or_none(attribution.half_mass_area),
        "centre": _finite_or_none(attribution.central_mass),
        "highest": {"row": int(row), "column": int(column), "value": float(attribution.heatmap.max())},
        **({"completeness": {**vars(sums), "gap": _finite_or_none(sums.gap)}} if sums else {}),
    }


def _finite_or_none(value: float) -> float | None:
    return value if isfinite(value) else None


def _mean_and_sd_text(curves: Iterable[PerturbationCurve]) -> str:
    """The mean of the areas and their standard deviation."""
    areas = [curve.auc for curve in curves]
    deviation = float(np.std(areas, ddof=1)) if len(areas) > 1 else float("nan")
    return f"{fmean(areas):.4f} ± {format_fraction(deviation)}"


# From this correlation on a map hardly changes when the weights are drawn anew.
WEAK_CORRELATION = 0.7
QUADRANTS = ("upper left", "upper right", "lower left", "lower right")
NOTES = (
    "Deletion and insertion: the area under the class's probability while the pixels are exchanged, the highest first: "
    "deletion makes the image the baseline, where less is better; insertion makes the baseline the image, where more "
    "is better (Petsiuk et al., 2018).",
    "Redrawn: rank correlation of |map| with that of the same network with weights drawn anew; near 1, the map depends "
    "on the image alone (Adebayo et al., 2018). Half on: the smallest share of the pixels that holds half of |map|. "
    "Centre: the share of |map| in the middle half of the rows and columns; of random orders, of the pixels.",
)


def findings(result: Attributions) -> tuple[str, ...]:
    """A sentence each on the place, the order, the weights, the agreement, and the sum."""
    return tuple(
        filter(
            None,
            (
                _location_text(result),
                _perturbation_text(result),
                _randomization_text(result),
                _agreement_text(result),
                _sums_sentence(result),
            ),
        )
    )


def dominant_quadrant(attribution: AttributionMap) -> tuple[str, float]:
    """The quarter of the image with the most of the mass, and its share."""
    height, width = attribution.heatmap.shape
    parts = [
        half
        for rows in np.split(attribution.normalized_magnitude, [height // 2])
        for half in np.split(rows, [width // 2], axis=1)
    ]
    shares = [float(part.sum()) for part in parts]
    most = int(np.argmax(shares))
    return QUADRANTS[most], shares[most]


def _location_text(result: Attributions) -> str:
    if len(result.images) == 1:
        image = result.images[0]
        texts = [
            f"{map_.title}: {format_percent(share)} in the {name} quarter"
            for map_ in image.maps
            if map_.heatmap.any()
            for name, share in [dominant_quadrant(map_)]
        ]
        empty = [map_.title for map_ in image.maps if not map_.heatmap.any()]
        texts += [f"{', '.join(empty)}: zero everywhere"] if empty else []
        return "Where it lies: " + "; ".join(texts) + "."
    shares = {
        name: [map_.central_mass for map_ in result.for_method(name) if map_.heatmap.any()] for name in result.methods
    }
    texts = [f"{_title(name)} {format_percent(fmean(each))}" for name, each in shares.items() if each]
    area = format_percent(result.images[0].central_area)
    return f"Of |map| the centre, {area} of the pixels, has on average: {', '.join(texts)}." if texts else ""


def _perturbation_text(result: Attributions) -> str:
    count, orders = len(result.images), len(result.images[0].random_deletion)
    texts = []
    for name in result.methods:
        pairs = list(zip(result.images, result.for_method(name), strict=True))
        deleted = sum(map_.deletion.auc < min(_aucs(image, "deletion")) for image, map_ in pairs)
        inserted = sum(map_.insertion.auc > max(_aucs(image, "insertion")) for image, map_ in pairs)
        texts.append(f"{_title(name)} {deleted} and {inserted}")
    of = f"of {pluralize(count, 'image')}"
    return f"Better than each of {orders} random orders at deletion and at insertion, {of}: {', '.join(texts)}."


def _randomization_text(result: Attributions) -> str:
    means = {
        name: [each for map_ in result.for_method(name) if (each := map_.mean_randomization_correlation) is not None]
        for name in result.methods
    }
    known = {name: fmean(each) for name, each in means.items() if each}
    if not known:
        return ""
    texts = ", ".join(f"{_title(name)} {format_correlation(value)}" for name, value in known.items())
    still = [_title(name) for name, value in known.items() if value >= WEAK_CORRELATION]
    verdict = f"; {' and '.join(still)} barely depends on the weights" if len(still) == 1 else ""
    if len(still) > 1:
        verdict = f"; {', '.join(still)} barely depend on the weights"
    return f"With weights drawn anew the maps correlate with these by: {texts}{verdict}."


def _agreement_text(result: Attributions) -> str:
    if not result.agreement:
        return ""
    ordered = sorted(result.agreement, key=lambda pair: pair[2])
    texts = [(f"{_title(one)} and {_title(other)}", format_correlation(value)) for one, other, value in ordered]
    (least, low), (most, high) = texts[0], texts[-1]
    if len(texts) == 1:
        return f"The maps of {most} agree by a rank correlation of {high}."
    return f"Most alike are the maps of {most} (rank correlation {high}), least those of {least} ({low})."


def _sums_sentence(result: Attributions) -> str:
    sums = [map_.completeness for image in result.images for map_ in image.maps if map_.completeness]
    if not sums:
        return ""
    worst = max(sums, key=lambda each: each.gap)
    if worst.gap < COMPLETENESS_TOLERANCE:
        return f"Integrated gradients add up to the logit's rise, to {format_percent(worst.gap)} at worst."
    short = sum(each.gap >= COMPLETENESS_TOLERANCE for each in sums)
    return (
        f"Integrated gradients do not add up to the logit's rise on {short} of {pluralize(len(sums), 'image')}: "
        f"they are off by up to {format_percent(worst.gap)} with {format_count(worst.steps)} steps."
    )


def _title(method: str) -> str:
    return TITLES.get(method, method)


def _aucs(image: ImageAttributions, measure: str) -> Iterator[float]:
    for curve in image.random_deletion if measure == "deletion" else image.random_insertion:
        yield curve.auc
