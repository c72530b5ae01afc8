"""What a network gets wrong, as numbers, sentences, tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cnnlab.interpret.mistakes.embedding import PCAEmbedding
from cnnlab.records import Record
from cnnlab.render.document import Document
from cnnlab.render.plots import CaptionedFigure
from cnnlab.stats.calibration import CalibrationMetrics, Temperature
from cnnlab.stats.per_class import ClassMetrics, ConfusedPair, Proportion

Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


class ImagePrediction(Record):
    """One image: as `validation:12`, with its class, what it was taken for, and the probabilities of both."""

    image: str
    true: str
    predicted: str
    probability: float
    own: float


class TemperatureScaledMetrics(Record):
    """The probabilities with a temperature that was fitted on the validation part.

    `halves`: the temperatures of two halves of the validation part, where that part itself is judged: each half is
    then judged with the temperature of the other. None where another part is judged, with `temperature`.
    """

    temperature: Temperature
    halves: tuple[float, float] | None
    sureness: CalibrationMetrics


class Calibration(Record):
    """How far the probabilities can be trusted; `left_out` counts images whose logits were not finite."""

    images: int
    left_out: int
    before: CalibrationMetrics
    after: TemperatureScaledMetrics | None


class EmbeddingRecord(Record):
    """Of the map: the layer whose input it shows, how many images and dimensions, and what the plane keeps."""

    layer: str
    images: int
    size: int
    averaged: bool
    shares: tuple[float, float]
    apart: float
    apart_on_map: float


class MistakesRecord(Record):
    """What a network gets wrong, in plain numbers. Accuracies and probabilities are fractions."""

    run: str
    split: str
    classes: tuple[str, ...]
    images: int
    right: int
    unnamed: int
    accuracy: Proportion
    confusion: tuple[tuple[int, ...], ...]
    per_class: tuple[ClassMetrics, ...]
    pairs: tuple[ConfusedPair, ...]
    calibration: Calibration | None
    mistakes: tuple[ImagePrediction, ...]
    unsure: tuple[ImagePrediction, ...]
    map: EmbeddingRecord | None
    without_images: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Mistakes:
    """What a run's network gets wrong on one part of its data.

    Attributes:
        labels: the class of each of N images.
        predicted: what each was taken for, N; −1 where the logits were not finite.
        probability: of the named class, N; NaN where none was named.
        confusion: K×K counts: row = true class, column = predicted class.
        class_metrics: of each class, in their order.
        pairs: every pair that was confused, the most frequent first.
        pair: (true, predicted), where the gallery was asked for one pair of classes.
        per_pair: the most mistakes of one pair in the gallery, where it was asked for.
        confident_errors: the surest mistakes, the surest first; `num_pair_mistakes` counts those that they were chosen
            from.
        uncertain_correct: the right answers with the least probability.
        images: the pixels of these, uint8 C×H×W, by their place in the part.
        embedding: the images on a plane of their features; None where there is none.
        missing_images_reason: why there are no images; "" where there are.
    """

    run: str
    split: str
    classes: tuple[str, ...]
    labels: Indices = field(repr=False)
    predicted: Indices = field(repr=False)
    probability: Numbers = field(repr=False)
    confusion: Indices = field(repr=False)
    class_metrics: tuple[ClassMetrics, ...] = field(repr=False)
    pairs: tuple[ConfusedPair, ...] = field(repr=False)
    calibration: Calibration | None = field(repr=False)
    pair: tuple[str, str] | None
    per_pair: int | None
    confident_errors: tuple[ImagePrediction, ...]
    uncertain_correct: tuple[ImagePrediction, ...] = field(repr=False)
    num_pair_mistakes: int
    images: Mapping[int, Pixels] = field(repr=False)
    embedding: PCAEmbedding | None = field(repr=False)
    missing_images_reason: str

    @property
    def num_correct(self) -> int:
        """How many images were named right."""
        return int((self.predicted == self.labels).sum())

    @property
    def num_wrong(self) -> int:
        return len(self.labels) - self.num_correct

    @property
    def num_unpredicted(self) -> int:
        """How many got no name, since their logits were not finite: they count as wrong."""
        return int((self.predicted < 0).sum())

    @property
    def accuracy(self) -> Proportion:
        """The share that was named right, with its 95 % Wilson interval."""
        return Proportion.from_counts(self.num_correct, len(self.labels))

    def record(self) -> MistakesRecord:
        """All but the images, the map's points and what was said of each image."""
        from cnnlab.interpret.mistakes.view import sentences

        embedding = self.embedding
        return MistakesRecord(
            run=self.run,
            split=self.split,
            classes=self.classes,
            images=len(self.labels),
            right=self.num_correct,
            unnamed=self.num_unpredicted,
            accuracy=self.accuracy,
            confusion=tuple(tuple(row) for row in self.confusion.tolist()),
            per_class=self.class_metrics,
            pairs=self.pairs,
            calibration=self.calibration,
            mistakes=self.confident_errors,
            unsure=self.uncertain_correct,
            map=None
            if embedding is None
            else EmbeddingRecord(
                layer=embedding.layer,
                images=len(embedding.image_indices),
                size=embedding.num_features,
                averaged=embedding.is_averaged,
                shares=embedding.explained_variance,
                apart=embedding.centroid_accuracy,
                apart_on_map=embedding.centroid_accuracy_on_map,
            ),
            without_images=self.missing_images_reason,
            sentences=tuple(sentences(self)),
        )

    def to_json(self, indent: int | None = None) -> str:
        """The record as JSON."""
        return self.record().to_json(indent=indent)

    def document(self) -> Document:
        """The sentences and tables."""
        from cnnlab.interpret.mistakes.view import mistakes_document

        return mistakes_document(self)

    def figures(self, *, equal_mass: bool = False) -> dict[str, CaptionedFigure]:
        """The confusion matrix, the reliability diagram, and, with images, the gallery and the map.

        Args:
            equal_mass: whether the diagram's bins hold as many images each; by default they are as wide as each other.
        """
        from cnnlab.interpret.mistakes.figures import mistakes_figures

        return mistakes_figures(self, equal_mass=equal_mass)
