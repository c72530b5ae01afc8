"""Attribution maps in tables and sentences. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isfinite
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnlab.interpret.attribution.result import COMPLETE, TITLES, signed
from cnnlab.render import formatting
from cnnlab.render.document import Titled
from cnnlab.render.tables import TextTable

if TYPE_CHECKING:
    from cnnlab.interpret.attribution.result import Attribution, Attributions, Curve, Explained


def tables(answer: Attributions) -> tuple[Titled, ...]:
    """The images with their classes, every map's figures, and the sums of integrated gradients."""
    found = [("Images", _classes(answer)), ("Methods", _methods(answer))]
    sums = _sums_table(answer)
    return (*found, ("What integrated gradients add up to", sums)) if sums.rows else tuple(found)


def figures(answer: Attributions) -> dict[str, Any]:
    """All numbers by name, but the maps themselves; None for what is not a number."""
    return {
        "network": answer.network,
        "baseline": answer.baseline,
        "window": answer.window,
        "stride": answer.stride,
        "layer": answer.layer or None,
        "left_out": dict(answer.left_out),
        "findings": answer.findings(),
        "agreement": [{"methods": [one, other], "correlation": value} for one, other, value in answer.agreement],
        "images": [_image_figures(image) for image in answer.images],
    }


def _classes(answer: Attributions) -> TextTable:
    rows = [
        (
            formatting.shown(image.name),
            # Where nobody knows the names, the number is the name.
            formatting.shown(" ".join(dict.fromkeys((str(image.target), image.class_name)))),
            formatting.percent(image.probability),
            formatting.shown(image.predicted),
        )
        for image in answer.images
    ]
    return TextTable.of(["image", "class", "#probability", "predicted"], rows)


def _methods(answer: Attributions) -> TextTable:
    titles = ["image", "method", "#deletion", "#insertion", "#redrawn", "#half on", "#centre"]
    rows: list[tuple[str, ...]] = []
    for image in answer.images:
        rows += [
            (
                "" if number else formatting.shown(image.name),
                found.title,
                formatting.fraction(found.deletion.area),
                formatting.fraction(found.insertion.area),
                signed(found.independence),
                formatting.percent(found.half_on),
                formatting.percent(found.centre),
            )
            for number, found in enumerate(image.maps)
        ]
        areas = (_spread(image.random_deletion), _spread(image.random_insertion))
        rows.append(("", "random orders", *areas, "", "", formatting.percent(image.centre_area)))
    return TextTable.of(titles, rows)


def _sums_table(answer: Attributions) -> TextTable:
    rows = [
        (
            formatting.shown(image.name),
            formatting.count(sums.steps),
            f"{sums.total:.4f}".replace("-", "−"),
            f"{sums.rise:.4f}".replace("-", "−"),
            formatting.percent(sums.gap),
        )
        for image in answer.images
        for found in image.maps
        if (sums := found.completeness) is not None
    ]
    return TextTable.of(["image", "#steps", "#sum", "#f(image) − f(baseline)", "#gap"], rows)


def _image_figures(image: Explained) -> dict[str, Any]:
    return {
        "image": image.name,
        "class": {"number": image.target, "name": image.class_name, "probability": image.probability},
        "predicted": image.predicted,
        "random": {
            "deletion": [curve.area for curve in image.random_deletion],
            "insertion": [curve.area for curve in image.random_insertion],
        },
        "methods": {found.method: _map_figures(found) for found in image.maps},
    }


def _map_figures(found: Attribution) -> dict[str, Any]:
    row, column = np.unravel_index(int(found.heat.argmax()), found.heat.shape)
    sums = found.completeness
    return {
        "deletion": {"area": found.deletion.area, "curve": found.deletion.values.tolist()},
        "insertion": {"area": found.insertion.area, "curve": found.insertion.values.tolist()},
        "redrawn": list(found.redrawn),
        "half_on": _known(found.half_on),
        "centre": _known(found.centre),
        "highest": {"row": int(row), "column": int(column), "value": float(found.heat.max())},
        **({"completeness": {**vars(sums), "gap": _known(sums.gap)}} if sums else {}),
    }


def _known(value: float) -> float | None:
    return value if isfinite(value) else None


def _spread(curves: Iterable[Curve]) -> str:
    """The mean of the areas and their standard deviation."""
    areas = [curve.area for curve in curves]
    deviation = float(np.std(areas, ddof=1)) if len(areas) > 1 else float("nan")
    return f"{fmean(areas):.4f} ± {formatting.fraction(deviation)}"


