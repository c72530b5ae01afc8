"""Intervals of shares, against statsmodels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from cnnlab.stats.intervals import wilson_interval

counts = st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts=counts, level=st.floats(0.5, 0.999))
def test_agrees_with_statsmodels(counts, level):
    successes, n = counts
    expected = proportion_confint(successes, n, alpha=1 - level, method="wilson")
    assert wilson_interval(successes, n, level) == pytest.approx(expected, abs=1e-9)


@given(counts=counts)
def test_the_share_is_inside_and_the_interval_never_leaves_0_to_1(counts):
    successes, n = counts
    low, high = wilson_interval(successes, n)
    assert 0 <= low <= successes / n <= high <= 1


def test_nothing_counted_says_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)
