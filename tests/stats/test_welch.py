"""The size of Welch's test, against its rates in simulated studies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cnnlab.stats.welch import nominal_level, size_of_test

runs = st.integers(3, 40)


def rate(level: float, n_a: int, n_b: int, spread_a: float, studies: int = 200_000) -> float:
    """How often scipy's Welch test finds a difference where there is none; the spread of B is 1."""
    draws = np.random.Generator(np.random.PCG64(n_a + n_b))
    a, b = draws.normal(0, spread_a, (studies, n_a)), draws.normal(0, 1, (studies, n_b))
    return float((stats.ttest_ind(a, b, axis=1, equal_var=False).pvalue < level).mean())


@pytest.mark.parametrize(
    ("level", "n_a", "n_b"),
    [(0.005, 5, 16), *(pytest.param(*row, marks=pytest.mark.full) for row in ((0.01, 12, 5), (0.02, 6, 6)))],
)
def test_the_size_is_the_largest_rate_over_the_ratios_of_the_spreads(level, n_a, n_b):
    # Of these ratios one is near the worst.
    rates = [rate(level, n_a, n_b, spread_a) for spread_a in (0.3, 1.0, 1.8, 4.0)]
    found = size_of_test(level, n_a, n_b)
    error = np.sqrt(found / 200_000)
    assert found - 0.06 * found - 4 * error < max(rates) < found + 4 * error


@given(st.floats(1e-6, 0.5), runs, runs)
def test_the_size_is_never_below_the_level_and_does_not_depend_on_the_order(level, n_a, n_b):
    found = size_of_test(level, n_a, n_b)
    assert found >= level * (1 - 1e-6)
    assert found == pytest.approx(size_of_test(level, n_b, n_a))
    assert nominal_level(found, n_a, n_b) == pytest.approx(level)
    assert size_of_test(level / 2, n_a, n_b) < found


def test_with_many_runs_the_size_is_the_level():
    assert size_of_test(0.005, 300, 300) == pytest.approx(0.005, rel=0.01)
    assert (size_of_test(0.0, 5, 5), size_of_test(1.0, 5, 5)) == (0.0, 1.0)
