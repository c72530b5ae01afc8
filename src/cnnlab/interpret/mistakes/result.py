"""What a network gets wrong, as numbers, sentences, tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cnnlab.interpret.mistakes.embedding import Embedding
from cnnlab.records import Record
from cnnlab.render.document import Sheet
from cnnlab.render.plots import Plate
from cnnlab.stats.calibration import Sureness, Temperature
from cnnlab.stats.per_class import ClassFigures, ConfusedPair, Share

Numbers = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


class Case(Record):
    """One image: as `validation:12`, with its class, what it was taken for, and the probabilities of both."""

    image: str
    true: str
    predicted: str
    probability: float
    own: float


class Rescaled(Record):
    """The probabilities with a temperature that was fitted on the validation part.

    `halves`: the temperatures of two halves of the validation part, where that part itself is judged: each half is
    then judged with the temperature of the other. None where another part is judged, with `temperature`.
    """

    temperature: Temperature
    halves: tuple[float, float] | None
    sureness: Sureness


class Calibration(Record):
    """How far the probabilities can be trusted; `left_out` counts images whose logits were not finite."""

    images: int
    left_out: int
    before: Sureness
    after: Rescaled | None


class MapRecord(Record):
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
    part: str
    classes: tuple[str, ...]
    images: int
    right: int
    unnamed: int
    accuracy: Share
    confusion: tuple[tuple[int, ...], ...]
    per_class: tuple[ClassFigures, ...]
    pairs: tuple[ConfusedPair, ...]
    calibration: Calibration | None
    mistakes: tuple[Case, ...]
    unsure: tuple[Case, ...]
    map: MapRecord | None
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
        figures: of each class, in their order.
        pairs: every pair that was confused, the most frequent first.
        pair: (true, predicted), where the gallery was asked for one pair of classes.
        per_pair: the most mistakes of one pair in the gallery, where it was asked for.
        mistakes: the surest mistakes, the surest first; `of_pair` counts those that they were chosen from.
        unsure: the right answers with the least probability.
        images: the pixels of these, uint8 C×H×W, by their place in the part.
        map: the images on a plane of their features; None where there is none.
        missing: why there are no images; "" where there are.
    """

    run: str
    part: str
    classes: tuple[str, ...]
    labels: Places = field(repr=False)
    predicted: Places = field(repr=False)
    probability: Numbers = field(repr=False)
    confusion: Places = field(repr=False)
    figures: tuple[ClassFigures, ...] = field(repr=False)
    pairs: tuple[ConfusedPair, ...] = field(repr=False)
    calibration: Calibration | None = field(repr=False)
    pair: tuple[str, str] | None
    per_pair: int | None
    mistakes: tuple[Case, ...]
    unsure: tuple[Case, ...] = field(repr=False)
    of_pair: int
    images: Mapping[int, Pixels] = field(repr=False)
    map: Embedding | None = field(repr=False)
    missing: str

    @property
    def right(self) -> int:
        """How many images were named right."""
        return int((self.predicted == self.labels).sum())

    @property
    def wrong(self) -> int:
        return len(self.labels) - self.right

    @property
    def unnamed(self) -> int:
        """How many got no name, since their logits were not finite: they count as wrong."""
        return int((self.predicted < 0).sum())

    @property
    def accuracy(self) -> Share:
        """The share that was named right, with its 95 % Wilson interval."""
        return Share.of(self.right, len(self.labels))

    def record(self) -> MistakesRecord:
        """All but the images, the map's points and what was said of each image."""
        from cnnlab.interpret.mistakes.view import sentences

        found = self.map
        return MistakesRecord(
            run=self.run,
            part=self.part,
            classes=self.classes,
            images=len(self.labels),
            right=self.right,
            unnamed=self.unnamed,
            accuracy=self.accuracy,
            confusion=tuple(tuple(row) for row in self.confusion.tolist()),
            per_class=self.figures,
            pairs=self.pairs,
            calibration=self.calibration,
            mistakes=self.mistakes,
            unsure=self.unsure,
            map=None
            if found is None
            else MapRecord(
                layer=found.layer,
                images=len(found.places),
                size=found.size,
                averaged=found.averaged,
                shares=found.shares,
                apart=found.apart,
                apart_on_map=found.apart_on_map,
            ),
            without_images=self.missing,
            sentences=tuple(sentences(self)),
        )

    def to_json(self, indent: int | None = None) -> str:
        """The record as JSON."""
        return self.record().to_json(indent=indent)

    def sheet(self) -> Sheet:
        """The sentences and tables."""
        from cnnlab.interpret.mistakes.view import mistakes_sheet

        return mistakes_sheet(self)

    def plates(self, *, equal_mass: bool = False) -> dict[str, Plate]:
        """The confusion matrix, the reliability diagram, and, with images, the gallery and the map.

        Args:
            equal_mass: whether the diagram's bins hold as many images each; by default they are as wide as each other.
        """
        from cnnlab.interpret.mistakes.figures import mistakes_plates

        return mistakes_plates(self, equal_mass=equal_mass)
