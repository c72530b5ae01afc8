"""Building: what each row becomes, against torchinfo and plain torch."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
import torchinfo
from torch import nn
from torchvision.ops import stochastic_depth

from cnnlab.architecture import layers
from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.layers import RESERVED_MODULE_NAMES
from cnnlab.architecture.trace import Trace, trace
from cnnlab.config.recipe import Recipe
from cnnlab.models import blocks
from cnnlab.models.build import build
from cnnlab.models.init import init_weights
from cnnlab.torch_rng import fork_rng

REQUIRED = {
    "conv": "(4, 3)",
    "dense": "(4)",
    "depthwise": "(3)",
    "maxpool": "(2)",
    "avgpool": "(2)",
    "adaptivepool": "(2)",
    "upsample": "(2)",
    "groupnorm": "(3)",
    "residual": "([relu])",
    "repeat": "(2, [relu])",
}
RECIPES = Path(__file__).parents[2] / "recipes"


def _trace(texts: list[str], shape: tuple[int, ...] = (3, 8, 8)) -> Trace:
    return trace(read_table(texts, {}, classes=10), shape)


def _images(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["lenet", "convnet", "convnet-batchnorm"])
def test_the_recipes_of_the_house_agree_with_torchinfo(name: str) -> None:
    traced = Recipe.read(RECIPES / f"{name}.toml").model.trace((3, 32, 32), classes=10)
    summary = torchinfo.summary(build(traced), input_data=_images(1, 3, 32, 32), verbose=0, device="cpu", mode="eval")
    rows = [info for info in summary.summary_list if info.depth == 1]
    assert summary.total_params == traced.parameters
    assert [tuple(info.output_size[1:]) for info in rows] == [row.output for row in traced.rows]
    assert [info.num_params for info in rows] == [row.parameters for row in traced.rows]
    # torchinfo also counts biases, one for every output of their layer, and each number of a batch norm.
    with_bias = sum(
        torch.Size(row.output).numel() for row in traced.rows if "bias" in row.parameter_shapes and row.macs
    )
    norms = sum(row.parameters for row in traced.rows if isinstance(row.layer, layers.BatchNorm))
    assert summary.total_mult_adds == traced.macs + with_bias + norms


@pytest.mark.parametrize(
    ("text", "shape", "module"),
    [
        ("batchnorm(momentum=0.25)", (4, 3, 3), nn.BatchNorm2d),
        ("batchnorm(momentum=0.25)", (4,), nn.BatchNorm1d),
        ("globalpool", (4, 3, 3), blocks.GlobalAvgPool2d),
        ("globalpool('max')", (4, 3, 3), blocks.GlobalMaxPool2d),
        ("adaptivepool(2)", (4, 3, 3), nn.AdaptiveAvgPool2d),
        ("adaptivepool(2, 'max')", (4, 3, 3), nn.AdaptiveMaxPool2d),
        ("dropout2d(0.25)", (4, 3, 3), nn.Dropout2d),
        ("residual([])", (4, 3, 3), blocks.ResidualBlock),
    ],
)
def test_a_row_becomes_this_module(text: str, shape: tuple[int, ...], module: type[nn.Module]) -> None:
    (built,) = build(_trace([text], shape))
    assert type(built) is module
    assert getattr(built, "momentum", 0.25) == 0.25
    assert getattr(built, "p", 0.25) == 0.25


def test_arguments_reach_their_modules() -> None:
    texts = [
        "leaky_relu(0.3)",
        "elu(0.7)",
        "lrn(3, 0.1, 0.5, 2.0)",
        "batchnorm(0.01)",
        "layernorm(0.02)",
        "groupnorm(3, 0.03)",
    ]
    network = build(_trace(texts))
    assert network.leaky_relu1.negative_slope == 0.3
    assert network.elu1.alpha == 0.7
    assert (network.lrn1.size, network.lrn1.alpha, network.lrn1.beta, network.lrn1.k) == (3, 0.1, 0.5, 2.0)
    assert (network.batchnorm1.eps, network.layernorm1.eps, network.groupnorm1.eps) == (0.01, 0.02, 0.03)
    assert network.groupnorm1.num_groups == 3


def test_a_residual_adds_its_paths() -> None:
    network = build(_trace(["residual([conv(4, 3, padding=1)], shortcut=[conv(4, 1)])", "residual([tanh])"]))
    images = _images(2, 3, 8, 8)
    block = network.residual1
    inner = block.body(images) + block.shortcut(images)
    torch.testing.assert_close(network(images), inner + torch.tanh(inner))


def test_a_repeat_has_weights_of_its_own_each_time() -> None:
    network = build(_trace(["repeat(3, [c: conv(4, 3, padding=1), relu])"]))
    weights = [network.get_submodule(f"repeat1.{time}.c").weight for time in range(3)]
    assert [tuple(weight.shape) for weight in weights] == [(4, 3, 3, 3), (4, 4, 3, 3), (4, 4, 3, 3)]
    assert not torch.equal(weights[1], weights[2])


def test_global_pools_are_plain_reductions() -> None:
    images = _images(2, 3, 5, 7)
    for kind in ("mean", "max"):
        pooled = build(_trace([f"globalpool('{kind}')"], (3, 5, 7)))(images)
        for image in range(2):
            for channel in range(3):
                pixels = images[image, channel].flatten().tolist()
                wanted = sum(pixels) / 35 if kind == "mean" else max(pixels)
                assert pooled[image, channel].item() == pytest.approx(wanted, rel=1e-5)


def test_a_last_softmax_is_the_meaning_of_the_output_and_not_a_step() -> None:
    texts = ["conv(4, 3)", "relu", "flatten", "dense(classes)"]
    with_row, without = build(_trace([*texts, "softmax"])), build(_trace(texts))
    init_weights(with_row, "xavier", seed=0)
    init_weights(without, "xavier", seed=0)
    images = _images(2, 3, 8, 8)
    assert torch.equal(with_row(images), without(images))
    assert with_row.get_submodule("softmax1")(images) is images
    assert list(with_row.state_dict()) == list(without.state_dict())


def test_weightnorm_splits_each_filter_into_length_and_direction() -> None:
    network = build(_trace(["conv(4, 3, weightnorm=true)", "flatten", "dense(5, weightnorm=true)"]))
    for module in (network.conv1, network.dense1):
        length, direction = (getattr(module.parametrizations.weight, f"original{part}") for part in (0, 1))
        norms = direction.flatten(1).norm(dim=1)
        wanted = direction.flatten(1) * (length.flatten() / norms)[:, None]
        torch.testing.assert_close(module.weight.flatten(1), wanted)
    assert network.conv1.parametrizations.weight.original0.shape == (4, 1, 1, 1)


def test_no_row_can_have_a_name_that_torch_uses_itself() -> None:
    blocks = (nn.Sequential(), build(_trace(["residual([relu])"])).residual1)
    names = {name for block in blocks for name in dir(block) if not name.startswith("_")} - {"body", "shortcut"}
    assert names <= RESERVED_MODULE_NAMES


@pytest.mark.parametrize("kernel", ["2", "3", "[4, 3]"])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_is_torchs_own(kernel: str, dilation: int) -> None:
    with fork_rng():
        ours = build(_trace([f"conv(4, {kernel}, padding='same', dilation={dilation})"])).conv1
        theirs = nn.Conv2d(3, 4, ours.kernel_size, padding="same", dilation=dilation)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's of even kernels, which ours does without
        expected = theirs(images)
    torch.testing.assert_close(ours(images), expected)


def test_no_layer_is_left_without_a_module() -> None:
    for name, kind in layers.layers.kinds.items():
        shape = (3,) if kind.input_kind == "vector" else (3, 8, 8)
        traced = _trace([name + REQUIRED.get(name, "")], shape)
        assert tuple(build(traced).eval()(_images(1, *shape)).shape[1:]) == traced.output, name


@pytest.mark.parametrize("rows", [["relu"], ["globalpool", "relu"]], ids=["images", "vectors"])
def test_a_dropped_body_is_torchvisions_stochastic_depth(rows: list[str]) -> None:
    traced = _trace([*rows[:-1], f"residual([{rows[-1]}], drop=0.4)"])
    network, images = build(traced), _images(20, 3, 8, 8)
    inside = images.mean(dim=(2, 3)) if len(rows) > 1 else images
    for mode in (True, False):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            found = network.train(mode)(images)
            torch.manual_seed(1)
            expected = inside + stochastic_depth(inside.relu(), 0.4, "row", training=mode)
        torch.testing.assert_close(found, expected)
        left_out = (found == inside).flatten(1).all(dim=1).sum()
        assert (0 < left_out < 20) if mode else left_out == 0
