"""Known networks by name: what the libraries publish of them is what is made."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch
from torch import nn
from torchvision.models import get_model_weights

from cnnlab.errors import SpecError
from cnnlab.models.pretrained.architectures import create_model, default_input_size, default_num_classes, list_models

FULL = pytest.mark.full
ALWAYS = ("resnet18", "squeezenet1_1", "vit_b_16")
FAMILIES = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "inception_v3", "mnasnet1_0", "mobilenet_v3_small",
    "regnet_y_400mf", "resnet18", "shufflenet_v2_x1_0", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11_bn", "vit_b_16",
)  # fmt: skip
ROWS = [name if name in ALWAYS else pytest.param(name, marks=FULL) for name in FAMILIES]
needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")


@pytest.mark.parametrize("name", ROWS)
def test_a_network_has_the_parameters_and_the_images_that_are_published(name: str) -> None:
    made, shape, published = create_model(name), default_input_size(name), list(get_model_weights(name))
    assert sum(parameter.numel() for parameter in made.parameters()) in {one.meta["num_params"] for one in published}
    assert {tensor.device.type for tensor in (*made.parameters(), *made.buffers())} == {"meta"}
    assert not made.training
    assert shape[0] == 3
    assert shape[1] == shape[2]
    assert shape[1] in {one.transforms.keywords["crop_size"] for one in published}
    with torch.no_grad():
        assert made(torch.empty(1, *shape, device="meta")).shape == (1, 1000)


@FULL
def test_googlenet_counts_its_auxiliary_classifiers() -> None:
    """Published without them, which `strict=False` drops from the weights: they have 6,379,984 in two."""
    made = create_model("googlenet")
    assert isinstance(made.aux1, nn.Module)
    auxiliary = sum(p.numel() for part in (made.aux1, made.aux2) for p in part.parameters())
    published = {weights.meta["num_params"] for weights in get_model_weights("googlenet")}
    assert sum(p.numel() for p in made.parameters()) - auxiliary in published


def test_only_classification_networks_are_named() -> None:
    assert {"resnet18", "vgg16", "swin_t"} < set(list_models())
    assert not [
        name for name in list_models() if any(word in name for word in ("fcn", "deeplab", "rcnn", "quantized", "r3d"))
    ]
    with pytest.raises(SpecError, match="there is no network 'fcn_resnet50'"):
        create_model("fcn_resnet50")


def test_the_number_of_classes_is_that_of_the_logits() -> None:
    with torch.no_grad():
        assert create_model("resnet18", 7)(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 7)
    assert default_num_classes("resnet18") == 1000
    with pytest.raises(SpecError, match="a network needs at least one class\n  received: 0"):
        create_model("resnet18", 0)


def test_weights_come_from_the_seed_and_leave_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (create_model("squeezenet1_1", 3, device="cpu", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [dict(made.named_parameters())["features.0.weight"] for made in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"there is no network 'resnet19'(?s:.*)did you mean 'resnet1[08]'"):
        create_model("resnet19")
    with pytest.raises(SpecError, match="there is no network 'rensnet50'"):
        default_input_size("rensnet50")


def test_without_timm_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SpecError, match=r"pip install 'cnnlab\[timm\]'"):
        create_model("timm/convnext_tiny")


@needs_timm
def test_timm_has_names_of_its_own() -> None:
    assert default_num_classes("resnetblur50") == 1000
    assert default_num_classes("timm/vit_small_patch14_dinov2") == 0
    with pytest.raises(SpecError, match="did you mean 'timm/convnext_tiny'"):
        create_model("timm/convnext_tinny")
    assert default_input_size("timm/nasnetalarge") == (3, 331, 331)
    made = create_model("resnetblur50", 5)
    assert {parameter.device.type for parameter in made.parameters()} == {"meta"}
    with torch.no_grad():
        assert made(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 5)
