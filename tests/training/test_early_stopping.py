"""Waiting for a figure to improve."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.records import Score
from cnnlab.training.early_stopping import EarlyStopping

METRICS = ("loss", "accuracy", "top5", "balanced_accuracy", "macro_f1")


def scored(metric: str, figure: float) -> Score:
    return Score(images=1, **{**dict.fromkeys(METRICS, 0.5), metric: figure})


def improvements(patience: EarlyStopping, figures: list[float]) -> list[bool]:
    return [patience.update(scored(patience.metric, figure)) for figure in figures]


@pytest.mark.parametrize("metric", METRICS)
def test_a_smaller_loss_is_better_and_every_other_figure_is_better_when_larger(metric: str) -> None:
    rises, falls = improvements(EarlyStopping(metric), [0.5, 0.6]), improvements(EarlyStopping(metric), [0.5, 0.4])
    assert (rises, falls) == (([True, False], [True, True]) if metric == "loss" else ([True, True], [True, False]))


def test_an_equal_figure_is_no_improvement() -> None:
    assert improvements(EarlyStopping("accuracy"), [0.5, 0.5]) == [True, False]


def test_nan_never_improves_not_even_first() -> None:
    patience = EarlyStopping("loss")
    assert improvements(patience, [math.nan, 0.5, math.nan, 0.4]) == [False, True, False, True]
    assert patience.num_bad_validations == 0


def test_less_than_min_change_is_no_improvement_and_small_steps_add_up() -> None:
    patience = EarlyStopping("accuracy", min_change=0.1)
    assert improvements(patience, [0.5, 0.5625, 0.59, 0.625]) == [True, False, False, True]


@given(figures=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_waited_counts_the_validations_since_the_best(figures: list[float]) -> None:
    patience = EarlyStopping("loss")
    improvements(patience, figures)
    assert patience.state.best == -min(figures)
    assert patience.num_bad_validations == len(figures) - 1 - figures.index(min(figures))
