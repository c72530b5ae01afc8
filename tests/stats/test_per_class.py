"""Figures of classes against scikit-learn and simulation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from cnnlab.stats.intervals import wilson_interval
from cnnlab.stats.per_class import class_metrics, confused_pairs


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 8))
def test_every_figure_is_scikit_learns(seed: int, count: int, kinds: int) -> None:
    numbers = np.random.default_rng(seed)
    labels, predicted = numbers.integers(0, kinds, (2, count))
    names, every = [f"class {k}" for k in range(kinds)], range(kinds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of absent and of single classes
        confusion = oracle.confusion_matrix(labels, predicted, labels=every)
        expected = oracle.precision_recall_fscore_support(labels, predicted, labels=every, zero_division=np.nan)
    found = class_metrics(confusion, np.bincount(labels, minlength=kinds), names)
    for k, each in enumerate(found):
        for share, value in zip((each.precision, each.recall, each.f1), [row[k] for row in expected[:3]], strict=True):
            if share is None:
                assert np.isnan(value)
            else:
                assert share.value == pytest.approx(value)
                assert 0 <= share.low <= share.value <= share.high <= 1
        assert (each.name, each.images) == (names[k], expected[3][k])
        if each.recall is not None:
            assert (each.recall.low, each.recall.high) == wilson_interval(each.right, each.images)


def test_a_class_without_images_or_names_has_no_figures() -> None:
    confusion = np.array([[3, 0, 0], [1, 0, 0], [0, 0, 0]])
    _, unnamed, absent = class_metrics(confusion, np.array([3, 1, 0]), ["a", "b", "c"])
    assert unnamed.precision is None
    assert unnamed.recall is not None
    assert unnamed.f1 is not None
    assert (unnamed.recall.value, unnamed.f1.value) == (0, 0)
    assert (absent.precision, absent.recall, absent.f1) == (None, None, None)


def test_an_image_without_a_name_lowers_recall() -> None:
    (one, _) = class_metrics(np.array([[3, 0], [0, 2]]), np.array([4, 2]), ["a", "b"])
    assert one.recall is not None
    assert one.precision is not None
    assert (one.recall.value, one.precision.value) == (0.75, 1.0)


def test_the_interval_of_f1_holds_the_truth() -> None:
    numbers = np.random.default_rng(0)
    shares = np.array([0.3, 0.1, 0.08, 0.52])  # right, missed, wrongly named, neither
    truth = 2 * 0.3 / (2 * 0.3 + 0.1 + 0.08)
    held = 0
    for right, missed, wrongly, rest in numbers.multinomial(120, shares, size=2000).tolist():
        confusion = np.array([[right, missed], [wrongly, rest]])
        f1 = class_metrics(confusion, confusion.sum(axis=1), ["a", "b"])[0].f1
        assert f1 is not None
        held += f1.low <= truth <= f1.high
    assert 0.935 < held / 2000 < 0.97


def test_pairs_are_ordered_by_images_then_by_class() -> None:
    confusion = np.array([[5, 2, 0], [2, 1, 3], [0, 2, 0]])
    found = confused_pairs(confusion, np.array([7, 6, 4]), ["a", "b", "c"])
    assert [(p.true, p.predicted, p.images) for p in found] == [
        ("b", "c", 3),
        ("a", "b", 2),
        ("b", "a", 2),
        ("c", "b", 2),
    ]
    assert [p.share for p in found] == [3 / 6, 2 / 7, 2 / 6, 2 / 4]
    assert confused_pairs(np.diag([1, 2]), np.array([1, 2]), ["a", "b"]) == ()
