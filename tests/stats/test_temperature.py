"""Temperatures against another optimiser, brute force and known truths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from cnnlab.randomness import generator
from cnnlab.stats.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    cross_fitted_logits,
    fit_temperature,
    temperature_interval,
)


def drawn(seed: int, count: int, factor: float, kinds: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the probabilities of logits; the logits are then multiplied."""
    numbers = np.random.default_rng(seed)
    logits = numbers.normal(0, 1.5, (count, kinds))
    labels = (softmax(logits, axis=1).cumsum(axis=1) > numbers.random((count, 1))).argmax(axis=1)
    return factor * logits, labels


def loss(logits: np.ndarray, labels: np.ndarray, value: float) -> float:
    return float(-log_softmax(logits / value, axis=1)[np.arange(len(labels)), labels].mean())


@given(st.integers(0, 2**32), st.integers(30, 200), st.floats(0.3, 5))
def test_no_other_temperature_has_less_loss(seed: int, count: int, factor: float) -> None:
    logits, labels = drawn(seed, count, factor)
    found = fit_temperature(logits, labels)
    other = minimize_scalar(
        lambda power: loss(logits, labels, np.exp(power)), bounds=(-4, 4), method="bounded", options={"xatol": 1e-9}
    )
    assert loss(logits, labels, found) <= other.fun + 1e-12
    assert found == pytest.approx(float(np.exp(other.x)), rel=1e-3)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_a_known_factor_is_found_again(factor: float) -> None:
    logits, labels = drawn(11, 4000, factor)
    found = temperature_interval(logits, labels)
    assert found.low < factor < found.high
    assert found.value == pytest.approx(factor, rel=0.08)
    assert not found.at_bound


def test_the_interval_is_about_that_of_fits_to_resampled_images() -> None:
    logits, labels = drawn(3, 300, 2.0)
    found = temperature_interval(logits, labels)
    draw, fits = generator(0, "same"), []
    for _ in range(300):
        some = draw.integers(300, size=300)
        fits.append(fit_temperature(logits[some], labels[some]))
    assert (found.low, found.high) == pytest.approx(np.quantile(fits, [0.025, 0.975]), rel=0.03)


@pytest.mark.slow
def test_the_interval_holds_the_truth_in_95_of_100_cases() -> None:
    held = 0
    for seed in range(200):
        found = temperature_interval(*drawn(seed, 400, 1.5))
        held += found.low < 1.5 < found.high
    assert 180 <= held <= 198


def test_all_right_and_worse_than_guessing_lie_at_the_ends() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(logits, np.array([0, 1])) == MIN_TEMPERATURE
    assert fit_temperature(logits, np.array([1, 0])) == MAX_TEMPERATURE
    found = temperature_interval(logits, np.array([0, 1]))
    assert (found.value, found.at_bound) == (MIN_TEMPERATURE, True)
    assert fit_temperature(np.zeros((3, 4)), np.array([0, 1, 2])) == 1  # whatever it is, nothing changes


def test_each_half_is_judged_with_the_other() -> None:
    logits, labels = drawn(5, 501, 2.0)
    cooled, values = cross_fitted_logits(logits, labels, generator(0, "halves"))
    used = (logits / cooled)[:, 0]
    first = np.isclose(used, values[0])
    assert abs(first.sum() - (~first).sum()) == 1
    np.testing.assert_allclose(used[~first], values[1])
    # The images of one half decide the temperature of the other alone.
    assert fit_temperature(logits[~first], labels[~first]) == pytest.approx(values[0])
    assert fit_temperature(logits[first], labels[first]) == pytest.approx(values[1])
    assert (cooled.argmax(axis=1) == logits.argmax(axis=1)).all()


def test_of_equal_logits_no_temperature_is_better_than_another() -> None:
    found = temperature_interval(np.full((30, 4), 2.5), np.arange(30) % 4)
    assert (found.value, found.low, found.high, found.indifferent) == (1.0, MIN_TEMPERATURE, MAX_TEMPERATURE, True)
    assert not found.at_bound
    assert not temperature_interval(*drawn(3, 60, 1.0)).indifferent
