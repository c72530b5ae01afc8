"""Learning curves: the numbers that are drawn are those of the records."""

from math import inf, nan
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from cnnlab.records import EpochRecord, StepMeans
from cnnlab.render.plots import new_figure, to_svg
from cnnlab.reports.run import figures


def drawn(figure) -> dict[str, tuple[list[float], list[float]]]:
    """The points of each named line."""
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    return {name: (list(line.get_xdata()), list(line.get_ydata())) for name, line in lines.items() if name[0] != "_"}


def texts(figure) -> list[str]:
    axes = figure.axes[0]
    return [text.get_text() for text in (*figure.texts, *axes.texts)]


@pytest.mark.parametrize("measure", ["loss", "accuracy"])
def test_each_point_of_each_part_is_drawn(make_view, measure):
    view = make_view()
    lines = drawn(figures.curve_figure(view.epochs, view.result, measure))
    assert list(lines) == ["train", "validation", "test"]
    for part, (epochs, values) in lines.items():
        assert epochs == [record.epoch for record in view.epochs]
        assert values == [getattr(getattr(record, part), measure) for record in view.epochs]


def test_without_a_test_curve_the_final_figure_is_a_point_at_the_selected_epoch(make_view):
    view = make_view(curve_parts=("validation",))
    figure = figures.curve_figure(view.epochs, view.result, "loss")
    assert drawn(figure)["test"] == ([view.result.selected_epoch], [view.result.test.loss])
    assert "train: running mean of the steps; test: final figure" in texts(figure)


def test_a_sealed_test_set_and_a_missing_validation_part_have_no_line(make_view):
    view = make_view(parts=("train",), curve_parts=())
    assert list(drawn(figures.curve_figure(view.epochs, view.result, "loss"))) == ["train"]


def test_points_between_epochs_stay_where_they_are(make_view):
    view = make_view(points=5, steps=0.5)
    assert drawn(figures.curve_figure(view.epochs, view.result, "loss"))["validation"][0] == [0.5, 1.0, 1.5, 2.0, 2.5]


def test_records_without_a_validation_are_no_gap(make_view):
    view = make_view()
    epochs = [record.model_copy(update={"validation": None}) if record.epoch % 2 else record for record in view.epochs]
    assert drawn(figures.curve_figure(epochs, view.result, "loss"))["validation"][0] == [2, 4, 6, 8, 10]


def test_the_selected_epoch_is_marked_and_every_line_named(make_view):
    view = make_view()
    figure = figures.curve_figure(view.epochs, view.result, "accuracy")
    marks = [line for line in figure.axes[0].get_lines() if list(line.get_xdata()) == [6, 6]]
    assert len(marks) == 1
    assert {"selected: epoch 6", "train", "validation", "test", "train: running mean of the steps"} <= set(
        texts(figure)
    )


def test_a_loss_that_is_not_a_number_breaks_the_line_and_one_out_of_all_scale_gets_a_log_axis(make_view):
    view = make_view(points=4)
    losses = [2.0, 1.5, 9e7, nan]
    epochs = [
        record.model_copy(update={"train": StepMeans(images=1, loss=loss, accuracy=0.1)})
        for record, loss in zip(view.epochs, losses, strict=True)
    ]
    figure = figures.curve_figure(epochs, view.result, "loss")
    assert np.isnan(drawn(figure)["train"][1][-1])
    assert figure.axes[0].get_yscale() == "log"
    assert "loss (cross-entropy, nats), log scale" in texts(figure)
    to_svg(figure, "loss", "")


@pytest.mark.parametrize("loss", [nan, inf])
def test_a_run_in_which_nothing_was_a_number_still_has_a_figure(make_view, loss):
    view = make_view(points=1, broken_from=0.5)
    means = StepMeans(images=1, loss=loss, accuracy=nan)
    epochs = [view.epochs[0].model_copy(update={"train": means, "validation": None, "test": None})]
    for shown in (epochs, list[EpochRecord]()):
        figure = figures.curve_figure(shown, view.result, "loss")
        assert "nothing was measured" in texts(figure)
        to_svg(figure, "loss", "")


def test_one_epoch_is_drawn_as_points(make_view):
    view = make_view(points=1)
    figure = figures.curve_figure(view.epochs, view.result, "loss")
    assert {line.get_marker() for line in figure.axes[0].get_lines() if line.get_label()[0] != "_"} == {"D"}


def test_axes_have_names_and_units(make_view):
    view = make_view()
    figure = figures.curve_figure(view.epochs, view.result, "loss")
    assert figure.axes[0].get_xlabel() == "epoch; below it the training step"
    assert "loss (cross-entropy, nats)" in texts(figure)


def test_the_steps_of_a_tick_are_those_of_the_records(make_view):
    view = make_view(points=5, steps=0.5)
    axes = figures.curve_figure(view.epochs, view.result, "loss").axes[0]
    show = axes.xaxis.get_major_formatter()
    assert [show(record.epoch) for record in view.epochs] == [
        f"{number}\n{record.step:,}"
        for number, record in zip(("0.5", "1", "1.5", "2", "2.5"), view.epochs, strict=True)
    ]
    assert show(0) == "0\n0"


def test_the_same_figure_gives_the_same_svg_and_leaves_settings_alone(make_view):
    view = make_view()
    before = dict(matplotlib.rcParams)
    svgs = {to_svg(figures.curve_figure(view.epochs, view.result, "loss"), "loss", "") for _ in range(2)}
    assert len(svgs) == 1
    assert dict(matplotlib.rcParams) == before
    assert "<metadata" not in svgs.pop()


def test_an_svg_reads_as_xml_names_what_is_seen_and_takes_its_colours_from_the_page(make_view):
    view = make_view()
    svg = to_svg(figures.curve_figure(view.epochs, view.result, "loss"), "loss", "a <description> & more")
    root = ElementTree.fromstring(svg)
    assert root[0].text == "a <description> & more"
    assert root.attrib["aria-labelledby"] == root[0].attrib["id"] == "loss-title"
    assert "var(--train, #0072b2)" in svg
    assert "DejaVu" not in svg


def test_texts_are_drawn_as_they_are():
    figure = new_figure(100, 100)
    for text in ("$x_{", "$a$ & <b>", "🐱", "שלום", "猫", 'id="x" #0072b2'):
        figure.text(0, 0, text, parse_math=False)
    found = [
        element.text
        for element in ElementTree.fromstring(to_svg(figure, "f", "")).iter()
        if element.tag.endswith("text")
    ]
    assert found == ["$x_{", "$a$ & <b>", "🐱", "שלום", "猫", 'id="x" #0072b2']
