"""The warnings of tables, held against what torch's networks do."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.table_warnings import table_warnings
from cnnlab.architecture.trace import Trace, trace
from cnnlab.models.build import build
from cnnlab.models.init import init_weights
from cnnlab.records import WarningRecord
from cnnlab.torch_rng import fork_rng

# Rows that fit behind one another in any order.
ROWS = st.sampled_from(
    [
        "conv(4, 3, padding=1)",
        "conv(4, 1)",
        "depthwise(3, padding=1)",
        "batchnorm",
        "relu",
        "tanh",
        "maxpool(3, stride=1, padding=1)",
        "avgpool(2, stride=1)",
        "upsample(2)",
        "residual([conv(4, 1), batchnorm], shortcut=[conv(4, 1)])",
        "repeat(2, [conv(4, 1)])",
    ]
)


def _traced(texts: list[str], shape: tuple[int, ...] = (4, 8, 8)) -> Trace:
    return trace(read_table(texts, {}, classes=10), shape)


def _warning(found: Trace, name: str) -> WarningRecord | None:
    return next((one for one in table_warnings(found.records()) if one.name == name), None)


def _images(count: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@given(rows=st.lists(ROWS, min_size=1, max_size=4), last=st.sampled_from(["", "globalpool", "flatten"]))
def test_a_bias_that_is_called_idle_has_no_gradient(rows: list[str], last: str) -> None:
    found = _traced([*rows, *([last] if last else []), "batchnorm", "tanh"])
    warning = _warning(found, "bias-before-batchnorm")
    network = build(found).double().train()
    init_weights(network, "xavier", seed=0)
    with fork_rng():
        weighted = network(_images(4, found.input))
    (weighted * _images(1, weighted.shape[1:])).sum().backward()
    biases = {name: tensor.grad for name, tensor in network.named_parameters() if name.endswith(".bias")}
    if warning is None:
        return
    idle = re.findall(r"[\w.]+\d(?=,| and|$)", warning.where)
    assert idle
    for name in idle:
        torch.testing.assert_close(biases[f"{name}.bias"], torch.zeros_like(biases[f"{name}.bias"]), rtol=0, atol=1e-9)


@given(rows=st.lists(ROWS, min_size=1, max_size=4))
def test_layers_without_an_activation_between_them_are_one_affine_map(rows: list[str]) -> None:
    """f(a) + f(b) = f(a + b) + f(0), just where each of a chain's pairs is told of."""
    plain = [row for row in rows if not row.startswith(("residual", "depthwise"))]
    if not plain:
        return
    found = _traced(["conv(4, 3)", *plain, "conv(4, 1)"])
    network = build(found).double().eval()
    init_weights(network, "orthogonal", seed=0)
    a, b = _images(2, found.input).unsqueeze(1)
    with torch.no_grad():
        bent = network(a) + network(b) - network(a + b) - network(torch.zeros_like(a))
    linear = sum(row.layer.kind in ("conv", "dense") for row in found.walk())
    warning = _warning(found, "no-activation")
    more = re.search(r"(\d+) more", warning.where) if warning else None
    told = warning.where.count("→") + (int(more[1]) if more else 0) if warning else 0
    assert (bent.abs().max().item() < 1e-9) == (told == linear - 1)


@pytest.mark.parametrize(
    "conv",
    [
        "conv(5, 3, padding=1)",
        "conv(5, [1, 3], padding=[0, 1])",
        "conv(5, 5, padding=2)",
        "conv(6, 3, padding=1, groups=2)",
        "conv(5, 3, padding=2, dilation=2)",
        "conv(5, 3, padding=1, stride=2, bias=false)",
        "depthwise(7, padding=3)",
        "conv(5, 2, padding=1)",
    ],
)
def test_the_weights_on_one_pixel_maps_that_meet_padding_have_no_gradient(conv: str) -> None:
    found = _traced(["maxpool(8)", conv])
    network = build(found).double()
    network(_images(4, found.input)).sum().backward()
    weight = dict(network.named_parameters())[f"{found.rows[-1].name}.weight"]
    idle = int((weight.grad == 0).sum())
    warning = _warning(found, "one-pixel-maps")
    told = re.search(r"([\d,]+) weights in all", warning.message) if warning else None
    assert idle == (int(told[1].replace(",", "")) if told else 0)


def test_rows_that_a_stride_steps_over_are_counted() -> None:
    """Against the pixels that have a gradient."""
    for row in ("conv(4, 2, stride=6)", "conv(4, 1, stride=2)", "conv(4, 3, stride=2, dilation=2)", "maxpool(1, 3)"):
        trace_ = trace(read_table([row, "flatten"], {}, 10), (3, 32, 20))
        with fork_rng():
            network = build(trace_)
        image = torch.ones(1, 3, 32, 20, requires_grad=True)
        network(image).square().sum().backward()
        seen = image.grad.abs().sum(dim=(0, 1)) > 0
        high, wide = int(seen.any(dim=1).sum()), int(seen.any(dim=0).sum())
        message = {w.name: w.message for w in table_warnings(trace_.records())}["skipped-rows"]
        assert message.endswith(f"{trace_.rows[0].name} sees {high} of 32 rows and {wide} of 20 columns")
