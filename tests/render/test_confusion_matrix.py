"""The confusion matrix as a picture."""

import numpy as np
import pytest

from cnnlab.render.confusion_matrix import confusion_figure
from cnnlab.render.plots import to_svg

HOSTILE = (
    "</script><img onerror=x>",
    "{{7*7}}",
    '"><svg onload>',
    "$x_{",
    "$x_{$",
    "שלום",
    "🐱",
    "猫" * 50,
    "x" * 4096,
    "a\x00\x1b",
)


def many(classes):
    """Counts of so many classes, most of them on the diagonal."""
    return np.diag(np.full(classes, 700)) + np.random.default_rng(classes).integers(0, 40, (classes, classes))


def test_the_colour_of_a_cell_is_its_share_of_its_row():
    counts = np.array([[3, 1, 0], [0, 0, 0], [2, 2, 4]])
    figure = confusion_figure(counts, ("a", "b", "c"))
    opacity = figure.axes[0].images[0].get_array()[..., 3]
    np.testing.assert_allclose(opacity**2, [[0.75, 0.25, 0], [0, 0, 0], [0.25, 0.25, 0.5]])


def test_counts_stand_in_their_cells_row_true_column_predicted():
    figure = confusion_figure(np.array([[3, 1], [0, 1234]]), ("a", "b"))
    axes = figure.axes[0]
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "3", (1, 0): "1", (1, 1): "1234"}
    assert axes.yaxis_inverted()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")


@pytest.mark.parametrize(
    ("classes", "counts", "names"), [(2, True, True), (20, True, True), (40, False, True), (100, False, False)]
)
def test_many_classes_lose_their_counts_first_and_then_their_names(classes, counts, names):
    labels = tuple(f"class {number}" for number in range(classes))
    axes = confusion_figure(many(classes), labels).axes[0]
    assert bool(axes.texts) == counts
    ticks = [text.get_text() for text in axes.get_yticklabels()]
    assert ticks == (list(labels) if names else [str(number) for number in range(0, 100, 5)])


def test_forty_names_have_room():
    figure = confusion_figure(many(40), tuple(f"person {n}" for n in range(40)))
    axes = figure.axes[0]
    cell = axes.bbox.height / 40
    assert cell > axes.get_yticklabels()[0].get_fontsize() * 1.15


@pytest.mark.full
def test_hostile_names_are_drawn_as_they_are_without_a_warning():
    svg = to_svg(confusion_figure(many(len(HOSTILE)), HOSTILE), "confusion", "")
    for shown in ("$x_{", "$x_{$", "{{7*7}}", "🐱", "שלום", "&lt;/script&gt;"):
        assert shown in svg
    assert "<img" not in svg
    assert "x" * 30 not in svg
    assert "\x00" not in svg
