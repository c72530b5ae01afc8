"""Attribution maps of images with the checks of each method. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from statistics import fmean
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import InstanceOf

from cnnlab.render.result import Result

Floats = npt.NDArray[np.float64]
Measure = Literal["deletion", "insertion"]
# A sum that is off by less than this share of the rise is complete.
COMPLETENESS_TOLERANCE = 0.01
# From this correlation on a map hardly depends on the weights.
WEAK_CORRELATION = 0.7


@dataclass(frozen=True)
class Completeness:
    """The sum of integrated gradients, and `rise`, f(image) − f(baseline), that it should equal; f is the logit."""

    steps: int
    total: float
    rise: float

    @property
    def gap(self) -> float:
        """|total − rise| / |rise|."""
        difference = abs(self.total - self.rise)
        return difference / abs(self.rise) if self.rise else (float("inf") if difference else 0.0)


@dataclass(frozen=True)
class PerturbationCurve:
    """A class's probability while pixels are exchanged, in even steps from none to all."""

    values: Floats

    @property
    def auc(self) -> float:
        """The area under the curve over [0, 1]."""
        return float(np.trapezoid(self.values) / (len(self.values) - 1))


@dataclass(frozen=True)
class AttributionMap:
    """The map of one method for one image.

    Attributes:
        heatmap: H×W attributions to the class; below 0 against it, for methods with a sign.
        deletion, insertion: while the pixels are exchanged, the highest of `heatmap` first.
        randomization_correlations: Spearman's correlation of |heatmap| with that of the network with random weights,
            for each draw; None where a map is constant.
        completeness: of integrated gradients.
    """

    method: str
    heatmap: Floats
    deletion: PerturbationCurve
    insertion: PerturbationCurve
    randomization_correlations: tuple[float | None, ...] = ()
    completeness: Completeness | None = None

    @property
    def mean_randomization_correlation(self) -> float | None:
        """The mean of `randomization_correlations`; None without any."""
        return _mean(self.randomization_correlations)

    def to_dict(self) -> dict[str, Any]:
        """The numbers, without the map itself."""
        row, column = np.unravel_index(int(self.heatmap.argmax()), self.heatmap.shape)
        values: dict[str, Any] = {
            "deletion": {"area": self.deletion.auc, "curve": self.deletion.values.tolist()},
            "insertion": {"area": self.insertion.auc, "curve": self.insertion.values.tolist()},
            "redrawn": list(self.randomization_correlations),
            "highest": {"row": int(row), "column": int(column), "value": float(self.heatmap.max())},
        }
        if self.completeness is not None:
            gap = self.completeness.gap
            values["completeness"] = {**vars(self.completeness), "gap": gap if isfinite(gap) else None}
        return values


@dataclass(frozen=True)
class ImageAttributions:
    """The maps of one image.

    Attributes:
        pixels: C×H×W, uint8.
        target: the number of the class that is explained.
        class_name: its name, or its number where names are not known.
        probability: of that class.
        predicted: the name of the most probable class.
        maps: one for each method.
        random_deletion, random_insertion: curves of random orders of the pixels.
    """

    name: str
    pixels: npt.NDArray[np.uint8]
    target: int
    class_name: str
    probability: float
    predicted: str
    maps: tuple[AttributionMap, ...]
    random_deletion: tuple[PerturbationCurve, ...]
    random_insertion: tuple[PerturbationCurve, ...]

    def random_curves(self, measure: Measure) -> tuple[PerturbationCurve, ...]:
        """The curves of random orders, of deletion or of insertion."""
        return self.random_deletion if measure == "deletion" else self.random_insertion

    def to_dict(self) -> dict[str, Any]:
        """The numbers, without the maps themselves."""
        return {
            "image": self.name,
            "class": {"number": self.target, "name": self.class_name, "probability": self.probability},
            "predicted": self.predicted,
            "random": {
                "deletion": [curve.auc for curve in self.random_deletion],
                "insertion": [curve.auc for curve in self.random_insertion],
            },
            "methods": {each.method: each.to_dict() for each in self.maps},
        }


class Attributions(Result):
    """Attribution maps of images by several methods.

    Attributes:
        network: its name, with the origin of its weights.
        layer: whose maps Grad-CAM weighs; empty without Grad-CAM.
        baseline: its description.
        window, stride: of occlusion, in pixels.
        skipped_methods: methods that the network does not allow, with the reason.
    """

    network: str
    images: tuple[InstanceOf[ImageAttributions], ...]
    layer: str
    baseline: str
    window: int
    stride: int
    skipped_methods: tuple[tuple[str, str], ...] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods of the maps."""
        return tuple(each.method for each in self.images[0].maps)

    def for_method(self, method: str) -> tuple[AttributionMap, ...]:
        """The maps of a method, one for each image."""
        return tuple(each for image in self.images for each in image.maps if each.method == method)

    def randomization_correlation(self, method: str) -> float | None:
        """The mean correlation of a method's maps with those of randomized weights; None without any."""
        return _mean(each.mean_randomization_correlation for each in self.for_method(method))

    def better_than_random(self, method: str, measure: Measure) -> int:
        """On how many images a method is better than every random order."""
        count = 0
        for image, each in zip(self.images, self.for_method(method), strict=True):
            areas = [curve.auc for curve in image.random_curves(measure)]
            count += each.deletion.auc < min(areas) if measure == "deletion" else each.insertion.auc > max(areas)
        return count

    def to_json(self, indent: int | None = None) -> str:
        """The numbers as JSON, without the maps themselves; None for what is not finite."""
        values = {
            "network": self.network,
            "baseline": self.baseline,
            "window": self.window,
            "stride": self.stride,
            "layer": self.layer or None,
            "left_out": dict(self.skipped_methods),
            "images": [image.to_dict() for image in self.images],
        }
        return json.dumps(values, indent=indent, ensure_ascii=False)


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are known; None without any."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
