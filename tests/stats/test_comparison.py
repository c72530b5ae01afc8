"""A against B: numbers against statsmodels and scipy, verdicts against their rule, and what must not matter."""

from math import inf, isnan, nan, sqrt

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW, ttest_ind

from cnnlab.errors import UsageError
from cnnlab.stats.comparison import Comparison, DecisionRules, compare, permutation_test, superiority
from cnnlab.stats.power import seeds_for_equivalence, seeds_to_detect
from cnnlab.stats.sample import Sample

A = (0.741, 0.748, 0.744, 0.739, 0.751, 0.7455)
B = (0.742, 0.731, 0.745, 0.729, 0.738)
MIRROR = {"better": "worse", "worse": "better"}
# Multiples of 1/1024: sums, shifts and doublings of them are exact.
exact = st.integers(-2000, 2000).map(lambda number: number / 1024)
runs = st.lists(exact, min_size=5, max_size=8)


def arm(*values: float, name: str = "arm") -> Sample:
    return Sample(name=name, values=values)


def against(a, b, delta=0.002, **rules) -> Comparison:
    return compare(arm(*a, name="a"), arm(*b, name="b"), DecisionRules(delta, **rules))


def test_welch_is_statsmodels():
    found = against(A, B)
    _, p, _ = ttest_ind(A, B, usevar="unequal")
    means = CompareMeans(DescrStatsW(A), DescrStatsW(B))
    assert found.p == pytest.approx(p)
    assert (found.low, found.high) == pytest.approx(means.tconfint_diff(0.05, usevar="unequal"))
    assert (found.equal_low, found.equal_high) == pytest.approx(means.tconfint_diff(0.10, usevar="unequal"))
    assert found.p_equal == pytest.approx(means.ttost_ind(-0.002, 0.002, usevar="unequal")[0])
    assert (found.level, found.alpha, found.delta) == (0.95, 0.05, 0.002)
    # A lone comparison is adjusted for nothing.
    assert (found.p_adjusted, found.p_equal_adjusted) == (found.p, found.p_equal)


@given(runs, runs, st.sampled_from([0.01, 0.05, 0.2]))
def test_welch_is_scipys(a, b, alpha):
    assume(np.var(a) + np.var(b) > 0)
    found = against(a, b, alpha=alpha)
    expected = stats.ttest_ind(a, b, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-9)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(1 - alpha)), abs=1e-9)


@given(runs, runs, st.sampled_from([0.1, 0.5, 2.0]))
def test_the_verdict_is_read_from_the_two_intervals(a, b, delta):
    found = against(a, b, delta)
    edges = (found.low, found.high, found.equal_low + delta, found.equal_high - delta)
    assume(min(map(abs, edges)) > 1e-9)
    if found.equal_low > -delta and found.equal_high < delta:
        expected = "practically equal"
    elif found.low > 0 or found.high < 0:
        expected = "better" if found.low > 0 else "worse"
    else:
        expected = "undecided"
    assert found.verdict == expected


def test_each_verdict():
    near = (0.7001, 0.7002, 0.7000, 0.7001, 0.7002)
    assert against(A, [each - 0.03 for each in A]).verdict == "better"
    assert against([each - 0.03 for each in A], A).verdict == "worse"
    assert against(A, B).verdict == "undecided"
    assert against(near, near).verdict == "practically equal"
    # A difference that is there and does not matter.
    there = against((0.7010, 0.7011, 0.7009, 0.7010, 0.7010), (0.7000, 0.7001, 0.6999, 0.7000, 0.7000))
    assert (there.low > 0, there.verdict) == (True, "practically equal")


def test_a_lower_loss_is_better():
    low, high = (0.50, 0.51, 0.50, 0.52, 0.51), (0.60, 0.61, 0.60, 0.62, 0.61)
    found = against(low, high, higher_is_better=False, accuracy=False)
    assert (found.verdict, found.superiority) == ("better", 1.0)
    assert found.difference == pytest.approx(-0.1)
    assert against(high, low, higher_is_better=False).verdict == "worse"
    assert against(low, high, higher_is_better=False).error_change is None


@pytest.mark.parametrize("n", range(5))
def test_fewer_than_five_finite_runs_give_no_verdict(n):
    for few in (A[:n], [*A[:n], nan, inf]):
        for found in (against(few, B), against(B, few)):
            assert found.verdict == "no verdict"
            assert (found.p is None) == (n < 2)
            assert found.needed >= 5
    assert against(A[:n], [each - 0.5 for each in A]).verdict == "no verdict"


@given(st.lists(exact, max_size=4), st.lists(exact, max_size=12))
def test_whatever_the_runs_no_verdict_comes_of_fewer_than_five(few, many):
    assert against(few, many, accuracy=False).verdict == against(many, few, accuracy=False).verdict == "no verdict"


def test_numbers_are_described_without_a_verdict():
    found = against(A[:2], B[:3])
    assert found.p == pytest.approx(stats.ttest_ind(A[:2], B[:3], equal_var=False).pvalue)
    one = against(A[:1], B)
    assert one.difference == pytest.approx(A[0] - np.mean(B))
    assert (one.low, one.high, one.equal_low, one.p_adjusted) == (None,) * 4
    none = against((), (nan,))
    assert (none.mean_a, none.difference, none.superiority, none.p_permutation, none.needed) == (None,) * 5


