"""The losses of compared runs in one plot: the figures are those of the runs, and each group has its two lines."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

import pytest

from cnnlab.records import EpochRecord, Score, StepMeans
from cnnlab.render.plots import minimal_axes, new_figure
from cnnlab.reports.comparison.figures import TONES, comparison_figure, draw_curves
from cnnlab.reports.comparison.result import ComparedGroup, group_curves
from cnnlab.studies.result import StudyResult


def points(train: list[float], validation: list[float | None]) -> list[EpochRecord]:
    return [
        EpochRecord(
            epoch=float(epoch),
            step=epoch,
            train=StepMeans(images=8, loss=one, accuracy=0.5),
            validation=None
            if other is None
            else Score(images=8, loss=other, accuracy=0.5, top5=1.0, balanced_accuracy=0.5, macro_f1=0.5),
            test=None,
            learning_rate=0.1,
            seconds=1.0,
            images_per_second=8.0,
        )
        for epoch, (one, other) in enumerate(zip(train, validation, strict=True), start=1)
    ]


def test_a_curve_is_the_mean_and_the_range_of_the_seeds() -> None:
    train, validation = group_curves([points([3, 2, 1], [4, 3, 2]), points([5, 2], [6, 5])], "loss")
    assert (train.split, train.epochs) == ("train", (1, 2, 3))
    assert train.mean == (fmean([3, 5]), 2, 1)
    assert (train.low, train.high) == ((3, 2, 1), (5, 2, 1))
    assert (validation.split, validation.mean, validation.high) == ("validation", (5, 4, 2), (6, 5, 2))


def test_what_is_no_number_and_what_was_not_measured_is_left_out() -> None:
    (train,) = group_curves([points([3, float("nan"), 1], [None, None, None])], "loss")
    assert train.epochs == (1, 3)
    assert group_curves([], "loss") == group_curves([[]], "accuracy") == ()
    assert group_curves([points([float("inf")], [None])], "loss") == ()


def scored(loss: float, accuracy: float) -> Score:
    return Score(images=8, loss=loss, accuracy=accuracy, top5=1.0, balanced_accuracy=accuracy, macro_f1=accuracy)


def test_a_test_curve_stands_before_the_final_test_figures() -> None:
    run = points([3, 2], [3, 2])
    final = [(2.0, scored(1.5, 0.6)), (1.0, scored(2.5, 0.4))]
    *_, last = group_curves([run], "accuracy", final)
    assert (last.split, last.final, last.epochs, last.mean) == ("test", True, (1, 2), (0.4, 0.6))
    measured = [record.model_copy(update={"test": scored(4, 0.1 * record.epoch)}) for record in run]
    *_, curve = group_curves([measured], "accuracy", final)
    assert (curve.split, curve.final, curve.mean) == ("test", False, (0.1, 0.2))


def test_the_figure_has_the_losses_and_below_them_the_accuracies(make_study: Callable[..., StudyResult]) -> None:
    run = [record.model_copy(update={"test": scored(4, 0.25)}) for record in points([3, 2], [4, 3])]
    curves = {measure: group_curves([run], measure) for measure in ("loss", "accuracy")}
    fields = {"n": 1, "failures": 0, "mean": 0.5, "sd": None, "low": None, "high": None, "parameters": 5, "runs": ()}
    groups = [
        ComparedGroup(name=name, curves=curves["loss"], accuracy_curves=curves["accuracy"], **fields)
        for name in ("one", "two")
    ]
    *_, losses, accuracies = comparison_figure(make_study(), groups).axes
    # Lines of the first group: train, validation, test.
    assert [list(line.get_ydata()) for line in losses.get_lines()[:3]] == [[3, 2], [4, 3], [4, 4]]
    assert [list(line.get_ydata()) for line in accuracies.get_lines()[:3]] == [[0.5, 0.5], [0.5, 0.5], [0.25, 0.25]]
    assert losses.get_position().y0 > accuracies.get_position().y1
    assert {"one", "two"} <= {text.get_text() for text in accuracies.texts}


@pytest.mark.parametrize("many", [1, 2, 8])
def test_each_group_has_two_lines_in_its_colour(many: int) -> None:
    groups = [
        (f"group {number}", group_curves([points([3 - 0.1 * number, 2, 1], [3, 2, 1.5 + number])], "loss"))
        for number in range(many)
    ]
    figure = new_figure(600, 300)
    axes = minimal_axes(figure, 40, 40, 400, 200)
    draw_curves(axes, groups)
    drawn = min(many, len(TONES))
    lines = axes.get_lines()
    assert len(lines) == 2 * drawn
    for number in range(drawn):
        pair = lines[2 * number : 2 * number + 2]
        assert len({line.get_color() for line in pair}) == 1
        assert [line.get_linestyle() for line in pair][1] == "-"
        assert pair[0].get_linestyle() != "-"
        assert list(pair[0].get_ydata()) == [3 - 0.1 * number, 2, 1]
    assert len({line.get_color() for line in lines}) == drawn
    names = [text.get_text() for text in axes.texts]
    assert sorted(names) == [f"group {number}" for number in range(drawn)]
    low, high = axes.get_ylim()
    assert low <= 1
    assert high >= 3


def test_losses_far_apart_have_a_scale_of_powers() -> None:
    figure = new_figure(600, 300)
    axes = minimal_axes(figure, 40, 40, 400, 200)
    draw_curves(axes, [("one", group_curves([points([300, 2, 1], [3, 2, 1])], "loss"))])
    assert axes.get_yscale() == "log"
