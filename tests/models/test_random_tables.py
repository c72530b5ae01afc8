"""Random tables that fit: what the trace says without torch is what the built network does."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cnnlab.architecture import layers
from cnnlab.architecture.layer import Shape
from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.layers import LayerRow
from cnnlab.architecture.trace import trace
from cnnlab.models.build import build

# torch says so where an even kernel needs one more row of padding on one side.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")

POINTWISE = [
    layers.ReLU, layers.LeakyReLU, layers.ELU, layers.GELU, layers.SiLU, layers.Tanh, layers.Sigmoid, layers.Softmax,
    layers.BatchNorm, layers.LayerNorm, layers.Dropout,
]  # fmt: skip
SMALL = st.integers(1, 3)
PAIRS = st.tuples(SMALL, SMALL)


@st.composite
def _windows(draw: st.DrawFn, shape: Shape) -> dict[str, Any]:
    """Kernel, dilation, padding and stride of a window that fits on an image of this shape."""
    dilation, padding = draw(PAIRS), draw(st.just("same") | st.tuples(st.integers(0, 2), st.integers(0, 2)))
    margins = (2, 2) if padding == "same" else padding
    kernel = tuple(
        draw(st.integers(1, min(3, (shape[axis + 1] + 2 * margins[axis] - 1) // dilation[axis] + 1))) for axis in (0, 1)
    )
    stride = (1, 1) if padding == "same" else draw(PAIRS)
    return {"kernel": kernel, "dilation": dilation, "padding": padding, "stride": stride}


@st.composite
def _convs(draw: st.DrawFn, shape: Shape) -> layers.Layer:
    window, bias = draw(_windows(shape)), draw(st.booleans())
    if draw(st.booleans()):
        return layers.Depthwise(**window, multiplier=draw(SMALL), bias=bias)
    groups = draw(st.sampled_from([count for count in (1, 2, 3) if shape[0] % count == 0]))
    return layers.Conv(groups * draw(SMALL), **window, groups=groups, bias=bias, weightnorm=draw(st.booleans()))


@st.composite
def _pools(draw: st.DrawFn, shape: Shape) -> layers.Layer:
    if draw(st.integers(0, 3)) == 0:
        return layers.AdaptivePool(draw(PAIRS), draw(st.sampled_from(["mean", "max"])))
    kernel = tuple(draw(st.integers(1, min(3, shape[axis]))) for axis in (1, 2))
    padding = tuple(draw(st.integers(0, size // 2)) for size in kernel)
    return draw(st.sampled_from([layers.MaxPool, layers.AvgPool]))(kernel, draw(st.none() | PAIRS), padding)


@st.composite
def _keeping(draw: st.DrawFn, shape: Shape) -> layers.Layer:
    """A layer that leaves any shape as it is."""
    if len(shape) == 3 and draw(st.integers(0, 4)) == 0:
        return draw(
            st.sampled_from([layers.Dropout2d(), layers.LocalResponseNorm(3), layers.Conv(shape[0], 3, padding="same")])
        )
    groups = [count for count in (1, 2, 3) if shape[0] % count == 0 and prod(shape) > count]
    norm = [layers.GroupNorm(draw(st.sampled_from(groups)), affine=draw(st.booleans()))] if groups else []
    return draw(st.sampled_from([*(kind() for kind in POINTWISE), layers.BatchNorm(affine=False), *norm]))


@st.composite
def _blocks(draw: st.DrawFn, shape: Shape, depth: int) -> layers.Layer:
    """A residual whose paths end alike, or a repeat whose body fits again and again."""
    inner = st.lists(_keeping(shape) | _rows_within(shape, depth), max_size=2)
    kept = [LayerRow(layer) for layer in draw(inner)]
    if draw(st.booleans()):
        changing = layers.Conv(draw(SMALL), 3, stride=draw(SMALL), padding=1)
        return layers.Repeat(draw(SMALL), [LayerRow(changing, "own"), LayerRow(draw(st.sampled_from(POINTWISE))())])
    if draw(st.booleans()):
        return layers.Residual(kept, [])
    filters, stride = draw(SMALL), draw(SMALL)
    body = [*kept, LayerRow(layers.Conv(filters, 3, stride=stride, padding=1)), LayerRow(layers.ReLU())]
    return layers.Residual(body, [LayerRow(layers.Conv(filters, 1, stride=stride))])


def _rows_within(shape: Shape, depth: int) -> st.SearchStrategy[layers.Layer]:
    nested = st.builds(lambda layer: layers.Repeat(2, [LayerRow(layer)]), _keeping(shape))
    return (
        nested if depth else nested | st.builds(lambda layer: layers.Residual([LayerRow(layer)], []), _keeping(shape))
    )


@st.composite
def _layers(draw: st.DrawFn, shape: Shape) -> layers.Layer:
    if len(shape) == 1:
        dense = st.builds(layers.Dense, SMALL, st.booleans(), st.booleans())
        return draw(dense | _keeping(shape) | st.just(layers.Flatten()))
    kinds = [_convs(shape), _pools(shape), _keeping(shape), _blocks(shape, depth=0)]
    if prod(shape) < 600:
        kinds.append(st.builds(layers.Upsample, st.integers(1, 2), st.sampled_from(["nearest", "bilinear"])))
    return draw(st.one_of(kinds))


@st.composite
def _tables(draw: st.DrawFn) -> tuple[list[LayerRow], Shape]:
    """A table and the shape of the images that it takes."""
    start: Shape = (draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    rows: list[LayerRow] = []
    shape = start
    ends = [layers.Flatten(), layers.GlobalPool("mean"), layers.GlobalPool("max")]
    for count, end in ((draw(st.integers(1, 5)), draw(st.sampled_from(ends))), (draw(st.integers(0, 3)), None)):
        for _ in range(count):
            rows.append(LayerRow(draw(_layers(shape))))
            shape = trace(rows[-1:], shape).output
        if end is not None and draw(st.booleans()):
            rows.append(LayerRow(end))
            shape = trace(rows[-1:], shape).output
    return rows, start


def _watched(network: nn.Module, names: list[str], shape: Shape, images: int) -> tuple[dict[str, Shape], int]:
    """The shape of one image's output at each of these modules, and torch's count of operations in all."""
    seen: dict[str, Shape] = {}
    for name in names:
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.__setitem__(name, tuple(output.shape[1:]))
        )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.rand(images, *shape, generator=torch.Generator().manual_seed(0)))
    return seen, counter.get_total_flops()


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """torch's counter of operations sets this variable, if nobody else has."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))


