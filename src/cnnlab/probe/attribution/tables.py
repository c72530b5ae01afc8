"""The numbers of maps of attribution, for a reader and for other programs. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnlab.probe.attribution.answer import signed
from cnnlab.render import formatting
from cnnlab.render.document import Titled
from cnnlab.render.tables import TextTable

if TYPE_CHECKING:
    from cnnlab.probe.attribution.answer import Attribution, Attributions, Curve, Explained


def tables(answer: Attributions) -> tuple[Titled, ...]:
    """The images with their classes, every map's figures, and the sums of integrated gradients."""
    found = [("Images", _classes(answer)), ("Methods", _methods(answer))]
    sums = _sums(answer)
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


def _sums(answer: Attributions) -> TextTable:
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
