"""The losses of compared runs in one plot: the figures are those of the runs, and each group has its two lines."""

from __future__ import annotations

from statistics import fmean

import pytest

from cnnlab.records import EpochRecord, Score, StepMeans
from cnnlab.render.plots import minimal_axes, new_figure
from cnnlab.reports.comparison.figures import TONES, draw_curves
from cnnlab.reports.comparison.result import loss_curves


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
    train, validation = loss_curves([points([3, 2, 1], [4, 3, 2]), points([5, 2], [6, 5])])
    assert (train.split, train.epochs) == ("train", (1, 2, 3))
    assert train.mean == (fmean([3, 5]), 2, 1)
    assert (train.low, train.high) == ((3, 2, 1), (5, 2, 1))
    assert (validation.split, validation.mean, validation.high) == ("validation", (5, 4, 2), (6, 5, 2))


def test_what_is_no_number_and_what_was_not_measured_is_left_out() -> None:
    (train,) = loss_curves([points([3, float("nan"), 1], [None, None, None])])
    assert train.epochs == (1, 3)
    assert loss_curves([]) == loss_curves([[]]) == ()
    assert loss_curves([points([float("inf")], [None])]) == ()


@pytest.mark.parametrize("many", [1, 2, 8])
def test_each_group_has_two_lines_in_its_colour(many: int) -> None:
    groups = [
        (f"group {number}", loss_curves([points([3 - 0.1 * number, 2, 1], [3, 2, 1.5 + number])]))
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
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(names) == [f"group {number}" for number in range(drawn)]
    low, high = axes.get_ylim()
    assert low <= 1
    assert high >= 3


def test_losses_far_apart_have_a_scale_of_powers() -> None:
    figure = new_figure(600, 300)
    axes = minimal_axes(figure, 40, 40, 400, 200)
    draw_curves(axes, [("one", loss_curves([points([300, 2, 1], [3, 2, 1])]))])
    assert axes.get_yscale() == "log"