# From this correlation on a map hardly changes when the weights are drawn anew.
HARDLY = 0.7
QUARTERS = ("upper left", "upper right", "lower left", "lower right")
NOTES = (
    "Deletion and insertion: the area under the class's probability while the pixels are exchanged, the highest first: "
    "deletion makes the image the baseline, where less is better; insertion makes the baseline the image, where more "
    "is better (Petsiuk et al., 2018).",
    "Redrawn: rank correlation of |map| with that of the same network with weights drawn anew; near 1, the map depends "
    "on the image alone (Adebayo et al., 2018). Half on: the smallest share of the pixels that holds half of |map|. "
    "Centre: the share of |map| in the middle half of the rows and columns; of random orders, of the pixels.",
)


def findings(found: Attributions) -> tuple[str, ...]:
    """A sentence each on the place, the order, the weights, the agreement, and the sum."""
    return tuple(
        filter(None, (_places(found), _orders(found), _weights(found), _agreement(found), _sums_sentence(found)))
    )


def quarter(found: Attribution) -> tuple[str, float]:
    """The quarter of the image with the most of the mass, and its share."""
    high, wide = found.heat.shape
    parts = [half for rows in np.split(found.mass, [high // 2]) for half in np.split(rows, [wide // 2], axis=1)]
    shares = [float(part.sum()) for part in parts]
    most = int(np.argmax(shares))
    return QUARTERS[most], shares[most]


def _places(found: Attributions) -> str:
    if len(found.images) == 1:
        image = found.images[0]
        told = [
            f"{map_.title}: {formatting.percent(share)} in the {name} quarter"
            for map_ in image.maps
            if map_.heat.any()
            for name, share in [quarter(map_)]
        ]
        empty = [map_.title for map_ in image.maps if not map_.heat.any()]
        told += [f"{', '.join(empty)}: zero everywhere"] if empty else []
        return "Where it lies: " + "; ".join(told) + "."
    shares = {name: [map_.centre for map_ in found.of(name) if map_.heat.any()] for name in found.methods}
    told = [f"{_title(name)} {formatting.percent(fmean(each))}" for name, each in shares.items() if each]
    area = formatting.percent(found.images[0].centre_area)
    return f"Of |map| the centre, {area} of the pixels, has on average: {', '.join(told)}." if told else ""


def _orders(found: Attributions) -> str:
    count, orders = len(found.images), len(found.images[0].random_deletion)
    told = []
    for name in found.methods:
        pairs = list(zip(found.images, found.of(name), strict=True))
        deleted = sum(map_.deletion.area < min(_areas(image, "deletion")) for image, map_ in pairs)
        inserted = sum(map_.insertion.area > max(_areas(image, "insertion")) for image, map_ in pairs)
        told.append(f"{_title(name)} {deleted} and {inserted}")
    of = f"of {formatting.plural(count, 'image')}"
    return f"Better than each of {orders} random orders at deletion and at insertion, {of}: {', '.join(told)}."


def _weights(found: Attributions) -> str:
    means = {
        name: [each for map_ in found.of(name) if (each := map_.independence) is not None] for name in found.methods
    }
    known = {name: fmean(each) for name, each in means.items() if each}
    if not known:
        return ""
    told = ", ".join(f"{_title(name)} {signed(value)}" for name, value in known.items())
    still = [_title(name) for name, value in known.items() if value >= HARDLY]
    verdict = f"; {' and '.join(still)} barely depends on the weights" if len(still) == 1 else ""
    if len(still) > 1:
        verdict = f"; {', '.join(still)} barely depend on the weights"
    return f"With weights drawn anew the maps correlate with these by: {told}{verdict}."


def _agreement(found: Attributions) -> str:
    if not found.agreement:
        return ""
    ordered = sorted(found.agreement, key=lambda pair: pair[2])
    told = [(f"{_title(one)} and {_title(other)}", signed(value)) for one, other, value in ordered]
    (least, low), (most, high) = told[0], told[-1]
    if len(told) == 1:
        return f"The maps of {most} agree by a rank correlation of {high}."
    return f"Most alike are the maps of {most} (rank correlation {high}), least those of {least} ({low})."


def _sums_sentence(found: Attributions) -> str:
    sums = [map_.completeness for image in found.images for map_ in image.maps if map_.completeness]
    if not sums:
        return ""
    worst = max(sums, key=lambda each: each.gap)
    if worst.gap < COMPLETE:
        return f"Integrated gradients add up to the logit's rise, to {formatting.percent(worst.gap)} at worst."
    short = sum(each.gap >= COMPLETE for each in sums)
    return (
        f"Integrated gradients do not add up to the logit's rise on {short} of {formatting.plural(len(sums), 'image')}: "
        f"they are off by up to {formatting.percent(worst.gap)} with {formatting.count(worst.steps)} steps."
    )


def _title(method: str) -> str:
    return TITLES.get(method, method)


def _areas(image: Explained, which: str) -> Iterator[float]:
    for curve in image.random_deletion if which == "deletion" else image.random_insertion:
        yield curve.area
