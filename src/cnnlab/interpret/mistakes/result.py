"""The classification errors of a network: confusion, calibration, confident errors, and its features on a plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field

from cnnlab.records import Record
from cnnlab.render.result import Result
from cnnlab.stats.calibration import CalibrationMetrics, Temperature
from cnnlab.stats.per_class import ClassMetrics, ConfusedPair, Proportion

Pixels = npt.NDArray[np.uint8]


class ImagePrediction(Record):
    """The prediction for one image.

    Attributes:
        image: its split and index, such as `validation:12`.
        true, predicted: class names.
        probability: of the predicted class. own: of the true class.
    """

    image: str
    true: str
    predicted: str
    probability: float
    own: float


class TemperatureScaledMetrics(Record):
    """Calibration with a temperature fitted on the validation split.

    Attributes:
        temperature: fitted on the whole validation split.
        halves: where the validation split itself is evaluated, the temperatures of its halves: each half is evaluated
            with the temperature of the other. None for other splits, which are evaluated with `temperature`.
        sureness: the metrics.
    """

    temperature: Temperature
    halves: tuple[float, float] | None
    sureness: CalibrationMetrics


class Calibration(Record):
    """Calibration before and after temperature scaling; `left_out` counts images whose logits are not finite."""

    images: int
    left_out: int
    before: CalibrationMetrics
    after: TemperatureScaledMetrics | None


@dataclass(frozen=True, eq=False)
class EmbeddingPoints:
    """Images on the plane: `image_indices` into the split, N; `points`, N×2; class `labels`, N; `is_error`, N."""

    image_indices: npt.NDArray[np.int64]
    points: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    is_error: npt.NDArray[np.bool_]


class PCAEmbedding(Record):
    """Images on the first two principal components of the features that go into a layer.

    Attributes:
        num_features: of each image.
        is_averaged: whether the features are means over the positions of maps, or over the steps of a sequence.
        explained_variance: fractions of the variance along the two components.
        centroid_accuracy, centroid_accuracy_on_map: the fraction of images whose nearest class centroid is that of
            their own class, with all features and on the plane.
        points: not in JSON.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, populate_by_name=True)

    layer: str
    num_images: int = Field(alias="images")
    num_features: int = Field(alias="size")
    is_averaged: bool = Field(alias="averaged")
    explained_variance: tuple[float, float] = Field(alias="shares")
    centroid_accuracy: float = Field(alias="apart")
    centroid_accuracy_on_map: float = Field(alias="apart_on_map")
    points: EmbeddingPoints | None = Field(default=None, exclude=True, repr=False)


class Mistakes(Result):
    """The classification errors of a run's network on one split of its data; accuracies are fractions.

    Attributes:
        num_images: in the split. num_correct: of these. num_unpredicted: those whose logits are not finite.
        confusion: K×K counts: row = true class, column = predicted class.
        class_metrics: of each class, in the order of `classes`.
        pairs: the confused pairs of classes, the most frequent first.
        confident_errors: the errors with the highest probability, in descending order; `num_candidates` counts the
            errors that they were chosen from.
        uncertain_correct: the correct predictions with the lowest probability.
        pair: (true, predicted), where only errors of one pair were requested.
        per_pair: the largest number of errors of one pair in `confident_errors`, where it was limited.
        embedding: None without images, or without a layer that has weights.
        missing_images_reason: why there are no images; "" where there are.
        pixels: of the listed images, uint8 C×H×W, by their index in the split; not in JSON.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, populate_by_name=True)

    run: str
    split: str
    classes: tuple[str, ...]
    num_images: int = Field(alias="images")
    num_correct: int = Field(alias="right")
    num_unpredicted: int = Field(alias="unnamed")
    accuracy: Proportion
    confusion: tuple[tuple[int, ...], ...]
    class_metrics: tuple[ClassMetrics, ...] = Field(alias="per_class")
    pairs: tuple[ConfusedPair, ...]
    calibration: Calibration | None
    confident_errors: tuple[ImagePrediction, ...] = Field(alias="mistakes")
    num_candidates: int
    uncertain_correct: tuple[ImagePrediction, ...] = Field(alias="unsure")
    pair: tuple[str, str] | None = None
    per_pair: int | None = None
    embedding: PCAEmbedding | None = Field(alias="map")
    missing_images_reason: str = Field(alias="without_images")
    pixels: Mapping[int, Pixels] = Field(default_factory=dict, exclude=True, repr=False)

    @property
    def num_errors(self) -> int:
        return self.num_images - self.num_correct

    def to_json(self, indent: int | None = None) -> str:
        """This record as JSON text."""
        return self.model_dump_json(indent=indent, by_alias=True)
