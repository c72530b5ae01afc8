"""Layer tables: names filled in, and every mistake of a table told at once."""

from __future__ import annotations

import pytest

from cnnlab.architecture.layer_table import find_layer_name, read_table
from cnnlab.architecture.layers import Conv, Dense, Dropout, LayerRow
from cnnlab.errors import SpecError, UsageError


def test_names_stand_for_their_values() -> None:
    texts = ["a: conv(f, k, padding=pad, bias=b)", "dropout(p)", "dense(classes)"]
    rows = read_table(texts, {"f": 8, "k": 3, "pad": "same", "b": False, "p": 0.25}, classes=7)
    assert rows == (LayerRow(Conv(8, 3, padding="same", bias=False), "a"), LayerRow(Dropout(0.25)), LayerRow(Dense(7)))


def test_names_are_filled_in_at_any_depth() -> None:
    (row,) = read_table(["repeat(n, [residual([conv(f, [k, 1])])])"], {"n": 2, "f": 8, "k": 3}, classes=7)
    assert str(row) == "repeat(2, [residual([conv(8, [3, 1])])])"


def test_every_wrong_row_and_value_is_told() -> None:
    with pytest.raises(SpecError) as caught:
        read_table(["cnov(3, 3)", "relu", "conv(0, q)", "conv(3 3)"], {"relu": 1, "r": 2, "classes": 3}, classes=7)
    assert {problem.where: problem.what for problem in caught.value.problems} == {
        "values.relu": "'relu' is a reserved name",
        "values.classes": "'classes' is a reserved name",
        "layers[0]": "unknown layer 'cnov'",
        "layers[2].filters": "'filters' can't be 0",
        "layers[2].kernel": "'q' has no value",
        "layers[3]": "this call can't be read (column 8)",
        "values.r": "'r' is not used in the table",
    }


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(SpecError, match="layers: the table has no rows"):
        read_table([], {}, classes=7)


NESTED = ["backbone.conv1", "backbone.layer4.1.relu#2", "backbone.backbone.conv2", "head.conv1", "relu1"]


@pytest.mark.parametrize(
    ("name", "full_name"),
    [
        ("relu1", "relu1"),
        ("conv1", "backbone.conv1"),
        ("backbone.conv1", "backbone.conv1"),
        ("layer4.1.relu#2", "backbone.layer4.1.relu#2"),
        ("conv2", "backbone.backbone.conv2"),
        ("backbone.conv2", "backbone.backbone.conv2"),
    ],
)
def test_a_layer_is_found_without_the_prefix_of_its_backbone(name: str, full_name: str) -> None:
    assert find_layer_name(name, NESTED) == full_name


def test_a_name_of_no_layer_or_of_several_is_an_error_with_the_candidates() -> None:
    with pytest.raises(UsageError, match=r"--layer: there is no layer 'cnv1'(?s:.*)head.conv1(?s:.*)mean 'conv1'"):
        find_layer_name("cnv1", NESTED)
    # Only the backbone's prefix may be left out.
    for name in ("1.relu#2", "", "backbone", "head"):
        with pytest.raises(UsageError, match="there is no layer"):
            find_layer_name(name, NESTED)
    both = r"--patches: several layers are called 'x'(?s:.*)backbone\.x, backbone\.backbone\.x(?s:.*)whole name"
    with pytest.raises(UsageError, match=both):
        find_layer_name("x", ["backbone.x", "backbone.backbone.x", "head.x"], "--patches")
    assert find_layer_name("x", ["backbone.x", "x"]) == "x"
