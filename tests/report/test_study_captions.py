"""Sentences below the pictures, and the figures at the head of a study's page."""

import numpy as np
import pytest
from statsmodels.stats.power import TTestIndPower

from cnnlab.paper.words import quoted
from cnnlab.report import study_captions as captions

DOSES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def test_the_spread_is_pooled_over_all_arms(make_study):
    result = make_study(runs=6, failed={"flips": 3, "dropout": 5})
    values = [np.array(arm.sample.finite) for arm in result.arms]
    squares = sum(((each - each.mean()) ** 2).sum() for each in values)
    assert captions.pooled_sd(result) == pytest.approx(np.sqrt(squares / sum(len(each) - 1 for each in values)))
    assert captions.pooled_sd(make_study(runs=1)) is None


def test_what_the_seeds_find_is_found_by_80_percent(make_study):
    result = make_study(runs=8, baseline_runs=14)
    size = captions.detected(result) / captions.pooled_sd(result)
    power = TTestIndPower().power(effect_size=size, nobs1=8, ratio=14 / 8, alpha=0.05 / 3)
    assert power == pytest.approx(0.8, abs=1e-6)
    doses = make_study(doses=DOSES, runs=6)
    size = captions.detected(doses) / captions.pooled_sd(doses)
    assert TTestIndPower().power(effect_size=size, nobs1=6, ratio=1, alpha=0.05 / 6) == pytest.approx(0.8, abs=1e-6)
    assert captions.detected(make_study(runs=1)) is None


def test_key_figures_count_runs_and_failures(make_study):
    facts = dict(captions.key_figures(make_study(runs=10, planned=12, failed={"flips": 3})))
    assert (facts["arms"], facts["runs"], facts["failed runs"]) == ("4", "40 of 48", "3")
    assert (facts["measured on"], facts["smallest difference of interest"]) == ("5,000 images", "0.2 points")
    assert dict(captions.key_figures(make_study(doses=DOSES)))["doses"] == "7"
    assert dict(captions.key_figures(make_study(runs=1)))["difference these seeds find (80 %)"] == "–"


def test_captions_say_what_is_seen(make_study):
    result = make_study()
    best = np.mean(result.arm("flips").sample.values)
    assert captions.seeds_caption(result).startswith(
        f"The best mean, {best:.4f}, is that of {quoted('flips')}; runs of"
    )
    verdicts = "1 better, 1 worse and 1 undecided"
    assert captions.forest_caption(result) == f"Of 3 arms against {quoted('plain')}: {verdicts}."
    curve = make_study(doses=DOSES, runs=8).curve
    assert captions.dose_caption(curve).startswith("The best mean is at 0.3; the plateau")
    assert f"the fitted quadratic is best at {curve.vertex:.3g}" in captions.dose_caption(curve)
    few = captions.dose_caption(make_study(doses=DOSES, runs=2).curve)
    assert few.endswith("the runs are too few to tell a plateau.")


def test_less_loss_is_the_best_mean(make_study):
    result = make_study({"plain": 0.0, "low": -0.1}, metric="validation_loss", mean=1.2)
    assert quoted("low") in captions.seeds_caption(result)
    assert "points" not in captions.seeds_caption(result)


def test_the_learning_caption_names_only_colours_that_are_there(make_study):
    assert captions.learning_caption(make_study(runs=10)) == (
        "Means over 10 seeds: the baseline black or white, the best mean blue, the worst violet, the others grey."
    )
    two = captions.learning_caption(make_study({"plain": 0.0, "flips": 0.01}, runs=1))
    assert two == "Means over 1 seed: the baseline black or white, the best mean blue."
    assert "baseline" not in captions.learning_caption(make_study(doses=DOSES, runs=3))
    many = captions.learning_caption(make_study({f"arm {n}": 0.0 for n in range(12)}, runs=2))
    assert many.endswith("the others grey and not named.")
