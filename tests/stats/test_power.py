"""Numbers of runs: the table that the project plans by, statsmodels, and integrals by scipy."""

from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from statsmodels.stats.power import TTestIndPower

from cnnlab.stats.power import (
    detectable_difference,
    planning_sd,
    power_of_difference,
    power_of_equivalence,
    seeds_for_equivalence,
    seeds_to_detect,
)
from cnnlab.stats.welch import nominal_level

# Runs an arm for 80 / 90 % power, by the spread between seeds and the difference, both in points.
TABLE = {
    (0.15, 0.2): (10, 13), (0.15, 0.3): (6, 7), (0.15, 0.5): (3, 4), (0.15, 1.0): (2, 3),
    (0.20, 0.2): (17, 23), (0.20, 0.3): (9, 11), (0.20, 0.5): (4, 5), (0.20, 1.0): (3, 3),
    (0.30, 0.2): (37, 49), (0.30, 0.3): (17, 23), (0.30, 0.5): (7, 9), (0.30, 1.0): (3, 4),
    (0.50, 0.2): (100, 133), (0.50, 0.3): (45, 60), (0.50, 0.5): (17, 23), (0.50, 1.0): (6, 7),
}  # fmt: skip


def test_the_table_of_seeds():
    for (sd, difference), runs in TABLE.items():
        assert tuple(seeds_to_detect(sd / 100, difference / 100, power=power) for power in (0.8, 0.9)) == runs


@pytest.mark.parametrize(("sd", "n"), [(0.003, 8), (0.003, 5), (0.01, 50), (0.001, 2), (0.02, 2)])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_the_power_of_equivalence_is_the_integral_over_the_spread(sd, n, alpha):
    freedom, delta = 2 * n - 2, 0.005
    t, room = stats.t.ppf(1 - alpha, freedom), delta / (sd * sqrt(2 / n))

    def inside(square):
        return (2 * stats.norm.cdf(room - t * sqrt(square / freedom)) - 1) * stats.chi2.pdf(square, freedom)

    expected, _ = integrate.quad(inside, 0, freedom * (room / t) ** 2, limit=200)
    assert power_of_equivalence(sd, delta, n, alpha) == pytest.approx(expected, abs=1e-8)


def test_the_power_of_equivalence_is_its_rate():
    draws = np.random.Generator(np.random.PCG64(3)).normal(size=(2, 20_000, 10))
    difference = draws[0].mean(1) - draws[1].mean(1)
    error = np.sqrt((draws[0].var(1, ddof=1) + draws[1].var(1, ddof=1)) / 10)
    shown = int((np.abs(difference) + stats.t.ppf(0.95, 18) * error < 1.3).sum())
    assert stats.binomtest(shown, 20_000, power_of_equivalence(1.0, 1.3, 10)).pvalue > 1e-3


numbers = {"sd": st.floats(0.001, 20), "alpha": st.sampled_from([0.001, 0.05, 0.2]), "power": st.floats(0.3, 0.99)}


@given(**numbers)
def test_the_number_is_the_smallest_that_is_enough(sd, alpha, power):
    n = seeds_to_detect(sd, 1.0, power=power, alpha=alpha)
    assert power_of_difference(sd, 1.0, n, alpha) >= power
    assert n == 2 or power_of_difference(sd, 1.0, n - 1, alpha) < power
    n = seeds_for_equivalence(sd, 1.0, power=power, alpha=alpha)
    assert power_of_equivalence(sd, 1.0, n, alpha) >= power
    assert n == 2 or power_of_equivalence(sd, 1.0, n - 1, alpha) < power


@pytest.mark.parametrize(
    ("n", "n_b", "comparisons", "power"), [(5, None, 1, 0.9), (2, None, 1, 0.8), (25, 10, 1, 0.8), (5, 16, 10, 0.8)]
)
def test_the_detectable_difference_is_found_with_that_power(n, n_b, comparisons, power):
    difference = detectable_difference(0.003, n, n_b, power=power, comparisons=comparisons) / 0.003
    draws = np.random.Generator(np.random.PCG64(0))
    arms = draws.normal(difference, 1, (20_000, n)), draws.normal(0, 1, (20_000, n_b or n))
    p = stats.ttest_ind(*arms, axis=1, equal_var=False).pvalue
    level = 0.05 if comparisons == 1 else nominal_level(0.05 / comparisons, n, n_b)
    assert (p < level).mean() == pytest.approx(power, abs=0.01)  # 3.5 standard errors of the simulation


@pytest.mark.parametrize(("n", "n_b"), [(40, 40), (250, 250)])
def test_with_many_runs_the_detectable_difference_is_that_of_the_t_test(n, n_b):
    assert TTestIndPower().power(detectable_difference(1.0, n, n_b), n, 0.05, n_b / n) == pytest.approx(0.8, abs=1e-3)


def test_a_single_run_detects_nothing_and_runs_without_spread_everything():
    assert detectable_difference(0.003, 1) == detectable_difference(0.003, 9, 1) == inf
    assert detectable_difference(0.0, 2) == 0.0
    for spread in (0.0, 1e-9):
        assert seeds_to_detect(spread, 0.002) == seeds_for_equivalence(spread, 0.002) == 2
    assert seeds_to_detect(5.0, 0.002) == pytest.approx(2 * 2.8016**2 * 2500**2, rel=1e-3)


def test_the_spread_to_plan_with():
    assert planning_sd(0.25, 5000) == pytest.approx(0.005)
    assert planning_sd(0.25, 5000) / planning_sd(0.25, 10_000) == pytest.approx(sqrt(2))
    assert planning_sd(0.25, 5000, pilot=0.004) == pytest.approx(0.005)
    assert planning_sd(0.25, 5000, pilot=0.006) == 0.006
