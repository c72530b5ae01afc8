"""The rule of the range test, held against curves whose lowest and steepest points are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.errors import UsageError
from cnnlab.training.lr_finder.curve import WIDTH, analyze_curve, geometric_rates, num_valid_steps

RATES = geometric_rates(1e-6, 1.0, 200)
RUNG = RATES[1] / RATES[0]
losses_of_any_kind = st.lists(
    st.floats(-2, 2).map(lambda power: 10**power) | st.sampled_from([math.nan, math.inf, 1e30]), min_size=1, max_size=60
)


def fall(rate: float, middle: float, steep: float = 1.5) -> float:
    """From 2.3 to 0.3 along a logistic curve in the rate's logarithm, whose steepest point is its middle."""
    return 2.3 - 2 / (1 + (middle / rate) ** steep)


def test_a_ladder_rises_in_equal_ratios_between_its_ends() -> None:
    rates = geometric_rates(3e-5, 0.7, 37)
    assert (rates[0], rates[-1], len(rates)) == (3e-5, 0.7, 37)
    ratios = np.array(rates[1:]) / np.array(rates[:-1])
    np.testing.assert_allclose(ratios, (0.7 / 3e-5) ** (1 / 36), rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 1e-6, 100), "--from, --to: these can't be learning rates\n  received: 1 to 1e-06\n  allowed:  finite"),
        ((0.0, 1.0, 100), "--from, --to: these can't be learning rates\n  received: 0 to 1"),
        ((-1.0, 0.0, 3), "2 problems"),
        ((1e-6, 1.0, 9), "--steps: this number of steps makes no curve\n  received: 9\n  allowed:  10 to 10,000"),
    ],
)
def test_wrong_rates_and_steps_are_usage_errors(arguments: tuple[float, float, int], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        geometric_rates(*arguments)
    assert message in str(caught.value)


@given(losses_of_any_kind)
def test_the_blow_up_is_where_the_running_mean_passes_four_times_its_lowest(losses: list[float]) -> None:
    means = []
    for step in range(len(losses)):
        with np.errstate(invalid="ignore"):
            means.append(np.average(losses[: step + 1], weights=0.9 ** np.arange(step, -1, -1.0)))
    bad = [step for step, mean in enumerate(means) if not mean <= 4 * min(means[: step + 1]) or math.isinf(mean)]
    assert num_valid_steps(losses) == (bad[0] if bad else len(losses))


def test_smoothing_is_a_mean_under_a_bell() -> None:
    losses = [fall(rate, 1e-3) + 0.1 * math.sin(137 * step) for step, rate in enumerate(RATES)]
    places = np.arange(len(RATES))
    width = WIDTH * len(RATES)
    expected = [np.average(losses, weights=np.exp(-0.5 * ((places - here) / width) ** 2)) for here in places]
    # The bell ends at three widths, beyond which lies 0.3 % of it.
    np.testing.assert_allclose(analyze_curve(RATES, losses).smoothed, expected, rtol=0.005)


@pytest.mark.parametrize("middle", [1e-5, 3e-4, 1e-3, 0.02])
def test_the_steepest_point_of_a_logistic_curve_is_its_middle(middle: float) -> None:
    blown = [fall(rate, middle) if rate < 0.5 else 1e3 for rate in RATES]
    found = analyze_curve(RATES, blown)
    assert middle / RUNG <= found.steepest <= middle * RUNG
    assert len(found.smoothed) == sum(rate < 0.5 for rate in RATES)
    # It falls up to the end: the lowest loss is the last that counts.
    assert found.limit == max(rate for rate in RATES if rate < 0.5)
    assert found.suggestion == min(found.limit / 10, found.steepest)


def test_a_valley_is_lowest_in_its_middle() -> None:
    losses = [1 + 0.2 * (math.log10(rate) + 2.5) ** 2 for rate in RATES]
    found = analyze_curve(RATES, losses)
    assert found.limit == pytest.approx(10**-2.5, rel=RUNG - 1)
    # A parabola is the steepest where it begins, and the lower of the two readings is suggested.
    assert found.suggestion == found.steepest == pytest.approx(RATES[0], rel=1)


def test_a_suggestion_is_no_lower_than_the_first_rate() -> None:
    rates = geometric_rates(1e-3, 10.0, 100)
    found = analyze_curve(rates, [fall(rate, 2e-3, 4) + 10 * rate for rate in rates])
    assert found.limit < 10 * rates[0]
    assert found.suggestion == rates[0]


curves = st.builds(
    lambda middle, steep, edge, seed: [
        fall(rate, 10**middle, steep) + (rate / 10**edge) ** 3 + 0.02 * noise
        for rate, noise in zip(RATES, np.random.default_rng(seed).normal(size=len(RATES)).tolist(), strict=True)
    ],
    st.floats(-5, -2),
    st.floats(0.5, 3),
    st.floats(-1.5, 0),
    st.integers(0, 10**6),
)


@given(curves)
def test_readings_lie_between_the_first_and_the_last_rate_tried(losses: list[float]) -> None:
    kept = num_valid_steps(losses)
    found = analyze_curve(RATES, losses)
    assert RATES[0] <= found.suggestion <= found.limit <= RATES[kept - 1]
    assert found.suggestion <= found.steepest <= found.limit
    assert min(losses[:kept]) <= min(found.smoothed) <= max(found.smoothed) <= max(losses[:kept])


@given(losses_of_any_kind)
def test_any_losses_are_read_or_refused_in_words(losses: list[float]) -> None:
    found = analyze_curve(RATES, losses)
    assert (found.suggestion is None) == bool(found.trouble) == bool(found.advice)


@pytest.mark.parametrize(
    ("losses", "trouble", "advice"),
    [
        ([math.nan] * 200, "the loss is not a finite number before any rate has done anything", "init"),
        (
            [2.3] * 6 + [1e9],
            "the loss blew up after 6 steps, at a rate of 1.5e-06: too few",
            "--from 1e-09 --to 1.5e-06",
        ),
        (
            [2.3] * 200,
            "2.3 in the first steps, smoothed never below 2.3",
            "take more steps or other rates: --steps 800",
        ),
        ([2.3 + step / 200 for step in range(200)], "did not fall clearly at any rate", "--to 10"),
        ([2.3] * 50 + [math.inf], "did not fall clearly at any rate", "--steps 800, or --from 1e-08"),
    ],
)
def test_where_nothing_can_be_suggested_it_says_why(losses: list[float], trouble: str, advice: str) -> None:
    found = analyze_curve(RATES, losses)
    assert found.suggestion is found.limit is found.steepest is None
    assert trouble in found.trouble
    assert advice in found.advice


def test_noise_alone_is_no_fall() -> None:
    draws = np.random.default_rng(0)
    found = [analyze_curve(RATES, (2.3 + 0.2 * draws.normal(size=200)).tolist()) for _ in range(200)]
    # The lowest of a dozen smoothed values, which share nothing, rarely passes four times their noise.
    assert sum(one.suggestion is not None for one in found) <= 4
