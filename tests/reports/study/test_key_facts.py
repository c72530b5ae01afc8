"""The numbers at the head of a study's page."""

import numpy as np
import pytest

from cnnlab.reports.study import page
from cnnlab.stats.power import detectable_difference

SWEEP = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def test_the_spread_is_pooled_over_all_arms(make_study):
    result = make_study(runs=6, failed={"flips": 3, "dropout": 5})
    values = [np.array(arm.sample.finite) for arm in result.arms]
    squares = sum(((each - each.mean()) ** 2).sum() for each in values)
    assert page.pooled_sd(result) == pytest.approx(np.sqrt(squares / sum(len(each) - 1 for each in values)))
    assert page.pooled_sd(make_study(runs=1)) is None


def test_what_the_seeds_find_is_found_by_80_percent(make_study):
    result = make_study(runs=8, baseline_runs=14)
    assert page.observed_detectable_difference(result) == detectable_difference(
        page.pooled_sd(result), 8, 14, comparisons=3
    )
    sweep = make_study(sweep=SWEEP, runs=6)
    assert page.observed_detectable_difference(sweep) == detectable_difference(page.pooled_sd(sweep), 6, comparisons=6)
    assert page.observed_detectable_difference(make_study(runs=1)) is None
