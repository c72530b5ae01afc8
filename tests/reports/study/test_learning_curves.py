"""Learning curves of arms: means, bands and colours."""

import numpy as np
import pytest

from cnnlab.reports.study.figures import arm_colours, learning_bands, learning_figure
from cnnlab.studies.result import CurveRecord


def with_curve(result, name, curve):
    arms = [arm.model_copy(update={"curve": curve}) if arm.name == name else arm for arm in result.arms]
    return result.model_copy(update={"arms": tuple(arms)})


def test_a_line_is_the_mean_and_a_band_from_lowest_to_highest(make_study):
    ragged = CurveRecord(epochs=(1, 2, 3, 4), values=((0.1, 0.3, 0.5), (0.2, float("nan"), 0.6), (0.4,), ()))
    band = next(band for band in learning_bands(with_curve(make_study(), "flips", ragged)) if band.name == "flips")
    assert band.epochs == (1, 2, 3)
    assert band.mean == pytest.approx([np.mean([0.1, 0.3, 0.5]), np.mean([0.2, 0.6]), 0.4])
    assert (band.low, band.high, band.seeds) == ((0.1, 0.2, 0.4), (0.5, 0.6, 0.4), 3)


def test_an_arm_without_a_curve_is_left_out(make_study):
    result = with_curve(with_curve(make_study(), "flips", None), "dropout", CurveRecord(epochs=(), values=()))
    assert [band.name for band in learning_bands(result)] == ["plain", "warm-up"]
    assert learning_figure(result)


@pytest.mark.parametrize(
    ("metric", "best", "worst"), [("validation_accuracy", "b", "a"), ("validation_loss", "a", "b")]
)
def test_baseline_best_and_worst_have_colours(make_study, metric, best, worst):
    result = make_study({"plain": 0.0, "a": -0.1, "b": 0.1, "c": 0.0}, metric=metric)
    assert arm_colours(result, learning_bands(result)) == {"plain": "ink", best: "train", worst: "other"}


def test_of_two_arms_the_other_is_the_best(make_study):
    result = make_study({"plain": 0.0, "a": -0.1})
    assert arm_colours(result, learning_bands(result)) == {"plain": "ink", "a": "train"}


def names(figure):
    return {text.get_text() for axes in figure.axes[1:] for text in axes.texts}


def test_of_many_lines_only_the_coloured_are_named(make_study):
    many = {f"arm {number}": 0.01 * number for number in range(25)}
    assert names(learning_figure(make_study(many, runs=2))) == {"arm 0", "arm 1", "arm 24"}
    assert len(names(learning_figure(make_study(dict(list(many.items())[:8]), runs=2)))) == 8


def test_a_sweep_has_no_baseline_to_colour(make_study):
    result = make_study(sweep=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5), runs=3, sd=0.0)
    assert arm_colours(result, learning_bands(result)) == {"0.3": "train", "0": "other"}


def test_one_epoch_is_a_point(make_study):
    assert learning_figure(make_study(epochs=1))
