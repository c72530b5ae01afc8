"""Metrics of logits and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from cnnlab.records import ClassScore, Score


def compute_score(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], classes: Sequence[str]) -> Score:
    """Compute all metrics of one split of the data.

    The macro averages are over the classes that occur, among the labels or, for F1, among the predictions, as in
    scikit-learn; a class without predictions has precision 0. A row of logits that are not all finite counts as wrong
    in every metric, and makes the loss NaN.

    Args:
        logits: N×K.
        labels: N class indices.
        classes: the K class names.
    """
    count, num_classes = logits.shape
    exact_logits = logits.astype(np.float64)
    true_logits = exact_logits[np.arange(count), labels]
    finite = np.isfinite(exact_logits).all(axis=1)
    predicted = exact_logits.argmax(axis=1)
    hits = finite & (predicted == labels)
    # The rank of the true class; a tie counts against it, so that a constant network gets no credit.
    rank = (exact_logits >= true_logits[:, None]).sum(axis=1) - 1
    images = np.bincount(labels, minlength=num_classes)
    positives = np.bincount(predicted[finite], minlength=num_classes)
    right = np.bincount(labels[hits], minlength=num_classes)
    recall, precision = _safe_divide(right, images), _safe_divide(right, positives)
    f1 = _safe_divide(2 * right, images + positives)
    return Score(
        images=count,
        loss=float((logsumexp(exact_logits, axis=1) - true_logits).mean()) if finite.all() else math.nan,
        accuracy=float(hits.mean()),
        top5=float((finite & (rank < 5)).mean()),
        balanced_accuracy=float(recall[images > 0].mean()),
        macro_f1=float(f1[images + positives > 0].mean()),
        per_class=tuple(
            ClassScore(name=name, images=int(images[k]), recall=float(recall[k]), precision=float(precision[k]))
            for k, name in enumerate(classes)
        ),
    )


def _safe_divide(numerator: npt.NDArray[np.int64], denominator: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)
