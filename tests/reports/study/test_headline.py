"""The answer in words: what the runs bear out, and no more."""

import re

import numpy as np
import pytest

from cnnlab.render.formatting import quote
from cnnlab.reports.study.text import comparisons, headline

SWEEP = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def clause(text, name):
    """The piece of a sentence that names an arm."""
    (found,) = [piece for piece in re.split(r"[;.] ", text) if quote(name) in piece and "a new study" not in piece]
    return found


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.full) for seed in (0, *range(3, 12)))])
def test_every_arm_stands_under_its_verdict(make_study, seed):
    effects = {"plain": 0.0, "one": 0.012, "two": -0.012, "three": 0.004, "four": 0.0}
    result = make_study(effects, runs=12, baseline_runs=24, delta=0.005, seed=seed, failed={"one": seed % 3 * 5})
    text = headline(result)
    words = {"undecided": "Undecided, which is not", "no verdict": "so no verdict"}
    for each in comparisons(result):
        assert words.get(each.verdict, each.verdict) in clause(text, each.a)
    assert text.count("no difference") == text.count("which is not “no difference”")
    assert ("no difference" in text) == any(each.verdict == "undecided" for each in comparisons(result))


def test_a_single_arm_has_its_interval(make_study):
    result = make_study({"plain": 0.0, "flips": 0.02}, runs=8)
    (found,) = comparisons(result)
    gap = f"{100 * (np.mean(result.arm('flips').sample.values) - np.mean(result.arm('plain').sample.values)):.2f}"
    assert headline(result) == (
        f"{quote('flips')} is better than {quote('plain')} by {gap} points "
        f"(95 % interval +{100 * found.low:.2f} to +{100 * found.high:.2f} points)."
    )


def test_less_loss_is_better(make_study):
    result = make_study(
        {"plain": 0.0, "low": -0.1, "high": 0.1}, metric="validation_loss", mean=1.2, runs=6, delta=0.01
    )
    assert [each.a for each in comparisons(result)] == ["low", "high"]
    text = headline(result)
    assert f"is better than {quote('plain')}" in clause(text, "low")
    assert "points" not in text


def test_the_plateau_is_a_range(make_study):
    result = make_study(sweep=SWEEP, runs=8, sd=0.006)
    curve = result.curve
    text = headline(result)
    ordered = sorted(curve.sweep_values[index] for index in curve.plateau)
    assert len(ordered) > 1
    assert text.startswith("train.dropout matters (p < 0.001).")
    assert f"is {ordered[0]:g} to {ordered[-1]:g}." in text


def test_an_arm_under_two_names_is_no_arm_of_its_own(make_study):
    result = make_study()
    arms = tuple(arm.model_copy(update={"same_as": "plain" if arm.name == "flips" else ""}) for arm in result.arms)
    copied = result.model_copy(update={"arms": arms})
    assert "flips" not in headline(copied)
    assert [each.a for each in comparisons(copied)] == ["warm-up", "dropout"]