def test_failed_runs_are_counted():
    found = against([*A, nan, -inf], [*B, inf])
    plain = against(A, B)
    assert (found.failures_a, found.failures_b, found.n_a, found.n_b) == (2, 1, 6, 5)
    assert found.model_copy(update={"failures_a": 0, "failures_b": 0}) == plain


@pytest.mark.parametrize(
    ("gap", "verdict", "p", "p_equal"),
    [(0, "practically equal", 1, 0), (0.25, "practically equal", 0, 0), (0.5, "better", 0, 1), (-1, "worse", 0, 1)],
)
def test_runs_without_any_spread(gap, verdict, p, p_equal):
    found = against([1 + gap] * 5, [1.0] * 7, delta=0.5, accuracy=False)
    assert (found.verdict, found.p, found.p_equal) == (verdict, p, p_equal)
    assert (found.low, found.high, found.equal_low, found.equal_high) == (gap,) * 4
    assert found.p_permutation == pytest.approx(1 if gap == 0 else 1 / 792)


def test_one_arm_without_spread_is_a_test_against_its_value():
    found = against(A, [0.74] * 5)
    assert found.p == pytest.approx(stats.ttest_1samp(A, 0.74).pvalue)


@given(runs, runs)
def test_nothing_comes_out_as_no_number(a, b):
    for figure in against(a, b).model_dump().values():
        assert not isinstance(figure, float) or not isnan(figure)


@given(runs, runs, st.booleans())
def test_swapping_the_arms_changes_only_signs(a, b, higher):
    rules = {"delta": 0.5, "higher_is_better": higher, "accuracy": False}
    here, there = against(a, b, **rules), against(b, a, **rules)
    assert there.difference == -here.difference
    assert (there.low, there.high) == (-here.high, -here.low)
    assert (there.equal_low, there.equal_high) == (-here.equal_high, -here.equal_low)
    for name in ("p", "p_equal", "p_adjusted", "p_equal_adjusted", "needed", "level"):
        assert getattr(there, name) == getattr(here, name)
    assert there.p_permutation == pytest.approx(here.p_permutation)
    assert there.superiority == pytest.approx(1 - here.superiority)
    assert there.verdict == MIRROR.get(here.verdict, here.verdict)


@pytest.mark.parametrize(("first", "second"), [(5, 5), (8, 3), (2, 6)])
def test_the_permutation_test_is_scipys(first, second):
    values = np.random.Generator(np.random.PCG64(first)).normal(size=first + second)
    a, b = values[:first], values[first:]
    expected = stats.permutation_test(
        (a, b), lambda x, y, axis: np.abs(x.mean(axis) - y.mean(axis)), n_resamples=inf, alternative="greater"
    )
    assert permutation_test(arm(*a), arm(*b)) == pytest.approx(expected.pvalue)


def test_past_eight_runs_there_is_no_permutation_test():
    assert against(A * 2, B).p_permutation is None
    assert against(range(8), range(8), accuracy=False).p_permutation == 1.0


@given(runs, runs)
def test_superiority_is_mann_whitneys(a, b):
    expected = stats.mannwhitneyu(a, b).statistic / (len(a) * len(b))
    assert superiority(arm(*a), arm(*b)) == pytest.approx(expected)
    assert superiority(arm(*a), arm(*b), higher_is_better=False) == pytest.approx(1 - expected)


def test_the_errors_change_is_relative_to_bs():
    found = against([0.76] * 5, [0.75] * 5)
    assert found.error_change == pytest.approx(-0.04)
    assert against([0.76] * 5, [1.0] * 5).error_change is None
    assert against(A, B, accuracy=False).error_change is None


def test_needed_is_the_larger_of_the_two_plans_at_the_pooled_spread():
    found = against(A, B)
    pooled = sqrt((5 * np.var(A, ddof=1) + 4 * np.var(B, ddof=1)) / 9)
    assert found.needed == max(seeds_to_detect(pooled, 0.002), seeds_for_equivalence(pooled, 0.002))
    assert against(A, [each - 0.03 for each in A]).needed is None
    assert against(A, B[:1]).needed == seeds_for_equivalence(float(np.std(A, ddof=1)), 0.002)


def test_needed_is_more_than_there_is():
    """Runs that were enough by the plan and did not decide: the difference lies where neither is likely."""
    around = np.linspace(-1.0, 1.0, 12)
    around *= 0.686 / around.std(ddof=1)
    found = against(around + 0.55, around, delta=1.0, accuracy=False)
    assert max(seeds_to_detect(0.686, 1.0), seeds_for_equivalence(0.686, 1.0)) < 12
    assert (found.verdict, found.needed) == ("undecided", 13)
    assert against([0.7] * 3, [0.7] * 3).needed == 5


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"delta": 0.0}, ("delta: this is no smallest difference", "received: 0", "above 0", "0.002 for 0.2 points")),
        ({"delta": nan}, ("delta: this is no smallest difference", "received: nan")),
        ({"delta": 0.002, "alpha": 0.5}, ("alpha: this is no rate of wrong verdicts", "0 and 0.5", "0.05 for 5 %")),
        ({"delta": -1, "alpha": 5}, ("2 problems", "delta:", "alpha:")),
    ],
)
def test_rules_that_can_not_be(rules, words):
    with pytest.raises(UsageError) as caught:
        DecisionRules(**rules).validate()
    for word in words:
        assert word in str(caught.value)
