"""Predictions and probabilities of each image of a split, and which of them to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from cnnlab.interpret.mistakes.result import ImagePrediction
from cnnlab.storage.run_folder import Predictions

Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


class PredictionTable:
    """What the network said of each image: the class that it named (−1: none), with which probability."""

    def __init__(
        self, labels: Indices, predicted: Indices, probability: Numbers, true_class_probability: Numbers
    ) -> None:
        self.labels, self.predicted, self.probability, self.true_class_probability = (
            labels,
            predicted,
            probability,
            true_class_probability,
        )

    @classmethod
    def from_predictions(cls, predictions: Predictions) -> PredictionTable:
        finite = predictions.is_finite()
        exact: Numbers = np.where(finite[:, None], predictions.logits, 0).astype(np.float64)
        probabilities = softmax(exact, axis=1)
        rows = np.arange(len(exact))
        return cls(
            predictions.labels,
            np.where(finite, exact.argmax(axis=1), -1).astype(np.int64),
            np.where(finite, probabilities.max(axis=1), np.nan),
            np.where(finite, probabilities[rows, predictions.labels], np.nan),
        )

    def confident_errors(self, max_count: int, pair: tuple[int, int] | None, per_pair: int | None) -> list[int]:
        """The places of the surest mistakes, the surest first, equal ones in the order of the part."""
        found: list[int] = []
        seen: dict[tuple[int, int], int] = {}
        wrong = np.flatnonzero(self._is_error(pair))
        order = np.argsort(-self.probability[wrong], kind="stable")
        for place in wrong[order].tolist():
            kind = (int(self.labels[place]), int(self.predicted[place]))
            seen[kind] = seen.get(kind, 0) + 1
            if per_pair is None or seen[kind] <= per_pair:
                found.append(place)
            if len(found) == max_count:
                break
        return found

    def uncertain_correct(self, max_count: int) -> list[int]:
        """The places of the right answers with the least probability."""
        right = np.flatnonzero(self.predicted == self.labels)
        order = np.argsort(self.probability[right], kind="stable")
        return [int(place) for place in right[order[:max_count]]]

    def num_errors(self, pair: tuple[int, int] | None) -> int:
        """How many mistakes there are to choose from."""
        return int(self._is_error(pair).sum())

    def image_prediction(self, index: int, split: str, names: Sequence[str]) -> ImagePrediction:
        return ImagePrediction(
            image=f"{split}:{index}",
            true=names[int(self.labels[index])],
            predicted=names[int(self.predicted[index])],
            probability=float(self.probability[index]),
            own=float(self.true_class_probability[index]),
        )

    def _is_error(self, pair: tuple[int, int] | None) -> npt.NDArray[np.bool_]:
        wrong: npt.NDArray[np.bool_] = (self.predicted >= 0) & (self.predicted != self.labels)
        if pair is not None:
            wrong &= (self.labels == pair[0]) & (self.predicted == pair[1])
        return wrong
