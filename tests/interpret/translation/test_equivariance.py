"""Which shifts maps follow: against strides multiplied by hand, and against views followed back node by node."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.architecture.layers import LayerRow, layers, read_rows
from cnnlab.architecture.trace import Trace, trace
from cnnlab.interpret.translation.compute import translation_sensitivity
from cnnlab.interpret.translation.result import Direction, LayerTranslation
from cnnlab.models.build import build
from cnnlab.models.init import init_weights

SIZE = 24


def picture(size: int = SIZE, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, size, size, generator=torch.Generator().manual_seed(seed))


def traced(texts: list[str]) -> Trace:
    rows: tuple[LayerRow, ...] = read_rows(texts, layers)
    return trace(rows, (2, SIZE, SIZE))


def measured(texts: list[str], direction: Direction = "right", shifts: int = 4) -> dict[str, LayerTranslation]:
    result = traced(texts)
    network = build(result)
    init_weights(network, "default", 0)
    moved = translation_sensitivity(network, picture(), result.records(), shifts=shifts, direction=direction)
    return {layer.name: layer for layer in moved.layers}


def seen_whole(result: Trace, row: int, shift: int) -> int:
    """Places whose view, followed back node by node, lies in the image both before and after a shift to the right."""
    fields = result.rows[row].receptive_field
    assert fields is not None
    _, high, wide = result.rows[row].output

    def inside(axis: int, node: int, by: int) -> bool:
        first, last = fields[axis].view(node)
        return first >= 0 and last + by < SIZE

    rows = sum(inside(0, node, 0) for node in range(high))
    return rows * sum(inside(1, node, shift) for node in range(wide))


def test_a_chain_of_strides_follows_multiples_of_their_product() -> None:
    result = measured(["conv(4, 3, stride=2, padding=1)", "relu", "maxpool(2)"])
    assert (
        result["conv1"].equivariant_shifts,
        result["relu1"].equivariant_shifts,
        result["maxpool1"].equivariant_shifts,
    ) == ((2, 4), (2, 4), (4,))
    lost = [move for move in result["maxpool1"].moves if not move.is_equivariant]
    assert [move.shift for move in lost] == [1, 2, 3]
    assert min(move.difference for move in lost) > 0.01


def test_a_period_beyond_the_largest_shift_is_measured_too() -> None:
    layer = measured(["avgpool(2)", "avgpool(2)", "conv(3, 3, stride=2)"], shifts=1)["conv1"]
    assert layer.period == 8
    assert layer.equivariant_shifts == (8,)
    assert layer.after[1:] == (layer.after[1],), "only the shifts that were asked for have a change"


def test_enlarging_again_does_not_bring_back_what_a_stride_lost() -> None:
    layer = measured(["conv(4, 3, stride=2, padding=1)", "upsample(2)"])["upsample1"]
    assert (layer.period, layer.equivariant_shifts) == (2, (2, 4))


def test_each_direction_has_the_strides_of_its_axis() -> None:
    table = ["conv(3, 3, stride=[2, 3])"]
    assert measured(table, "right")["conv1"].equivariant_shifts == (3,)
    assert measured(table, "down")["conv1"].equivariant_shifts == (2, 4)
    assert measured(table, "diagonal", shifts=7)["conv1"].equivariant_shifts == (6,)
    assert measured(table, "diagonal", shifts=7)["conv1"].moves[5].steps == (3, 2)


@pytest.mark.parametrize(
    "block",
    [
        "residual([conv(2, 3, stride=2, padding=1)], shortcut=[conv(2, 1, stride=2)])",
        "residual([conv(2, 3, stride=2, padding=1), upsample(2)])",
    ],
)
def test_a_sum_has_the_period_of_both_its_paths_and_of_what_lies_within_it(block: str) -> None:
    result = measured([block, "relu", "repeat(2, [avgpool(2)])"], shifts=8)
    assert result["residual1"].period == result["relu1"].period == 2
    assert result["relu1"].equivariant_shifts == (2, 4, 6, 8)
    assert result["repeat1"].period == (8 if "shortcut" in block else 4)


def test_what_depends_on_the_whole_image_is_found_out_by_measuring() -> None:
    result = measured(["conv(4, 3)", "layernorm", "relu"])
    assert result["conv1"].equivariant_shifts == (1, 2, 3, 4)
    assert result["relu1"].equivariant_shifts == ()


def test_where_no_view_lies_inside_the_strides_alone_tell() -> None:
    layer = measured(["conv(2, 23, padding=11)", "maxpool(2)"])["maxpool1"]
    assert layer.moves == ()
    assert layer.period == 2


def test_a_map_of_zeros_tells_nothing() -> None:
    result = traced(["conv(4, 3)", "relu"])
    network = build(result)
    for tensor in network.parameters():
        torch.nn.init.zeros_(tensor)
    (conv, _) = translation_sensitivity(network, picture(), result.records(), shifts=2).layers
    assert conv.moves == ()
    assert conv.after == (0.0, 0.0, 0.0)


def test_vectors_have_no_places() -> None:
    result = measured(["conv(4, 3)", "flatten", "dense(3)"])
    assert [(layer.map, layer.period, layer.moves) for layer in result.values()][1:] == [(None, None, ())] * 2


rows = st.sampled_from(
    [
        "conv(3, 3)",
        "conv(3, 3, padding=1)",
        "conv(2, 5, stride=2, padding=2)",
        "conv(2, 2, stride=2)",
        "conv(2, 3, padding='same', dilation=2)",
        "maxpool(2)",
        "maxpool(3, stride=2, padding=1)",
        "avgpool(2, stride=1)",
        "leaky_relu",  # relu may make a map of zeros, which is left out
        "batchnorm",
    ]
)


@given(st.lists(rows, min_size=1, max_size=4))
def test_any_table_follows_what_its_strides_divide(texts: list[str]) -> None:
    result, layers_by_name = traced(texts), measured(texts)
    for number, row in enumerate(result.rows):
        layer = layers_by_name[row.name]
        period = 1
        for front in result.rows[: number + 1]:
            window = front.layer.window()
            period *= window.stride[1] if window else 1
        assert layer.period == period
        kept = {move.shift: move for move in layer.moves if move.shift % period == 0}
        places = {shift: seen_whole(result, number, shift) for shift in range(period, 5, period)}
        assert {shift: move.nodes for shift, move in kept.items() if shift < 5} == {
            shift: count for shift, count in places.items() if count
        }
        assert all(move.difference <= 1e-6 for move in kept.values())
        assert all(move.steps == (0, shift // period) for shift, move in kept.items())
