"""Reliability against a loop by hand and scikit-learn, and chance's share of it against fresh simulations."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import metrics as oracle

from cnnlab.randomness import generator
from cnnlab.stats.calibration import (
    NUM_BINS,
    brier_score,
    calibration_error,
    calibration_metrics,
    equal_mass_bins,
    equal_width_bins,
)


def drawn(seed: int, count: int, kinds: int = 5, factor: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels that are drawn from their own probabilities; then the logits times a factor."""
    numbers = np.random.default_rng(seed)
    logits = numbers.normal(0, 1.5, (count, kinds))
    labels = (softmax(logits, axis=1).cumsum(axis=1) > numbers.random((count, 1))).argmax(axis=1)
    return factor * logits, labels


def by_hand(confidence: np.ndarray, right: np.ndarray, bins: int = NUM_BINS) -> float:
    """Guo and others, equation 3, image by image."""
    groups: dict[int, list[tuple[float, bool]]] = {}
    for value, hit in zip(confidence, right, strict=True):
        groups.setdefault(ceil(value * bins) - 1, []).append((value, hit))
    gaps = [abs(sum(hit for _, hit in group) - sum(value for value, _ in group)) for group in groups.values()]
    return sum(gaps) / len(confidence)


@given(st.integers(0, 2**32), st.integers(1, 80), st.integers(2, 8))
def test_the_error_is_that_of_a_loop_and_the_scores_are_scikit_learns(seed: int, count: int, kinds: int) -> None:
    logits, labels = drawn(seed, count, kinds, 1.7)
    probabilities = softmax(logits, axis=1)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    found = calibration_metrics(logits, labels, generator(0, "test"), draws=5)
    assert found.width.value == pytest.approx(by_hand(confidence, right))
    assert found.loss == pytest.approx(oracle.log_loss(labels, probabilities, labels=range(kinds)))
    one_hot = np.eye(kinds)[labels]
    assert found.brier == pytest.approx(((probabilities - one_hot) ** 2).sum(axis=1).mean())
    assert (found.confidence, found.accuracy) == (pytest.approx(confidence.mean()), pytest.approx(right.mean()))
    for error in (found.width, found.mass):
        assert sum(each.images for each in error.bins) == count
        shares = [each.images / count * abs(each.accuracy - each.confidence) for each in error.bins]
        assert error.value == pytest.approx(sum(shares))


def test_the_brier_score_of_two_classes_is_twice_scikit_learns() -> None:
    logits, labels = drawn(1, 50, 2)
    probabilities = softmax(logits, axis=1)
    assert brier_score(probabilities, labels) == pytest.approx(2 * oracle.brier_score_loss(labels, probabilities[:, 1]))


def test_edges_belong_to_the_bin_below() -> None:
    assert equal_width_bins(np.array([1 / 15, 0.0667, 2 / 15, 14 / 15, 0.9334, 1.0])).tolist() == [0, 1, 1, 13, 14, 14]


@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 20))
def test_bins_of_equal_mass_are_even_but_keep_ties_together(seed: int, count: int, different: int) -> None:
    numbers = np.random.default_rng(seed)
    apart = numbers.permutation(count) / count
    sizes = np.bincount(equal_mass_bins(apart))
    sizes = sizes[sizes > 0]
    assert sizes.max() - sizes.min() <= 1
    assert len(sizes) == min(count, NUM_BINS)
    tied = numbers.integers(0, different, count) / different
    places = equal_mass_bins(tied)
    for value in np.unique(tied):
        assert len(np.unique(places[tied == value])) == 1
    order = np.argsort(tied, kind="stable")
    assert (np.diff(places[order]) >= 0).all()


@pytest.mark.full
def test_the_limit_holds_for_a_calibrated_network_in_97_of_100_cases() -> None:
    """200 calibrated networks of fresh images: as many lie beyond their limits as the limits say, 2.5 %."""
    beyond = 0
    for seed in range(200):
        logits, labels = drawn(seed, 400)
        found = calibration_metrics(logits, labels, generator(seed, "limits"), draws=200)
        beyond += found.width.value > found.width.limit
    # Binomial with 200 and 0.025: 0 to 12 in all but one case of 1,000.
    assert 1 <= beyond <= 12


def test_the_mean_of_chance_is_what_calibrated_networks_show() -> None:
    shown, told = [], []
    for seed in range(60):
        logits, labels = drawn(1000 + seed, 400)
        found = calibration_metrics(logits, labels, generator(seed, "means"), draws=200)
        shown.append((found.width.value, found.mass.value))
        told.append((found.width.chance, found.mass.chance))
    errors = np.std(shown, axis=0) / np.sqrt(len(shown))
    assert (np.abs(np.mean(shown, axis=0) - np.mean(told, axis=0)) < 4 * errors).all()


def test_logits_times_two_are_beyond_chance_and_too_sure() -> None:
    logits, labels = drawn(7, 2000, factor=2.0)
    found = calibration_metrics(logits, labels, generator(0, "twice"), draws=200)
    assert found.width.value > found.width.limit
    assert found.mass.value > found.mass.limit
    assert found.confidence - found.accuracy > 0.05


def test_a_bins_band_holds_the_binomial_share() -> None:
    """All images with one probability: the band is the binomial's."""
    confidence = np.full(400, 0.75)
    error = calibration_error(confidence, np.ones(400, bool), equal_mass_bins(confidence), generator(0, "band"), 4000)
    (only,) = error.bins
    assert (only.images, only.low, only.high, only.accuracy) == (400, 0.75, 0.75, 1.0)
    from scipy.stats import binom

    expected = binom.ppf([0.025, 0.975], 400, 0.75) / 400
    assert only.band == pytest.approx(expected, abs=0.004)
    assert error.value == pytest.approx(0.25)
    assert error.value > error.limit


def test_certain_and_single_answers_are_no_trouble() -> None:
    found = calibration_metrics(np.array([[1e6, 0.0]]), np.array([1]), generator(0, "one"), draws=10)
    assert (found.width.value, found.brier, found.loss) == (1.0, 2.0, 1e6)
    assert len(found.width.bins) == len(found.mass.bins) == 1
