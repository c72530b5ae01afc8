"""Whole networks as tables, held against published figures, torchinfo, torchlens and torch's own counter."""

from __future__ import annotations

import importlib.util
from functools import cache
from math import prod
from typing import Any

import pytest
import torch
import torchinfo
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cnnlab.architecture.layers import layers
from cnnlab.errors import SpecError
from cnnlab.models.pretrained.architectures import create_model, default_input_size, list_models
from cnnlab.models.tracing.trace import backbone_table, network_table
from cnnlab.records import LayerRecord, LayerTable

CONVOLUTIONAL = (
    "alexnet", "vgg11_bn", "vgg16", "resnet18", "resnet50", "squeezenet1_1", "densenet121", "mobilenet_v3_small",
    "efficientnet_b0", "shufflenet_v2_x1_0", "googlenet", "inception_v3", "mnasnet1_0", "regnet_y_400mf",
)  # fmt: skip
WITH_TOKENS = ("convnext_tiny", "swin_t", "vit_b_16")
full = pytest.mark.full
needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")


def _networks(*always: str, breadth: tuple[str, ...]) -> list[Any]:
    """Rows of a test: few networks always, the others in the full tier."""
    return [*always, *(pytest.param(name, marks=full) for name in breadth if name not in always)]


@cache
def _table(name: str) -> LayerTable:
    return backbone_table(name)