@given(_tables(), st.integers(1, 2))
def test_shapes_parameters_and_cost_are_those_of_the_network(table: tuple[list[LayerRow], Shape], images: int) -> None:
    rows, shape = table
    traced = trace(rows, shape)
    network = build(traced)
    names = [row.name for row in traced.walk()]
    assert len(set(names)) == len(names)

    seen, operations = _watched(network, names, shape, images)
    assert seen == {row.name: row.output for row in traced.walk()}
    assert operations == 2 * images * traced.macs

    promised = {f"{row.name}.{name}": size for row in traced.walk() for name, size in row.parameter_shapes.items()}
    assert promised == {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert traced.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert traced.parameters == sum(record.parameters for record in traced.records())

    again = read_table([str(row) for row in rows], {}, classes=2)
    assert trace(again, shape) == traced


@st.composite
def _slides(draw: st.DrawFn, upsample: bool) -> list[LayerRow]:
    """Windows that slide, one after the other."""
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        kernel, stride = draw(PAIRS), draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
        margin = tuple(draw(st.integers(0, size // 2)) for size in kernel)
        kinds: list[layers.Layer] = [
            layers.Conv(
                draw(st.integers(1, 2)), kernel, stride=stride, padding=margin, dilation=draw(PAIRS), bias=False
            ),
            layers.Conv(1, kernel, padding="same", bias=False),
            layers.Depthwise(kernel, stride=stride, bias=False),
            layers.AvgPool(kernel, stride, margin),
        ]
        enlarging: list[layers.Layer] = [layers.Upsample(2), layers.Upsample(3, "bilinear")] if upsample else []
        rows.append(LayerRow(draw(st.sampled_from([*kinds, *enlarging]))))
    return rows


def _reached(network: nn.Module, image: Tensor, node: tuple[int, int]) -> list[tuple[int, int]]:
    """First and last input row, and first and last input column, that have an influence on one output node."""
    (gradient,) = torch.autograd.grad(network(image)[0, :, node[0], node[1]].sum(), image)
    touched = gradient[0].abs().sum(0) > 0
    lines = [torch.nonzero(touched.any(axis)).flatten().tolist() for axis in (1, 0)]
    return [(line[0], line[-1]) for line in lines]


def _positive(rows: list[LayerRow], shape: Shape) -> nn.Module:
    """The network with weights above zero, so that no influence cancels another."""
    network = build(trace(rows, shape)).double()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.5)
    return network


@given(_slides(upsample=False))
def test_the_receptive_field_is_where_the_gradient_reaches(rows: list[LayerRow]) -> None:
    shape = (1, 160, 160)
    last = trace(rows, shape).rows[-1]
    network, image = _positive(rows, shape), torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    centre = (last.output[1] // 2, last.output[2] // 2)
    here, next_to_it = _reached(network, image, centre), _reached(network, image, (centre[0] + 1, centre[1] + 1))
    assert last.receptive_field is not None
    assert [end - start + 1 for start, end in here] == [field.size for field in last.receptive_field]
    assert [after[0] - before[0] for before, after in zip(here, next_to_it, strict=True)] == [
        field.jump for field in last.receptive_field
    ]


@given(_slides(upsample=True))
def test_with_enlarging_no_node_sees_more_than_the_receptive_field(rows: list[LayerRow]) -> None:
    shape = (1, 48, 48)
    last = trace(rows, shape).rows[-1]
    network, image = _positive(rows, shape), torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    assert last.receptive_field is not None
    for step in range(3):
        node = tuple(min(size // 2 + step, size - 1) for size in last.output[1:])
        for (start, end), field in zip(_reached(network, image, (node[0], node[1])), last.receptive_field, strict=True):
            assert end - start + 1 <= field.size
