"""A network up to one of its layers, against torchvision's own way of taking features out, and against autograd."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from cnnlab.config.model import Model
from cnnlab.errors import SpecError
from cnnlab.models.network_plan import plan_network
from cnnlab.models.pretrained import architectures
from cnnlab.models.pretrained.transfer import TransferModel
from cnnlab.models.pretrained.truncate import (
    CutPoint,
    EarlyExit,
    find_classifier_layer,
    make_stem_small,
    prune,
    truncate,
)
from cnnlab.models.tracing.trace import trace_execution, trace_network

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
FULL, SLOW = pytest.mark.full, pytest.mark.slow
# At sizes that each of them takes, small for speed.
CUTS = [
    ("resnet18", "layer3", 64),
    ("resnet18", "layer2.0.downsample.0", 64),
    pytest.param("resnet18", "layer2.0.bn1", 64, marks=FULL),
    pytest.param("alexnet", "features.9", 64, marks=FULL),
    pytest.param("vgg11_bn", "features.12", 32, marks=SLOW),
    ("squeezenet1_1", "features.7.expand1x1", 64),
    pytest.param("mobilenet_v3_small", "features.4.block.2", 64, marks=FULL),
    pytest.param("shufflenet_v2_x0_5", "stage3", 64, marks=FULL),
    pytest.param("mnasnet0_5", "layers.9", 64, marks=FULL),
    pytest.param("densenet121", "features.transition1", 64, marks=SLOW),
    pytest.param("googlenet", "inception3b.branch2.0", 64, marks=SLOW),
    pytest.param("inception_v3", "Mixed_5c", 128, marks=SLOW),
    pytest.param("efficientnet_b0", "features.3", 64, marks=SLOW),
    pytest.param("regnet_y_400mf", "trunk_output.block2", 64, marks=SLOW),
    pytest.param("convnext_tiny", "features.3.1", 64, marks=SLOW),
    pytest.param("vit_b_16", "encoder.layers.encoder_layer_1", 224, marks=SLOW),
    pytest.param("swin_t", "features.2", 64, marks=SLOW),
]


def planned(name: str, size: int, **model: Any) -> Any:
    given = {"backbone": f"{name}(weights='none')", "resize": size, "head": ["flatten", "dense(classes)"], **model}
    return plan_network(Model(**given), (3, size, size), 5)


def images(size: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "where", "size"), CUTS)
def test_features_are_those_that_torchvision_takes_out(name: str, where: str, size: int) -> None:
    ours = planned(name, size, cut=where).build(3, "cpu")
    whole = architectures.create_model(name, device="cpu", seed=3)
    theirs = create_feature_extractor(whole, {where: "features"}, suppress_diff_warning=True)
    with torch.no_grad():
        found, expected = ours.forward_features(images(size)), theirs(images(size))["features"]
    assert torch.equal(found, expected)
    assert found.abs().sum() > 0


@pytest.mark.full
@pytest.mark.parametrize(("name", "where", "size"), CUTS)
def test_what_is_left_is_what_autograd_reaches_from_the_cut(name: str, where: str, size: int) -> None:
    plan = planned(name, size, cut=where)
    ours, whole = plan.build(3, "meta"), architectures.create_model(name)
    theirs = create_feature_extractor(whole, {where: "features"}, suppress_diff_warning=True)
    blank = torch.empty(2, 3, size, size, device="meta")
    theirs.eval()(blank)["features"].sum().backward()
    # Names of the library: the extractor has the same parameters.
    reached = {parameter: True for parameter in whole.parameters() if parameter.grad is not None}
    names = {name for name, parameter in whole.named_parameters() if parameter in reached}
    assert {name for name, _ in ours.backbone.named_parameters()} == names
    ours(blank).sum().backward()
    assert all(parameter.grad is not None for parameter in ours.parameters())
    assert plan.parameters == sum(parameter.numel() for parameter in ours.parameters())


@needs_timm
@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("timm/resnet18", "layer3"),
        pytest.param("timm/vit_tiny_patch16_224", "blocks.2", marks=SLOW),
        pytest.param("timm/deit_tiny_distilled_patch16_224", "", marks=SLOW),
        pytest.param("timm/convnext_tiny", "stages.1", marks=SLOW),
        pytest.param("timm/eva02_tiny_patch14_224", "blocks.1", marks=SLOW),
    ],
)
def test_every_weight_of_a_timm_network_that_is_left_has_a_gradient(name: str, where: str) -> None:
    made = planned(name, 224, cut=where).build(0, "meta")
    made(torch.empty(2, 3, 224, 224, device="meta")).sum().backward()
    assert [name for name, parameter in made.named_parameters() if parameter.grad is None] == []


@needs_timm
def test_a_timm_network_is_cut_where_its_modules_say() -> None:
    ours = planned("timm/resnet18", 64, cut="layer2").build(1, "cpu")
    whole = architectures.create_model("timm/resnet18", device="cpu", seed=1)
    with torch.no_grad():
        before = whole.maxpool(whole.act1(whole.bn1(whole.conv1(images(64)))))
        assert torch.equal(ours.forward_features(images(64)), whole.layer2(whole.layer1(before)))


def test_a_name_that_no_layer_has_is_told_with_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"no layer of this name(?s:.*)layr3(?s:.*)did you mean 'layer3'") as told:
        planned("resnet18", 64, cut="layr3")
    assert told.value.problems[0].where == "model.cut"
    with pytest.raises(SpecError, match="see the names: cnnlab describe"):
        planned("resnet18", 64, cut="!!!")


def test_a_layer_that_gives_several_tensors_is_no_cut() -> None:
    class Two(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images, images

    made = nn.Sequential(Two())
    truncate(made, CutPoint("0"), 1)
    with pytest.raises(SpecError, match=r"this layer's output is no tensor(?s:.*)cut at another layer"):
        made(torch.zeros(1))


def test_pruning_keeps_what_is_lent() -> None:
    """A module whose weights another one uses never runs itself."""

    class Lending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lent, self.idle = nn.Linear(3, 4, device="meta"), nn.Linear(3, 4, device="meta")
            self.idle_weight = nn.Parameter(torch.zeros(2))

        def forward(self, images: Tensor) -> Tensor:
            return nn.functional.linear(images.flatten(1)[:, :3], self.lent.weight)

    made = Lending()
    seen = trace_execution(made, (3, 2, 2))
    prune(made, seen.executed_modules, seen.used_tensors)
    assert {name for name, _ in made.named_parameters()} == {"lent.weight"}
    assert made(torch.ones(1, 3, 2, 2, device="meta")).shape == (1, 4)


def test_what_is_left_out_leaves_its_input_alone() -> None:
    """A branch that runs in front of the cut, and writes to its input once its convolution is gone."""

    class Branched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.side, self.act = nn.Conv2d(3, 3, 1, device="meta"), nn.SiLU(inplace=True)
            self.main, self.behind = nn.Flatten(), nn.Linear(3, 3, device="meta")

        def forward(self, images: Tensor) -> Tensor:
            side = self.act(self.side(images))
            main: Tensor = self.main(images)
            return self.behind(main) + side.mean()

    made = Branched()
    truncate(made, CutPoint("main"), 1)
    seen = trace_execution(TransferModel(None, Branched(), CutPoint("main"), nn.Identity()), (3, 1, 1))
    prune(made, [name.removeprefix("backbone.") for name in seen.executed_modules], ())
    assert not list(made.parameters())
    images = torch.full((1, 3, 1, 1), 2.0)
    with pytest.raises(EarlyExit) as reached:
        made(images)
    assert reached.value.features.tolist() == [[2.0, 2.0, 2.0]]


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("resnet18", "fc"),
        ("squeezenet1_1", "classifier.1"),
        pytest.param("alexnet", "classifier.6", marks=FULL),
        pytest.param("googlenet", "fc", marks=FULL),
        pytest.param("mobilenet_v3_small", "classifier.3", marks=FULL),
    ],
)
def test_the_last_row_with_weights_is_the_classifier(name: str, last: str) -> None:
    whole = architectures.create_model(name)
    rows = trace_network(whole, architectures.default_input_size(name))
    assert find_classifier_layer(rows, dict(whole.named_modules())) == last


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("resnet18", "conv1"),
        ("mobilenet_v3_small", "features.0.0"),
        pytest.param("densenet121", "features.conv0", marks=FULL),
        pytest.param("alexnet", "features.0", marks=FULL),
        pytest.param("googlenet", "conv1.conv", marks=FULL),
    ],
)
def test_a_small_stem_keeps_the_size_of_a_small_image(name: str, first: str) -> None:
    network = architectures.create_model(name)
    entered = trace_execution(network, (3, 64, 64)).executed_modules
    assert make_stem_small(network, entered) == first
    conv = network.get_submodule(first)
    assert isinstance(conv, nn.Conv2d)
    assert (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))
    rows = trace_network(network, (3, 64, 64))
    convs = [row for row in rows if row.kind in ("conv", "depthwise")]
    assert convs[0].output[1:] == (64, 64)
    assert convs[1].input[1:] == (64, 64)


@pytest.mark.parametrize("name", ["", *(pytest.param(name, marks=FULL) for name in ("vgg11_bn", "vit_b_16"))])
def test_a_network_without_such_a_stem_refuses(name: str) -> None:
    network = architectures.create_model(name) if name else nn.Sequential(nn.Flatten(), nn.ReLU())
    shape = architectures.default_input_size(name) if name else (3, 8, 8)
    with pytest.raises(SpecError, match=r"this network has no stem that could be made small(?s:.*)leave stem out"):
        make_stem_small(network, trace_execution(network, shape).executed_modules)


@pytest.mark.full
def test_a_small_stem_by_hand() -> None:
    """The first features of a ResNet at 8×8: one convolution of our own, its norm, ReLU, and no max pool."""
    text = "resnet18(weights='none', stem='small')"
    plan = plan_network(Model(backbone=text, cut="layer1", resize="own"), (3, 8, 8), 5)
    made, again, other = (plan.build(seed, "cpu") for seed in (2, 2, 3))
    library = architectures.create_model("resnet18", device="cpu", seed=2)
    weight = made.backbone.conv1.weight.detach()
    with torch.no_grad():
        by_hand = library.layer1(library.relu(library.bn1(nn.functional.conv2d(images(8), weight, padding=1))))
        assert torch.equal(made.forward_features(images(8)), by_hand)
    assert weight.shape == (64, 3, 3, 3)
    assert torch.equal(again.backbone.conv1.weight, weight)
    assert not torch.equal(other.backbone.conv1.weight, weight)
