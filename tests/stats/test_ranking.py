"""Choosing an arm by its mean on validation."""

from math import inf, nan

import pytest

from cnnlab.errors import UsageError
from cnnlab.stats.ranking import Ranking, best_arm, rank_arms
from cnnlab.stats.sample import Sample


def arm(name: str, *values: float) -> Sample:
    return Sample(name=name, values=values)


ARMS = [
    arm("low", 0.70, 0.71, 0.72),
    arm("high", 0.74, 0.72, 0.73),
    arm("lucky", 0.79, 0.78),
    arm("even", 0.71, 0.71, 0.71),
]


def names(samples) -> list[str]:
    return [each.name for each in samples]


def test_arms_stand_by_their_mean_and_the_first_of_equals_first():
    found = rank_arms(ARMS)
    assert names(found.ranked) == ["high", "low", "even"]
    assert names(found.refused) == ["lucky"]
    assert found.winner.name == best_arm(ARMS).name == "high"


def test_a_loss_is_best_where_it_is_lowest():
    assert best_arm(ARMS, higher_is_better=False).name == "low"
    assert names(rank_arms(ARMS, higher_is_better=False).ranked) == ["low", "even", "high"]


def test_failed_runs_don_t_count_towards_three():
    found = rank_arms([arm("a", 0.9, 0.9, nan, inf), arm("b", 0.8, 0.8, 0.8, nan)])
    assert names(found.ranked) == ["b"]


def test_with_fewer_than_three_runs_nothing_is_chosen():
    assert rank_arms(ARMS[2:3]).winner is None
    with pytest.raises(UsageError) as caught:
        best_arm([*ARMS[2:3], arm("failed", nan, nan, nan)])
    for word in (
        "arms: no arm has runs enough",
        "lucky: 2 finite, failed: 0 finite",
        "3 finite runs",
        "run more seeds",
    ):
        assert word in str(caught.value)
    with pytest.raises(UsageError, match="none"):
        best_arm([])


def test_a_ranking_survives_the_way_through_json():
    found = rank_arms(ARMS)
    assert Ranking.from_json(found.to_json()) == found
