"""An arm's figures, against scipy and statsmodels."""

from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from cnnlab.stats.sample import Sample, best_arm

values = st.lists(st.floats(-10, 10), min_size=2, max_size=12)


def sample(*runs: float) -> Sample:
    return Sample(name="arm", values=runs)


@given(values)
def test_mean_and_spread_are_numpys(runs):
    found = sample(*runs)
    assert found.mean == pytest.approx(np.mean(runs), abs=1e-12)
    assert found.sd == pytest.approx(np.std(runs, ddof=1), abs=1e-7)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.995])
def test_the_interval_is_statsmodels(level):
    runs = (0.71, 0.74, 0.70, 0.735, 0.72)
    assert sample(*runs).interval(level) == pytest.approx(DescrStatsW(runs).tconfint_mean(1 - level))


def test_failed_runs_are_counted_and_left_out():
    found = sample(0.7, nan, 0.8, inf, -inf)
    assert (found.finite, found.n, found.failures) == ((0.7, 0.8), 2, 3)
    assert found.mean == pytest.approx(0.75)


@pytest.mark.parametrize(("runs", "mean"), [((), None), ((nan,), None), ((0.7,), 0.7), ((0.7, nan), 0.7)])
def test_fewer_than_two_runs_have_no_spread(runs, mean):
    found = sample(*runs)
    assert (found.mean, found.sd, found.interval()) == (mean, None, None)


@given(st.floats(-1e6, 1e6), st.integers(2, 30))
def test_equal_runs_have_exactly_no_spread(value, n):
    found = sample(*[value] * n)
    assert (found.mean, found.sd) == (value, 0.0)
    assert found.interval() == (value, value)


@pytest.mark.parametrize(("failed", "runs"), [(0, 5), (1, 5), (3, 10), (5, 5), (0, 1)])
def test_the_share_of_failures_has_the_exact_interval(failed, runs):
    found = sample(*[nan] * failed, *[0.7] * (runs - failed)).failure_interval
    assert found == pytest.approx(proportion_confint(failed, runs, alpha=0.05, method="beta"))
    assert sample().failure_interval == (0.0, 1.0)  # without runs nothing is known


def test_a_failed_run_survives_the_way_through_json():
    found = Sample.from_json(sample(0.7, nan, inf).to_json())
    assert found.values[0] == 0.7
    assert np.isnan(found.values[1])
    assert found.values[2] == inf
    assert found.failures == 2


ARMS = [
    Sample(name="low", values=(0.70, 0.71, 0.72)),
    Sample(name="high", values=(0.74, 0.72, 0.73)),
    Sample(name="lucky", values=(0.79, 0.78)),
    Sample(name="even", values=(0.71, 0.71, 0.71)),
]


def test_the_best_arm_has_three_runs_and_the_first_of_equal_means_counts():
    assert best_arm(ARMS) == 1
    assert best_arm(ARMS[2:3]) is None
    assert best_arm(ARMS, min_runs=2) == 2
    assert best_arm([ARMS[0], ARMS[3]]) == 0
    assert best_arm(ARMS, higher_is_better=False) == 0


def test_failed_runs_don_t_count_towards_three():
    arms = [Sample(name="a", values=(0.9, 0.9, nan, inf)), Sample(name="b", values=(0.8, 0.8, 0.8, nan))]
    assert best_arm(arms) == 1
