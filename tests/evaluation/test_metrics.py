"""Every metric against scikit-learn."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import metrics as oracle

from cnnlab.evaluation.metrics import compute_score


def names(count: int) -> list[str]:
    return [f"class {k}" for k in range(count)]


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Logits N×K without ties, and labels that may leave classes out."""
    count, kinds = draw(st.integers(1, 40)), draw(st.integers(2, 12))
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
    present = numbers.choice(kinds, draw(st.integers(1, kinds)), replace=False)
    return numbers.normal(0, 3, (count, kinds)).astype(np.float32), numbers.choice(present, count)


@given(answers())
def test_every_figure_is_scikit_learns(case: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = case
    kinds = logits.shape[1]
    every, predicted = np.arange(kinds), logits.argmax(axis=1)
    found = compute_score(logits, labels, names(kinds))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of absent classes
        expected = {
            "loss": oracle.log_loss(labels, softmax(logits.astype(np.float64), axis=1), labels=every),
            "accuracy": oracle.accuracy_score(labels, predicted),
            "balanced_accuracy": oracle.balanced_accuracy_score(labels, predicted),
            "macro_f1": oracle.f1_score(labels, predicted, average="macro"),
            "top5": oracle.top_k_accuracy_score(labels, logits, k=5, labels=every) if kinds > 5 else 1.0,
        }
        recall = oracle.recall_score(labels, predicted, labels=every, average=None, zero_division=0)
        precision = oracle.precision_score(labels, predicted, labels=every, average=None, zero_division=0)
    for name, value in expected.items():
        assert found.metric(name) == pytest.approx(value, abs=1e-6), name
    assert found.images == len(labels)
    assert [kind.name for kind in found.per_class] == names(kinds)
    assert [kind.images for kind in found.per_class] == np.bincount(labels, minlength=kinds).tolist()
    assert [kind.recall for kind in found.per_class] == pytest.approx(recall.tolist())
    assert [kind.precision for kind in found.per_class] == pytest.approx(precision.tolist())


def test_a_tie_counts_against_the_true_class_in_top5() -> None:
    assert compute_score(np.zeros((10, 10), np.float32), np.arange(10), names(10)).top5 == 0
    ahead_of_five = np.array([[1, 0, 0, 0, 0, 0]], np.float32)
    assert compute_score(ahead_of_five, np.array([0]), names(6)).top5 == 1
    assert compute_score(ahead_of_five, np.array([1]), names(6)).top5 == 0


def test_a_large_logit_does_not_overflow() -> None:
    logits = np.array([[3e38, 0], [0, 3e38]], np.float32)
    assert compute_score(logits, np.array([0, 1]), names(2)).loss == 0
    assert compute_score(logits, np.array([1, 0]), names(2)).loss == pytest.approx(3e38)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_no_numbers_is_wrong_in_every_metric(value: float) -> None:
    """An argmax of such rows is 0: class 0 must neither gain a hit nor lose precision by them."""
    labels = np.array([0, 1, 2, 3, 4, 5, 0])
    logits = np.eye(6, dtype=np.float32)[labels]
    logits[:2] = value
    found = compute_score(logits, labels, names(6))
    assert math.isnan(found.loss)
    assert (found.accuracy, found.top5) == (5 / 7, 5 / 7)
    assert [kind.recall for kind in found.per_class] == [0.5, 0, 1, 1, 1, 1]
    assert [kind.precision for kind in found.per_class] == [1, 0, 1, 1, 1, 1]
