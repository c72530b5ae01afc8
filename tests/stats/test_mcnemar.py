"""Two models on the same images: statsmodels, and a published interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from cnnlab.stats.paired import mcnemar_test, paired_difference

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
    """Bonett and Price of airway hyper-responsiveness before and after a transplantation, −0.508 to −0.013: Fagerland,
    Lydersen, Laake: Recommended tests and confidence intervals for paired binomial proportions, Stat. Med. 33, 2014."""
    assert paired_difference(1, 7, 21).interval(0.95) == pytest.approx((-0.508, -0.013), abs=5e-4)


@given(counts)
def test_the_interval_is_around_the_difference_drawn_towards_zero(table):
    found = mcnemar_test(*answers(*table))
    centre = found.difference * found.images / (found.images + 2)
    assert found.low < found.high
    assert (found.low + found.high) / 2 == pytest.approx(centre)


@given(counts)
def test_swapping_the_models_turns_all_round(table):
    a, b = answers(*table)
    here, there = mcnemar_test(a, b), mcnemar_test(b, a)
    assert there.p == here.p
    assert (there.low, there.high, there.difference) == pytest.approx(
        (-here.high, -here.low, -here.difference), abs=1e-9
    )


def test_models_without_a_different_image_are_not_known_to_be_equal():
    low, high = paired_difference(0, 0, 50).interval(0.95)
    assert -low == high == pytest.approx(1.96 * 2**0.5 / 52, rel=1e-3)
    assert mcnemar_test(*answers(3, 0, 0, 2)).p == 1.0
