"""The layout of a layer's inputs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.trace import trace
from cnnlab.interpret.weights.filters import input_layout

CONV = ("conv(4, 3)", "relu", "maxpool(2)")


@pytest.mark.parametrize(
    ("rows", "name", "shape", "on_image"),
    [
        (CONV, "conv1", (3, 1, 1), True),
        (("batchnorm", *CONV), "conv1", (3, 1, 1), True),
        ((*CONV, "conv(3, 3)"), "conv2", (4, 1, 1), False),
        (("flatten", "dense(2)"), "dense1", (3, 12, 8), True),
        (("maxpool(2)", "flatten", "dropout(0.5)", "dense(2)"), "dense1", (3, 6, 4), True),
        (("flatten", "dense(5)", "relu", "dense(2)"), "dense2", (5, 1, 1), False),
        ((*CONV, "flatten", "dropout(0.1)", "batchnorm", "dense(2)"), "dense1", (4, 5, 3), False),
        ((*CONV, "globalpool", "dense(2)"), "dense1", (4, 1, 1), False),
        (("residual(['conv(3, 3, padding=1)'])", "conv(2, 3)"), "conv1", (3, 1, 1), False),
        (("residual(['conv(3, 3, padding=1)'])", "conv(2, 3)"), "residual1.body.conv1", (3, 1, 1), True),
    ],
)
def test_maps_keep_their_place_up_to_a_dense_layer(
    rows: Sequence[str], name: str, shape: tuple[int, int, int], on_image: bool
) -> None:
    table = trace(read_table(rows, {}, 2), (3, 12, 8)).records()
    row = next(row for row in table if row.name == name)
    result = input_layout(table, name, row.input[0])
    if row.kind == "dense":
        assert result.shape == shape
    assert result.reads_image == on_image


def test_a_layer_without_a_row() -> None:
    result = input_layout((), "fc", 8)
    assert (result.shape, result.reads_image) == ((8, 1, 1), False)
