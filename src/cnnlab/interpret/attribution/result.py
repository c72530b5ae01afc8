"""Attribution maps of images with the sanity checks of each method: records and arrays. No torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cnnlab.render.document import Document
from cnnlab.render.formatting import MISSING, format_shape

if TYPE_CHECKING:
    from cnnlab.render.plots import CaptionedFigure

Floats = npt.NDArray[np.float64]
# How the methods are called in sentences, where that is not their name.
TITLES = {"integrated-gradients": "integrated gradients", "grad-cam": "Grad-CAM"}
# A sum that is off by less than this share is complete.
COMPLETENESS_TOLERANCE = 0.01


@dataclass(frozen=True)
class Completeness:
    """What integrated gradients add up to, and what they should: `rise` is f(image) − f(baseline), f: the logit."""

    steps: int
    total: float
    rise: float

    @property
    def gap(self) -> float:
        """How far the sum is from the rise, as a share of the rise."""
        away = abs(self.total - self.rise)
        return away / abs(self.rise) if self.rise else (float("inf") if away else 0.0)


@dataclass(frozen=True)
class PerturbationCurve:
    """A class's probability as more and more pixels are exchanged, in even steps from none to all.

    Attributes:
        values: the probabilities.
        auc: below them; 1 where the probability is 1 all the way.
    """

    values: Floats
    auc: float


@dataclass(frozen=True)
class AttributionMap:
    """One method's answer for one image.

    Attributes:
        method: its name.
        heatmap: H×W, how much each pixel speaks for the class; below 0 against it, where the method has signs.
        deletion, insertion: the pixels exchanged in the order of `heatmap`, the highest first.
        randomization_correlations: Spearman's correlation of |heatmap| with that of the same network with weights drawn
            anew, for each draw; None where a map is the same everywhere.
        completeness: of integrated gradients.
    """

    method: str
    heatmap: Floats
    deletion: PerturbationCurve
    insertion: PerturbationCurve
    randomization_correlations: tuple[float | None, ...] = ()
    completeness: Completeness | None = None

    @property
    def title(self) -> str:
        """What the method is called in sentences."""
        return TITLES.get(self.method, self.method)

    @property
    def normalized_magnitude(self) -> Floats:
        """H×W, each pixel's share of all sizes; zeros where all are zero."""
        sizes: Floats = np.abs(self.heatmap)
        return np.asarray(sizes / sizes.sum()) if sizes.any() else sizes

    @property
    def half_mass_area(self) -> float:
        """The smallest share of the pixels that holds half of the mass; nan without any."""
        falling: Floats = np.cumsum(np.sort(self.normalized_magnitude.ravel())[::-1])
        enough = int(np.searchsorted(falling, 0.5)) + 1
        return enough / len(falling) if falling[-1] else float("nan")

    @property
    def central_mass(self) -> float:
        """The share of the mass in the middle half of the rows and columns; nan without any."""
        height, width = self.heatmap.shape
        within = self.normalized_magnitude[height // 4 : height - height // 4, width // 4 : width - width // 4].sum()
        return float(within) if self.heatmap.any() else float("nan")

    @property
    def mean_randomization_correlation(self) -> float | None:
        """The mean of `randomization_correlations`; None where there is none."""
        known = [value for value in self.randomization_correlations if value is not None]
        return fmean(known) if known else None


@dataclass(frozen=True)
class ImageAttributions:
    """One image with the answers of all methods.

    Attributes:
        name: what to call the image.
        pixels: uint8, C×H×W.
        target: the class that is asked about, by its number.
        class_name: the name of that class; its number where nobody knows the names.
        probability: of that class.
        predicted: the name of the class that the network finds most probable.
        maps: one for each method.
        random_deletion, random_insertion: for orders of the pixels that know nothing of the image.
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

    @property
    def central_area(self) -> float:
        """The share of the pixels that `AttributionMap.central_mass` looks at."""
        height, width = self.pixels.shape[1:]
        return float((height - 2 * (height // 4)) * (width - 2 * (width // 4)) / (height * width))


@dataclass(frozen=True)
class Attributions:
    """Images, methods, and what the methods are worth.

    Attributes:
        network: what it is called, with where its weights are from.
        images: each with its maps.
        layer: whose maps Grad-CAM weighed; empty where it did not.
        baseline: in words, what stands for nothing to be seen.
        window, stride: of occlusion, in pixels.
        skipped_methods: methods that this network has nothing for, with the reason.
        agreement: for each pair of methods the mean of Spearman's correlations of |heatmap| over the images.
    """

    network: str
    images: tuple[ImageAttributions, ...]
    layer: str
    baseline: str
    window: int
    stride: int
    skipped_methods: tuple[tuple[str, str], ...] = ()
    agreement: tuple[tuple[str, str, float], ...] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        """Those that answered."""
        return tuple(found.method for found in self.images[0].maps)

    def for_method(self, method: str) -> tuple[AttributionMap, ...]:
        """A method's answers, one for each image."""
        return tuple(found for image in self.images for found in image.maps if found.method == method)

    def findings(self) -> tuple[str, ...]:
        """What is seen, in sentences made from the numbers."""
        from cnnlab.interpret.attribution.view import findings

        return findings(self)

    def to_json(self, indent: int | None = None) -> str:
        """All numbers but the maps themselves."""
        from cnnlab.interpret.attribution.view import attribution_dict

        return json.dumps(attribution_dict(self), indent=indent, ensure_ascii=False)

    def document(self) -> Document:
        """The worked answer: what is seen, the methods' tables, and what the words mean."""
        from cnnlab.interpret.attribution.view import NOTES, tables

        missing = (f"No {TITLES.get(name, name)}: {reason}." for name, reason in self.skipped_methods)
        return Document(
            title=f"What speaks for a class in {self.network}",
            lines=self.findings(),
            tables=tables(self),
            notes=(self.settings_text(), *NOTES, *missing),
        )

    def figures(self) -> dict[str, CaptionedFigure]:
        """The maps, and the curves of deletion and insertion."""
        from cnnlab.interpret.attribution.figures import curves_figure, maps_figure

        return {"attribution": maps_figure(self), "curves": curves_figure(self)}

    def settings_text(self) -> str:
        """How the maps were made, in a sentence."""
        parts = [f"Baseline: {self.baseline}"]
        if "occlusion" in self.methods:
            parts.append(f"occlusion: a square of {self.window} pixels that moves by {self.stride}")
        if "grad-cam" in self.methods:
            height, width = self.images[0].pixels.shape[1:]
            parts.append(f"Grad-CAM: the maps of {self.layer}, enlarged to {format_shape((height, width))}")
        return "; ".join(parts) + "."

    def _repr_html_(self) -> str:
        from cnnlab.render.plots import to_svg

        captioned = self.figures()["attribution"]
        return self.document().to_html(to_svg(captioned.figure, "attribution", captioned.description, standalone=True))


def format_correlation(value: float | None) -> str:
    """A correlation with two digits.

    >>> format_correlation(-0.314), format_correlation(None)
    ('−0.31', '–')
    """
    return MISSING if value is None else f"{value:.2f}".replace("-", "−")
