"""Layers are found by name and read where they compute."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cnnlab.architecture.layers import layers, read_rows
from cnnlab.architecture.trace import trace
from cnnlab.errors import UsageError
from cnnlab.interpret.layer_index import LayerIndex, capture_outputs
from cnnlab.models.build import build
from cnnlab.models.init import init_weights
from cnnlab.models.tracing.trace import network_table
from cnnlab.torch_rng import fork_rng, manual_seed_torch


def build_index(texts: list[str], side: int = 8) -> LayerIndex:
    result = trace(read_rows(texts, layers), (3, side, side))
    network = build(result)
    init_weights(network, "default", 0)
    return LayerIndex(network.eval(), result.records(), (3, side, side))


def fresh(kind: type[nn.Module]) -> nn.Module:
    with fork_rng():
        manual_seed_torch(0, "test")
        return kind().eval()


class Sum(nn.Module):
    """A sum that is no module, read by a module; and one at the end, which none reads."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.two = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        first = self.one(images)
        result = self.relu(self.two(first) + first)
        return result * 2


def test_a_step_that_is_no_module_is_read_in_front_of_its_reader() -> None:
    network = fresh(Sum)
    index = LayerIndex(network, network_table(network, (3, 8, 8)).layers, (3, 8, 8))
    image, result = torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8), {}

    def keep(ref: object, tensor: Tensor) -> None:
        result[ref.name] = tensor.detach().clone()  # type: ignore[attr-defined]

    with capture_outputs(network, [index.find(name) for name in ("add", "relu", "one")], keep), torch.no_grad():
        network(image)
        first = network.one(image)
        total = network.two(first) + first
    assert torch.equal(result["add"], total)
    assert torch.equal(result["relu"], total.clamp(min=0))
    assert torch.equal(result["one"], first)
    assert not network.relu._forward_hooks
    assert not network.relu._forward_pre_hooks
    with pytest.raises(UsageError, match="the output of 'multiply' can't be read: it is no module"):
        index.find("multiply")


def test_the_error_of_an_unknown_layer_lists_all_and_names_the_nearest() -> None:
    index = build_index(["first: conv(4, 3)", "relu", "flatten", "dense(2)"])
    with pytest.raises(UsageError) as caught:
        index.find("fist")
    message = str(caught.value)
    assert "there is no layer 'fist'" in message
    assert "allowed:  first, relu1, flatten1, dense1" in message
    assert "did you mean 'first'?" in message


@pytest.mark.parametrize(
    ("texts", "ends"),
    [
        (["conv(4, 3)", "relu", "conv(4, 3)", "flatten", "dense(2)"], ["conv1", "conv2"]),
        (["conv(4, 3)", "flatten", "dense(2)"], ["conv1"]),
        (["flatten", "dense(5)", "relu", "dense(2)"], ["dense1", "dense2"]),
        # The body's second convolution has more in front of it than the shortcut's, which stands behind it.
        (
            ["residual([conv(4, 3, padding=1), relu, conv(4, 3, padding=1)], shortcut=[conv(4, 1)])", "flatten"],
            ["residual1.body.conv1", "residual1.body.conv2"],
        ),
        # Of several ways through the inner block the longest counts: 3 + 1 convolutions against the shortcut's 3.
        (
            [
                "residual([residual([conv(3, 1), conv(3, 1), conv(3, 1)], shortcut=[conv(3, 1)]), conv(3, 1)], "
                "shortcut=[conv(3, 1), conv(3, 1), conv(3, 1)])"
            ],
            ["residual1.body.residual1.body.conv1", "residual1.body.conv1"],
        ),
        (["relu", "flatten"], ["relu1"]),
    ],
)
def test_the_first_and_the_last_convolution_are_those_by_the_flow_of_the_data(
    texts: list[str], ends: list[str]
) -> None:
    assert [ref.name for ref in build_index(texts).first_and_last()] == ends


def test_maps_have_their_channels_in_front() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 2, stride=2)
            self.norm = nn.LayerNorm(6)
            self.after = nn.Conv2d(6, 5, 1)

        def forward(self, images: Tensor) -> Tensor:
            return self.after(self.norm(self.conv(images).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))

    network = fresh(Last)
    index = LayerIndex(network, network_table(network, (3, 8, 8)).layers, (3, 8, 8))
    output = torch.arange(2 * 4 * 4 * 6.0).reshape(2, 4, 4, 6)
    norm = index.find("norm")
    maps = norm.as_feature_maps(output)
    assert maps is not None
    assert maps.shape == (2, 6, 4, 4)
    assert torch.equal(maps[1, 3], output[1, :, :, 3])
    assert (norm.num_units, index.find("after").num_units) == (6, 5)
    tokens = norm.as_feature_maps(torch.arange(2 * 7 * 6.0).reshape(2, 7, 6))
    assert tokens is not None
    assert tokens.shape == (2, 6, 7, 1)
    assert torch.equal(tokens[1, 2, :, 0], torch.arange(2 * 7 * 6.0).reshape(2, 7, 6)[1, :, 2])


@pytest.mark.parametrize(
    ("texts", "layer"),
    [
        (["conv(4, 3)", "relu", "maxpool(2)", "conv(6, 2)", "relu", "flatten", "dense(2)"], "relu2"),
        (["conv(4, 3)", "residual([conv(4, 3, padding=1), relu])", "globalpool", "dense(2)"], "residual1"),
        (["conv(4, 3)", "maxpool(2)", "dropout2d(0.1)", "flatten", "dense(2)"], "conv1"),
        (["maxpool(2)", "flatten", "dense(2)"], "maxpool1"),
        (["conv(4, 8)", "flatten", "dense(2)"], None),
    ],
)
def test_the_last_layer_that_makes_maps(texts: list[str], layer: str | None) -> None:
    last = build_index(texts).last_maps()
    assert (last and last.name) == layer