def _counted(made: nn.Module, name: str) -> int:
    """torch's own count of operations with weights, of one image."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        made(torch.empty(1, *default_input_size(name), device="meta"))
    found = counter.get_flop_counts()["Global"].items()
    return sum(count for function, count in found if "bmm" not in str(function) and "attention" not in str(function))


def _last_map(table: LayerTable) -> LayerRecord:
    """The last row whose nodes do not see the whole image."""
    return [row for row in table.layers if row.receptive_field is not None][-1]


@pytest.mark.parametrize(
    ("name", "size", "jump"),
    [
        # A. Araujo, W. Norris, J. Sim: Computing receptive fields of convolutional neural networks, Distill, 2019,
        # for alexnet (v2), vgg16 and the ResNets; the rest of VGG by its own recurrence
        ("alexnet", 195, 32), ("resnet18", 435, 32), pytest.param("vgg11", 150, 32, marks=full),
        pytest.param("vgg16", 212, 32, marks=full), pytest.param("resnet34", 899, 32, marks=full),
        # by hand: a 4×4 stem, 3+3+9+3 blocks of 7×7 and three 2×2 with stride 2
        pytest.param("convnext_tiny", 4 + 3 * 24 + 4 + 3 * 48 + 8 + 9 * 96 + 16 + 3 * 192, 32, marks=full),
    ],
)  # fmt: skip
def test_the_receptive_field_is_the_published_one(name: str, size: int, jump: int) -> None:
    last = _last_map(_table(name))
    assert last.receptive_field == (size, size)
    assert last.jump == (str(jump), str(jump))


@pytest.mark.parametrize(
    "name",
    [
        *_networks("resnet18", "mobilenet_v3_small", breadth=(*CONVOLUTIONAL, "convnext_tiny")),
        pytest.param("swin_t", marks=pytest.mark.slow),  # minutes, most of them within torchinfo
    ],
)
def test_layers_are_those_of_torchinfo(name: str) -> None:
    made, shape = create_model(name), default_input_size(name)
    rows = {row.name: row for row in _table(name).layers}
    found = torchinfo.summary(made, input_data=torch.empty(1, *shape, device="meta"), device="meta", verbose=0)
    called = {id(module): module_name for module_name, module in made.named_modules()}
    held = 0
    for info in found.summary_list:
        row = rows.get(called[info.layer_id])
        if row is None or info.is_recursive or not info.is_leaf_layer:
            continue
        assert row.output == tuple(info.output_size[1:]), row.name
        assert row.parameters == info.num_params, row.name
        if row.kind in ("conv", "depthwise"):  # torchinfo counts biases as multiply-adds
            places = prod(row.output[1:])
            biases = 0 if "bias=false" in row.text else row.output[0] * places
            assert row.macs + biases == info.macs, row.name
        held += 1
    assert held > 20
    if name not in ("googlenet", "inception_v3"):  # which have parts that don't run
        assert sum(row.parameters for row in rows.values()) == found.total_params


@pytest.mark.parametrize("name", _networks("resnet18", "vit_b_16", breadth=(*CONVOLUTIONAL, *WITH_TOKENS)))
def test_torch_counts_two_operations_for_each_multiply_add_of_weights(name: str) -> None:
    table = _table(name)
    assert table.macs == sum(row.macs for row in table.layers) > 0
    assert 2 * table.macs == _counted(create_model(name), name)


@full
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "mobilenet_v2"])
def test_steps_and_their_order_are_those_of_torchlens(name: str) -> None:
    import torchlens
    from torchlens.backends.torch.wrappers import unwrap_torch

    made = create_model(name, device="cpu")
    try:
        seen = torchlens.trace(made, torch.zeros(1, 3, 64, 64))
    finally:  # it replaces torch's functions by slow ones
        unwrap_torch()
    theirs = [(str(op.func_name).strip("_"), tuple(op.shape[1:])) for op in seen.ops if op.func_name]
    words = {
        "conv2d": "conv", "batch_norm": "batchnorm", "max_pool2d": "maxpool", "iadd": "add", "linear": "dense",
        "adaptive_avg_pool2d": "adaptivepool", "cat": "concatenate", "hardtanh": "relu6",
    }  # fmt: skip
    rows = network_table(made, (3, 64, 64)).layers
    ours = [("conv" if row.kind == "depthwise" else row.kind, row.output) for row in rows]
    assert len(ours) > 60
    assert [(words.get(function, function), shape) for function, shape in theirs if function != "none"] == ours


@pytest.mark.parametrize("name", _networks("mobilenet_v3_small", breadth=(*CONVOLUTIONAL, *WITH_TOKENS)))
def test_every_text_is_a_layer_that_makes_the_same_window(name: str) -> None:
    table = _table(name)
    known = [row for row in table.layers if row.kind in layers.kinds]
    assert len(known) > 10
    for row in known:
        layer = layers.read(row.text)
        assert layer.kind == row.kind
        if row.kind in ("conv", "depthwise"):
            assert layer.output_shape(row.input) == row.output
            assert layer.macs(row.input) == row.macs
            assert sum(map(prod, layer.parameter_shapes(row.input).values())) == row.parameters
    row_names = [row.name for row in table.layers]
    assert len(set(row_names)) == len(row_names)
    for place, row in enumerate(table.layers):
        assert set(row.inputs) <= set(row_names[:place])


@full
def test_parts_that_do_not_run_count_and_have_no_row() -> None:
    table = _table("googlenet")
    assert table.parameters == 13_004_888
    auxiliary = sum(
        p.numel() for part in ("aux1", "aux2") for p in create_model("googlenet").get_submodule(part).parameters()
    )
    assert sum(row.parameters for row in table.layers) == table.parameters - auxiliary
    assert not [row.name for row in table.layers if row.name.startswith("aux")]


def test_shape_and_classes_are_as_asked() -> None:
    table = backbone_table("resnet18", (3, 64, 96), num_classes=10)
    assert table.layers[-1].output == (10,)
    assert _last_map(table).output == (512, 2, 3)
    with pytest.raises(SpecError, match=r"conv1: this network fails for an image of 5×64×64(?s:.*)received: 5×64×64"):
        backbone_table("resnet18", (5, 64, 64))


def test_names_of_a_residual_block_and_where_its_rows_lead() -> None:
    rows = {row.name: row for row in _table("resnet18").layers}
    assert rows["layer1.0.add"].inputs == ("layer1.0.bn2", "maxpool")
    assert rows["layer1.0.relu#2"].inputs == ("layer1.0.add",)
    assert rows["layer1.0.conv1"].inputs == ("maxpool",)
    assert rows["conv1"].inputs == ()
    assert rows["conv1"].formula == "7·7·3·64"
    assert rows["conv1"].macs_formula == "7·7·3·64 × 112·112"
    assert rows["fc"].formula == "512·1000 + 1000"


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_all_of_torchvision(name: str) -> None:
    table = backbone_table(name)
    assert table.layers[-1].output == (1000,)


@needs_timm
@pytest.mark.parametrize(
    "name", _networks("vit_tiny_patch16_224", breadth=("convnext_tiny", "tf_efficientnet_b0", "resnetblur50"))
)
def test_timm_networks_count_as_torch_counts(name: str) -> None:
    name = f"timm/{name}"
    made = create_model(name)
    table = network_table(made, default_input_size(name))
    assert table.parameters == sum(row.parameters for row in table.layers)
    assert 2 * table.macs == _counted(made, name)


@needs_timm
@full
def test_same_padding_of_tensorflow_has_a_row_where_no_padding_says_it() -> None:
    """Its stride-2 convolutions are padded on the right and below only: the first node looks half a stride further."""
    rows = {row.name: row for row in _table("timm/tf_efficientnet_b0").layers}
    assert rows["conv_stem.pad"].output == (3, 225, 225)
    assert rows["conv_stem"].first_centre == ("1", "1")
    assert rows["blocks.0.0.conv_dw"].text == "depthwise(3, padding=1, bias=false)"
    plain = {row.name: row for row in _table("timm/efficientnet_b0").layers}
    assert plain["conv_stem"].first_centre == ("0", "0")
    assert rows["bn2.act"].receptive_field == plain["bn2.act"].receptive_field == (851, 851)
