"""What a network said of each image of a part, and which of its answers are worth a look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from cnnlab.interpret.mistakes.result import Case
from cnnlab.storage.run_folder import Predictions

Numbers = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


class Said:
    """What the network said of each image: the class that it named (−1: none), with which probability."""

    def __init__(self, labels: Places, predicted: Places, probability: Numbers, own: Numbers) -> None:
        self.labels, self.predicted, self.probability, self.own = labels, predicted, probability, own

    @classmethod
    def of(cls, predictions: Predictions) -> Said:
        finite = predictions.finite()
        exact: Numbers = np.where(finite[:, None], predictions.logits, 0).astype(np.float64)
        probabilities = softmax(exact, axis=1)
        rows = np.arange(len(exact))
        return cls(
            predictions.labels,
            np.where(finite, exact.argmax(axis=1), -1).astype(np.int64),
            np.where(finite, probabilities.max(axis=1), np.nan),
            np.where(finite, probabilities[rows, predictions.labels], np.nan),
        )

    def mistakes(self, most: int, pair: tuple[int, int] | None, per_pair: int | None) -> list[int]:
        """The places of the surest mistakes, the surest first, equal ones in the order of the part."""
        found: list[int] = []
        seen: dict[tuple[int, int], int] = {}
        wrong = np.flatnonzero(self._wrong(pair))
        order = np.argsort(-self.probability[wrong], kind="stable")
        for place in wrong[order].tolist():
            kind = (int(self.labels[place]), int(self.predicted[place]))
            seen[kind] = seen.get(kind, 0) + 1
            if per_pair is None or seen[kind] <= per_pair:
                found.append(place)
            if len(found) == most:
                break
        return found

    def unsure(self, most: int) -> list[int]:
        """The places of the right answers with the least probability."""
        right = np.flatnonzero(self.predicted == self.labels)
        order = np.argsort(self.probability[right], kind="stable")
        return [int(place) for place in right[order[:most]]]

    def count(self, pair: tuple[int, int] | None) -> int:
        """How many mistakes there are to choose from."""
        return int(self._wrong(pair).sum())

    def case(self, place: int, part: str, names: Sequence[str]) -> Case:
        return Case(
            image=f"{part}:{place}",
            true=names[int(self.labels[place])],
            predicted=names[int(self.predicted[place])],
            probability=float(self.probability[place]),
            own=float(self.own[place]),
        )

    def _wrong(self, pair: tuple[int, int] | None) -> npt.NDArray[np.bool_]:
        wrong: npt.NDArray[np.bool_] = (self.predicted >= 0) & (self.predicted != self.labels)
        if pair is not None:
            wrong &= (self.labels == pair[0]) & (self.predicted == pair[1])
        return wrong
