"""Two models on the same images: statsmodels, a published interval, and a likelihood worked out anew."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from cnnlab.stats.paired import McNemarResult, mcnemar_test, paired_interval

counts = st.tuples(*[st.integers(0, 30)] * 4).filter(any)


def answers(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    mixed = np.random.Generator(np.random.PCG64(1)).permutation(len(a))
    return a[mixed], b[mixed]


@given(counts)
def test_the_test_is_statsmodels(table):
    both, only_a, only_b, neither = table
    found = mcnemar_test(*answers(*table))
    assert (found.both_right, found.only_a, found.only_b, found.both_wrong) == table
    assert found.p == pytest.approx(min(1, statsmodels_mcnemar([[both, only_a], [only_b, neither]], exact=True).pvalue))
    assert found.images == sum(table)


def test_the_interval_is_the_published_one():
    """Airway hyper-responsiveness before and after a transplantation: Fagerland, Lydersen, Laake: Recommended tests and
    confidence intervals for paired binomial proportions, Statistics in Medicine 33, 2014: −0.517 to −0.026."""
    assert paired_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("only_a", "only_b", "images"), [(12, 2, 50), (30, 25, 100), (3, 9, 20), (1, 1, 5)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_ends_are_where_the_score_test_just_stands(only_a, only_b, images, level):
    """With the other share's likelihood maximised numerically instead of by its formula."""
    for gap in paired_interval(only_a, only_b, images, level):

        def surprise(share, gap=gap):
            shares = (share + gap, share, 1 - 2 * share - gap)
            times = (only_a, only_b, images - only_a - only_b)
            return -sum(count * log(max(each, 1e-300)) for count, each in zip(times, shares, strict=True))

        bounds = (max(0.0, -gap), (1 - gap) / 2)
        share = optimize.minimize_scalar(surprise, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        score = (only_a - only_b - images * gap) / (images * (2 * share + gap - gap**2)) ** 0.5
        assert abs(score) == pytest.approx(stats.norm.ppf((1 + level) / 2), abs=1e-4)


@given(counts)
def test_the_interval_holds_the_difference_and_stays_within_one(table):
    found = mcnemar_test(*answers(*table))
    assert -1 <= found.low <= found.difference <= found.high <= 1
    assert found.low < found.high


@given(counts)
def test_swapping_the_models_turns_all_round(table):
    a, b = answers(*table)
    here, there = mcnemar_test(a, b), mcnemar_test(b, a)
    assert there.p == here.p
    assert (there.low, there.high, there.difference) == pytest.approx(
        (-here.high, -here.low, -here.difference), abs=1e-9
    )


def test_nothing_that_differs_is_not_nothing_known():
    """Tango's interval of 0 of n: z²/(n + z²) to either side."""
    end = stats.norm.ppf(0.975) ** 2
    assert paired_interval(0, 0, 50) == pytest.approx((-end / (50 + end), end / (50 + end)))
    assert mcnemar_test(*answers(3, 0, 0, 2)).p == 1.0
    always = mcnemar_test(*answers(0, 12, 0, 0))
    assert (always.difference, always.high) == (1.0, 1.0)
    assert 0 < always.low < 1


def test_a_result_survives_the_way_through_json():
    found = mcnemar_test(*answers(600, 250, 130, 20), names=("wide", "narrow"))
    assert McNemarResult.from_json(found.to_json()) == found
