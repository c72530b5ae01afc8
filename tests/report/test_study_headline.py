"""The answer in words: what the runs bear out, and no more."""

import re

import numpy as np
import pytest

from cnnlab.paper.words import quoted
from cnnlab.report.study_headline import comparisons, headline

DOSES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def clause(text, name):
    """The piece of a sentence that names an arm."""
    (found,) = [piece for piece in re.split(r"[;.] ", text) if quoted(name) in piece and "a new study" not in piece]
    return found


@pytest.mark.parametrize("seed", range(12))
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
        f"{quoted('flips')} is better than {quoted('plain')} by {gap} points "
        f"(95 % interval +{100 * found.low:.2f} to +{100 * found.high:.2f} points)."
    )


def test_undecided_is_told_with_the_interval_and_a_plan(make_study):
    result = make_study({"plain": 0.0, "same": 0.0}, runs=5)
    (found,) = comparisons(result)
    assert found.verdict == "undecided"
    text = headline(result)
    assert "undecided, which is not “no difference”" in text
    assert f"about {found.needed:,} runs an arm" in text
    assert "interval −" in text


def test_equality_is_only_told_where_it_was_shown(make_study):
    result = make_study({"plain": 0.0, "same": 0.0}, runs=20, delta=0.01)
    assert comparisons(result)[0].verdict == "practically equal"
    assert "is practically equal to" in headline(result)
    assert "within ±1 point" in headline(result)


@pytest.mark.parametrize("runs", [1, 2, 4])
def test_too_few_runs_only_describe(make_study, runs):
    text = headline(make_study({"plain": 0.0, "flips": 0.05, "noise": -0.05}, runs=runs))
    assert text.startswith("Fewer than 5 finished runs on a side only describe, and give no verdict: by its mean, ")
    assert re.search(r"flips.* lies \d\.\d\d points above", text)
    assert re.search(r"noise.* \d\.\d\d points below", text)
    assert "better" not in text
    assert "worse" not in text


def test_less_loss_is_better(make_study):
    result = make_study(
        {"plain": 0.0, "low": -0.1, "high": 0.1}, metric="validation_loss", mean=1.2, runs=6, delta=0.01
    )
    assert [each.a for each in comparisons(result)] == ["low", "high"]
    text = headline(result)
    assert f"is better than {quoted('plain')}" in clause(text, "low")
    assert "points" not in text


def test_of_many_arms_the_first_are_named(make_study):
    result = make_study({"plain": 0.0, **{f"arm {number}": 0.05 for number in range(22)}}, runs=6)
    text = headline(result)
    assert text.startswith("A screening of 22 arms")
    assert "and 19 more are better" in text


def test_the_plateau_is_a_range(make_study):
    result = make_study(doses=DOSES, runs=8, sd=0.006)
    curve = result.curve
    text = headline(result)
    ordered = sorted(curve.doses[index] for index in curve.plateau)
    assert len(ordered) > 1
    assert text.startswith("train.dropout matters (p < 0.001).")
    assert f"is {ordered[0]:g} to {ordered[-1]:g}." in text


def test_an_effect_that_was_not_found_is_not_called_none(make_study):
    text = headline(make_study({f"{dose:g}": 0.0 for dose in DOSES}, doses=DOSES, runs=5))
    assert text.startswith("No effect of train.dropout is shown (p = 0.")
    assert "which is not “no difference”" in text
    assert "no dose can be told from it" in text


def test_doses_with_too_few_runs_have_no_plateau(make_study):
    text = headline(make_study(doses=DOSES, runs=4))
    assert "only describe, and give no verdict: the best mean, 0." in text
    assert "plateau" not in text
    text = headline(make_study(doses=DOSES, runs=6, failed={"0.6": 3}))
    assert text.endswith("Fewer than 5 runs ended at 0.6: no verdict there.")


def test_what_is_not_there_is_said(make_study):
    assert headline(make_study(runs=3, failed=dict.fromkeys(("plain", "flips", "dropout", "warm-up"), 3))) == (
        "All 12 runs failed: there is nothing to compare."
    )
    assert headline(make_study(runs=6, planned=9)).startswith("So far, with 24 of 36 runs: ")


def test_an_arm_under_two_names_is_no_arm_of_its_own(make_study):
    result = make_study()
    arms = tuple(arm.model_copy(update={"same_as": "plain" if arm.name == "flips" else ""}) for arm in result.arms)
    copied = result.model_copy(update={"arms": arms})
    assert "flips" not in headline(copied)
    assert [each.a for each in comparisons(copied)] == ["warm-up", "dropout"]


def test_the_test_set_has_the_last_word(make_study):
    text = headline(make_study(confirm=8))
    last = text.partition("On the test set, opened once, with 8 fresh seeds, ")[2]
    assert last.startswith(f"{quoted('flips')} is better than {quoted('plain')} by 1.06 points (95 % interval +0.71 to")
    few = headline(make_study(confirm=3))
    assert few.endswith(": too few runs for a verdict.")


def test_long_names_that_begin_alike_are_told_apart(make_study):
    names = [f"optimizer=sgd(lr=0.1, momentum=0.9), dropout={rate}" for rate in (0.1, 0.2, 0.3)]
    text = headline(make_study(dict(zip(names, (0.0, 0.02, -0.02), strict=True))))
    assert re.search(r"dropout=0\.2\W+\(by \d\.\d\d points\) is better than .{,40}dropout=0\.1", text)
    assert re.search(r"dropout=0\.3\W+\(by \d\.\d\d points\) is worse than", text)


def test_arms_that_are_all_one_experiment_compare_nothing(make_study):
    result = make_study({"plain": 0.0, "again": 0.0})
    plain, again = result.arms
    copied = result.model_copy(
        update={"arms": (plain, again.model_copy(update={"same_as": "plain"})), "ablation": None}
    )
    assert headline(copied) == f"Every arm is the same experiment as {quoted('plain')}: there is nothing to compare."
