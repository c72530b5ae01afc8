"""Paired differences against scipy and statsmodels, their families, and their rates of wrong verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from cnnlab.errors import UsageError
from cnnlab.stats.comparison import DecisionRules
from cnnlab.stats.paired import effects_over_images, effects_over_runs, mcnemar_test

RULES = DecisionRules(0.01)


def simulated(seed: int, n: int, effects: list[float], sd: float = 0.004) -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(seed)
    without = 0.7 + 0.02 * drawn.standard_normal(n)
    return without, np.array([without + effect + sd * drawn.standard_normal(n) for effect in effects])


@given(st.integers(0, 10_000), st.integers(5, 12))
def test_intervals_and_verdicts_are_scipys_and_statsmodels(seed: int, n: int) -> None:
    effects = [-0.3, -0.012, -0.004, 0.0, 0.02]
    without, under = simulated(seed, n, effects)
    found = effects_over_runs(list(without), [list(row) for row in under], RULES)
    p = [stats.ttest_rel(row, without).pvalue for row in under]
    p_equal = [
        max(
            stats.ttest_1samp(row - without, -RULES.delta, alternative="greater").pvalue,
            stats.ttest_1samp(row - without, RULES.delta, alternative="less").pvalue,
        )
        for row in under
    ]
    equal = multipletests(p_equal, RULES.alpha, method="holm")[0]
    differs = multipletests(p, RULES.alpha, method="holm")[0]
    for row, effect, is_equal, is_other in zip(under, found, equal, differs, strict=True):
        low, high = stats.ttest_rel(row, without).confidence_interval(1 - RULES.alpha / len(effects))
        assert (effect.low, effect.high) == (pytest.approx(low), pytest.approx(high))
        assert effect.difference == pytest.approx((row - without).mean())
        word = "practically equal" if is_equal else "undecided"
        if is_other and not is_equal:
            word = "better" if effect.difference > 0 else "worse"
        assert effect.verdict == word
        inside = -RULES.delta < effect.equal_low and effect.equal_high < RULES.delta
        assert inside == (effect.verdict == "practically equal")


def test_networks_apart_do_not_hide_what_a_shift_does_to_each() -> None:
    """Means apart by far less than their spread: Welch's test could not tell them apart."""
    without = [0.60, 0.65, 0.70, 0.75, 0.80]
    (found,) = effects_over_runs(without, [[value - 0.03 for value in without]], RULES)
    assert found.verdict == "worse"
    assert stats.ttest_ind(without, [value - 0.03 for value in without], equal_var=False).pvalue > 0.5


def test_few_networks_and_failed_ones_get_no_verdict() -> None:
    (few,) = effects_over_runs([0.7, 0.71, 0.7, 0.72], [[0.3, 0.31, 0.3, 0.3]], RULES)
    assert (few.verdict, few.low is not None) == ("no verdict", True)
    (failed,) = effects_over_runs([0.7] * 5, [[0.3, 0.3, float("nan"), 0.3, 0.3]], RULES)
    assert (failed.verdict, failed.difference, failed.low) == ("no verdict", None, None)


def test_differences_without_any_spread_are_points() -> None:
    same, worse = effects_over_runs([0.7, 0.6, 0.65, 0.7, 0.72], [[0.7, 0.6, 0.65, 0.7, 0.72], [0.5] * 5], RULES)
    assert (same.low, same.high, same.verdict) == (0.0, 0.0, "practically equal")
    assert worse.verdict == "worse"


def test_a_delta_that_can_not_be_is_refused() -> None:
    with pytest.raises(UsageError, match="this is no smallest difference of interest"):
        effects_over_runs([0.7, 0.7], [[0.6, 0.6]], DecisionRules(0.0))


def test_one_network_is_judged_by_its_images_with_mcnemars_intervals() -> None:
    without = np.arange(2000) < 1400
    under = np.tile(without, (3, 1))
    for row, (gained, lost) in zip(under, ((1, 2), (30, 45), (0, 600)), strict=True):
        row[:lost], row[-gained or 2000 :] = False, True
    found = effects_over_images(without, under, RULES)
    for row, effect in zip(under, found, strict=True):
        known = mcnemar_test(row, without, level=1 - RULES.alpha / 3)
        assert (effect.difference, effect.low, effect.high) == (known.difference, known.low, known.high)
    assert [effect.verdict for effect in found] == ["practically equal", "undecided", "worse"]
    assert {effect.n for effect in found} == {1}


def test_intervals_of_accuracies_lie_within_one() -> None:
    """Two networks whose effects differ, and one that is wrong on every image: the intervals would go beyond −1."""
    wide = effects_over_runs([0.9, 0.7], [[0.1, 0.6]], RULES)
    single = effects_over_images(np.ones(2, bool), np.zeros((3, 2), bool), RULES)
    for effect in (*wide, *single):
        assert (effect.low, effect.equal_low) == (-1.0, -1.0)
    (loss,) = effects_over_runs([0.9, 0.7], [[0.1, 0.6]], DecisionRules(0.01, accuracy=False))
    assert loss.low < -1


def test_past_twenty_conditions_it_is_a_screening() -> None:
    without, under = simulated(5, 6, [0.0] * 10 + [-0.005] * 11, sd=0.003)
    found = effects_over_runs(list(without), [list(row) for row in under], DecisionRules(0.001))
    p = [stats.ttest_rel(row, without).pvalue for row in under]
    screened, holm = (multipletests(p, 0.05, method=method)[0] for method in ("fdr_bh", "holm"))
    assert [effect.verdict in ("worse", "better") for effect in found] == list(screened)
    assert list(screened) != list(holm)


def test_a_family_without_an_effect_seldom_shows_one() -> None:
    """At α = 0.05 no more than 5 % of families: 600 of them, so that 8 % would be seen."""
    wrong = 0
    for seed in range(600):
        without, under = simulated(seed, 5, [0.0] * 6)
        found = effects_over_runs(list(without), [list(row) for row in under], DecisionRules(0.0001))
        wrong += any(effect.verdict in ("better", "worse") for effect in found)
    assert stats.binomtest(wrong, 600, 0.05, alternative="greater").pvalue > 0.001


def test_one_network_without_an_effect_is_seldom_said_to_change() -> None:
    drawn = np.random.default_rng(0)
    wrong = 0
    for _ in range(300):
        without = drawn.random(1000) < 0.7
        changed = drawn.random((4, 1000)) < 0.7
        keep = drawn.random((4, 1000)) < 0.8
        under = np.where(keep, without, changed)
        wrong += any(effect.verdict in ("better", "worse") for effect in effects_over_images(without, under, RULES))
    assert stats.binomtest(wrong, 300, 0.05, alternative="greater").pvalue > 0.001
