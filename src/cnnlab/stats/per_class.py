"""Precision, recall and F1 of each class with intervals, and the pairs of classes that are confused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnlab.records import Record
from cnnlab.stats.intervals import wilson_interval

Counts = npt.NDArray[np.integer[Any]]


class Proportion(Record):
    """A proportion with its 95 % interval, as fractions."""

    value: float
    low: float
    high: float

    @classmethod
    def from_counts(cls, count: int, total: int) -> Proportion:
        """The proportion of `count` in `total`, above 0, with its Wilson interval."""
        low, high = wilson_interval(count, total)
        return cls(value=count / total, low=low, high=high)


class ClassMetrics(Record):
    """The metrics of one class: `images` belong to it, `named` were predicted as it, `right` are both.

    Precision is None where no image was predicted as the class, recall where it has no images.
    """

    name: str
    images: int
    named: int
    right: int
    precision: Proportion | None
    recall: Proportion | None
    f1: Proportion | None


class ConfusedPair(Record):
    """The number of images of one class predicted as another; `share` is of all images of the true class."""

    true: str
    predicted: str
    images: int
    share: float


def class_metrics(confusion: Counts, images: Counts, names: Sequence[str]) -> tuple[ClassMetrics, ...]:
    """Precision, recall and F1 of each class, in their order.

    The interval of F1 is that of the proportion s = right / (right + missed + wrongly predicted), transformed by
    F1 = 2 s / (1 + s): the indirect Wilson method of K. F. Y. Lam, V. Gopal, J. Qian: Confidence intervals for the F1
    score, 2023 (arXiv:2309.14621).

    Args:
        confusion: K×K counts: row = true class, column = predicted class.
        images: of each class, K; more than the sum of its row where an image has no prediction.
    """
    right, named = np.diag(confusion), confusion.sum(axis=0)
    metrics = []
    for name, own, called, hits in zip(names, images.tolist(), named.tolist(), right.tolist(), strict=True):
        both = _proportion(hits, own + called - hits)
        metrics.append(
            ClassMetrics(
                name=name,
                images=own,
                named=called,
                right=hits,
                precision=_proportion(hits, called),
                recall=_proportion(hits, own),
                f1=None if both is None else Proportion(**{key: _f1(value) for key, value in both}),
            )
        )
    return tuple(metrics)


def confused_pairs(confusion: Counts, images: Counts, names: Sequence[str]) -> tuple[ConfusedPair, ...]:
    """Every confused pair of classes, the most frequent first, ties in the order of the classes."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[: np.count_nonzero(wrong)]
    pairs = [divmod(int(index), len(names)) for index in order]
    return tuple(
        ConfusedPair(
            true=names[true],
            predicted=names[predicted],
            images=int(wrong[true, predicted]),
            share=float(wrong[true, predicted] / images[true]),
        )
        for true, predicted in pairs
    )


def _proportion(count: int, total: int) -> Proportion | None:
    return Proportion.from_counts(count, total) if total else None


def _f1(share: float) -> float:
    return 2 * share / (1 + share)
