"""Learning curves of arms: means, bands and colours."""

import numpy as np
import pytest

from cnnlab.reports.study.figures import arm_colours, learning_figure
from cnnlab.studies.result import CurveRecord


def with_curve(result, name, curve):
    arms = [arm.model_copy(update={"curve": curve}) if arm.name == name else arm for arm in result.arms]
    return result.model_copy(update={"arms": tuple(arms)})


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_a_line_is_the_mean_and_a_band_from_lowest_to_highest(make_study):
    ragged = CurveRecord(epochs=(1, 2, 3, 4), values=((0.1, 0.3, 0.5), (0.2, float("nan"), 0.6), (0.4,), ()))
    result = with_curve(make_study({"plain": 0.0, "flips": 0.01}), "flips", ragged)
    (axes,) = learning_figure(result).axes
    (line,) = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert line.get_ydata() == pytest.approx([np.mean([0.1, 0.3, 0.5]), np.mean([0.2, 0.6]), 0.4])
    edges = axes.collections[-1].get_paths()[0].vertices
    assert {(1, 0.1), (1, 0.5), (2, 0.2), (2, 0.6), (3, 0.4)} <= {tuple(edge) for edge in edges}


def test_an_arm_without_a_curve_is_left_out(make_study):
    result = with_curve(make_study({"plain": 0.0, "flips": 0.01}), "flips", CurveRecord(epochs=(), values=()))
    assert legend(learning_figure(result)) == ["plain"]


@pytest.mark.parametrize(
    ("metric", "best", "worst"), [("validation_accuracy", "b", "a"), ("validation_loss", "a", "b")]
)
def test_baseline_best_and_worst_have_colours_and_names(make_study, metric, best, worst):
    result = make_study({"plain": 0.0, "a": -0.1, "b": 0.1, "c": 0.0}, metric=metric)
    assert arm_colours(result) == {"plain": "ink", best: "train", worst: "other"}
    assert sorted(legend(learning_figure(result))) == ["a", "b", "other arms", "plain"]


def test_of_two_arms_the_other_is_the_best(make_study):
    assert arm_colours(make_study({"plain": 0.0, "a": -0.1})) == {"plain": "ink", "a": "train"}


def test_a_sweep_has_no_baseline_to_colour(make_study):
    result = make_study(sweep=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5), runs=3, sd=0.0)
    assert arm_colours(result) == {"0.3": "train", "0": "other"}


def test_one_epoch_is_a_point(make_study):
    (axes,) = learning_figure(make_study(epochs=1)).axes
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [0, 1]
