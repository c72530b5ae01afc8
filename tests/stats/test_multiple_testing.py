"""Adjusted p-values, against statsmodels."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from cnnlab.stats.multiple_testing import benjamini_hochberg, holm, per_test_levels

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(p_values)
@example([0.01, 0.01, 0.04])
@example([0.5, 0.9, 1.0])
def test_holm_is_statsmodels(p):
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


@given(p_values)
@example([0.01, 0.01, 0.04])
def test_benjamini_and_hochberg_is_statsmodels(p):
    assert benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1])


@given(p_values, st.sampled_from([0.05, 0.2]), st.booleans())
@example([0.001, 0.02, 0.03, 0.5], 0.05, False)
@example([0.03, 0.03, 0.045], 0.05, False)
@example([0.001, 0.02, 0.03, 0.5], 0.05, True)
def test_a_test_passes_at_its_own_level_just_where_its_adjusted_p_lies_below_alpha(p, alpha, screening):
    adjusted = (benjamini_hochberg if screening else holm)(p)
    for before, after, level in zip(p, adjusted, per_test_levels(p, alpha, screening=screening), strict=True):
        if abs(after - alpha) > 1e-9:
            assert (before < level) == (after < alpha)


def test_no_tests_have_no_levels():
    assert (
        holm([])
        == benjamini_hochberg([])
        == per_test_levels([], 0.05)
        == per_test_levels([], 0.05, screening=True)
        == ()
    )
