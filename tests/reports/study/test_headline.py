"""The headline of a study."""

import numpy as np
import pytest

from cnnlab.render.formatting import quote
from cnnlab.reports.study.text import comparisons, headline

SWEEP = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.full) for seed in (0, *range(3, 12)))])
def test_every_arm_stands_under_its_verdict(make_study, seed):
    effects = {"plain": 0.0, "one": 0.012, "two": -0.012, "three": 0.004, "four": 0.0}
    result = make_study(effects, runs=12, baseline_runs=24, delta=0.005, seed=seed, failed={"one": seed % 3 * 5})
    groups = headline(result).split(": ", 1)[1].split("; ")
    for each in comparisons(result):
        (group,) = [text for text in groups if quote(each.a) in text]
        assert f" {each.verdict} (" in group
    assert "no difference" not in headline(result)


def test_a_single_arm_has_its_interval(make_study):
    result = make_study({"plain": 0.0, "flips": 0.02}, runs=8)
    (found,) = comparisons(result)
    gap = f"{100 * (np.mean(result.arm('flips').sample.values) - np.mean(result.arm('plain').sample.values)):.2f}"
    assert headline(result) == (
        f"{quote('flips')} against {quote('plain')}: better, by +{gap} points "
        f"(95 % interval +{100 * found.low:.2f} to +{100 * found.high:.2f} points)."
    )


def test_less_loss_is_better(make_study):
    result = make_study(
        {"plain": 0.0, "low": -0.1, "high": 0.1}, metric="validation_loss", mean=1.2, runs=6, delta=0.01
    )
    assert [each.a for each in comparisons(result)] == ["low", "high"]
    assert (
        headline(result)
        == f"Of 2 arms, against {quote('plain')}: 1 better ({quote('low')}); 1 worse ({quote('high')})."
    )


def test_undecided_is_not_called_equal(make_study):
    result = make_study({"plain": 0.0, "same": 0.0}, runs=5)
    assert ": undecided, by " in headline(result)


def test_the_plateau_is_a_range(make_study):
    result = make_study(sweep=SWEEP, runs=8, sd=0.006)
    curve = result.curve
    ordered = sorted(curve.sweep_values[index] for index in curve.plateau)
    assert len(ordered) > 1
    assert f"is at train.dropout = {curve.sweep_values[curve.best]:g}; " in headline(result)
    assert headline(result).endswith(f", {ordered[-1]:g}.")


def test_an_arm_under_two_names_is_no_arm_of_its_own(make_study):
    result = make_study()
    arms = tuple(arm.model_copy(update={"same_as": "plain" if arm.name == "flips" else ""}) for arm in result.arms)
    copied = result.model_copy(update={"arms": arms})
    assert "flips" not in headline(copied)
    assert [each.a for each in comparisons(copied)] == ["warm-up", "dropout"]
