"""A backbone with a head: known counts, the library's own logits, resizing, and what trains when."""

from __future__ import annotations

import importlib.util
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.config.model import Model
from cnnlab.models.network_plan import NetworkPlan, plan_network
from cnnlab.models.pretrained import architectures
from cnnlab.models.pretrained.transfer import Resize, TransferModel, row_of_module, stateful_modules
from cnnlab.models.pretrained.truncate import CutPoint
from cnnlab.models.train_mode import set_epoch

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
FULL, SLOW = pytest.mark.full, pytest.mark.slow
FEW = ("alexnet", "googlenet", "vgg11_bn")
# Its last layer is dense without a bias, which a head's is not.
NO_BIAS = ("maxvit_t",)
CONVOLUTIONAL = ("squeezenet1_0", "squeezenet1_1")


def planned(name: str, shape: tuple[int, int, int] | None = None, classes: int = 10, **model: Any) -> NetworkPlan:
    text = {"backbone": f"{name}(weights='none')", **model}
    return plan_network(Model(**text), shape or architectures.default_input_size(name), classes)


@pytest.mark.full
@pytest.mark.parametrize(
    ("trainable", "count"),
    [
        ("rows(['layer4'])", 8_398_858),
        ("none", 5_130),
        pytest.param("all", 11_181_642, marks=FULL),
        pytest.param("last_convs(5)", 8_393_738, marks=FULL),
    ],
)
def test_the_known_counts_of_resnet18(trainable: str, count: int) -> None:
    plan = planned("resnet18", trainable=trainable)
    assert (plan.parameters, plan.trainable) == (11_181_642, count)
    made = plan.build(0, "meta")
    assert sum(parameter.numel() for parameter in made.parameters() if parameter.requires_grad) == count
    assert sum(row.parameters for row in plan.layers if not row.frozen) == count
    assert sum(row.parameters for row in plan.layers) == 11_181_642
    if trainable == "rows(['layer4'])":
        rows = [row.name for row in plan.layers if row.parameters]
        trained = [row.name for row in plan.layers if row.parameters and not row.frozen]
        assert trained == [name for name in rows if name.startswith("backbone.layer4.")] + ["head.dense1"]
        assert len(trained) == 11  # two blocks of four, the way past the first of them, and the head


@FULL
def test_activations_of_resnet18_at_256() -> None:
    rows = {row.name: row.output for row in planned("resnet18", (3, 256, 256), resize="own").layers}
    assert rows["backbone.conv1"] == (64, 128, 128)
    assert rows["backbone.layer1.1.relu#2"] == (64, 64, 64)
    assert rows["backbone.layer4.1.relu#2"] == (512, 8, 8)
    assert rows["head.dense1"] == (10,)


@FULL
def test_a_deep_head_behind_vgg() -> None:
    """512 maps, their means, 256 hidden numbers and 10 classes; the classifier of 120 million is gone."""
    head = ["globalpool", "dense(256)", "relu", "dense(classes)"]
    plan = planned("vgg11_bn", cut="features", head=head, trainable="none")
    features = sum(parameter.numel() for parameter in architectures.create_model("vgg11_bn").features.parameters())  # type: ignore[union-attr]
    assert plan.trainable == 512 * 256 + 256 + 256 * 10 + 10 == 133_898
    assert plan.parameters == features + 133_898
    made = plan.build(0, "meta")
    assert made.forward_features(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 512, 7, 7)  # type: ignore[operator]
    assert not [name for name, _ in made.named_parameters() if "classifier" in name]


def dense_networks() -> list[Any]:
    names = [name for name in architectures.list_models() if name not in (*NO_BIAS, *CONVOLUTIONAL)]
    breadth = {name: FULL if name in FEW else SLOW for name in names}
    return ["resnet18", *(pytest.param(name, marks=tier) for name, tier in breadth.items() if name != "resnet18")]


@pytest.mark.parametrize("name", dense_networks())
def test_a_new_head_has_the_parameters_of_the_librarys_own(name: str) -> None:
    """As torchvision makes the network for so many classes; auxiliary classifiers are no part of what predicts."""
    theirs = architectures.create_model(name, 7)
    expected = sum(one.numel() for own, one in theirs.named_parameters() if not own.lower().startswith("aux"))
    plan = planned(name, classes=7)
    assert plan.parameters == plan.trainable == expected


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("squeezenet1_1", {}),
        pytest.param("maxvit_t", {"head": ["dense(classes, bias=false)"]}, marks=SLOW),
    ],
)
def test_where_the_last_layer_is_no_dense_one_or_has_no_bias(name: str, model: dict[str, Any]) -> None:
    plan = planned(name, classes=7, **model)
    assert plan.parameters == sum(one.numel() for one in architectures.create_model(name, 7).parameters())


@pytest.mark.parametrize(
    ("name", "size", "last"),
    [
        ("resnet18", 64, "fc"),
        pytest.param("mobilenet_v3_small", 64, "classifier.3", marks=SLOW),
        pytest.param("shufflenet_v2_x0_5", 64, "fc", marks=FULL),
        pytest.param("alexnet", 64, "classifier.6", marks=SLOW),
        pytest.param("vgg11_bn", 32, "classifier.6", marks=SLOW),
        pytest.param("googlenet", 64, "fc", marks=SLOW),
        pytest.param("densenet121", 64, "classifier", marks=SLOW),
        pytest.param("swin_t", 64, "head", marks=SLOW),
        pytest.param("convnext_tiny", 64, "classifier.2", marks=SLOW),
        pytest.param("vit_b_16", 224, "heads.head", marks=SLOW),
        pytest.param("timm/resnet18", 64, "fc", marks=[SLOW, needs_timm]),
        pytest.param("timm/convnext_tiny", 64, "head.fc", marks=[SLOW, needs_timm]),
        pytest.param("timm/vit_tiny_patch16_224", 224, "head", marks=[SLOW, needs_timm]),
    ],
)
def test_with_the_librarys_weights_the_logits_are_the_librarys(name: str, size: int, last: str) -> None:
    whole = architectures.create_model(name, 5, device="cpu", seed=1)
    ours = planned(name, (3, size, size), 5, resize="own").build(0, "cpu")
    given = whole.state_dict()
    ours.load_state_dict(
        {
            **{own: given[own.removeprefix("backbone.")] for own in ours.state_dict() if own.startswith("backbone.")},
            **{f"head.dense1.{kind}": given[f"{last}.{kind}"] for kind in ("weight", "bias")},
        }
    )
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), whole.eval()(images), rtol=1e-5, atol=1e-6)


@needs_timm
@SLOW
def test_a_timm_network_that_names_no_classes_is_kept_whole() -> None:
    name = "timm/vit_small_patch14_dinov2"
    plan = planned(name, (3, 518, 518), 5)
    whole = architectures.create_model(name)
    width = whole(torch.empty(1, 3, 518, 518, device="meta")).shape[1]
    assert plan.parameters == sum(one.numel() for one in whole.parameters()) + width * 5 + 5


def test_a_larger_image_is_each_pixel_again() -> None:
    images = torch.arange(8.0).reshape(1, 2, 2, 2)
    assert torch.equal(Resize((6, 4), "nearest")(images), images.repeat_interleave(3, 2).repeat_interleave(2, 3))


def test_a_smaller_image_is_smoothed_first() -> None:
    """Halved by a tent of the old pixels, as Pillow does it: 1/8, 3/8, 3/8, 1/8, within the image."""
    line = torch.tensor([0.0, 0.0, 0.0, 8.0, 0.0, 0.0, 0.0, 0.0]).expand(1, 1, 8, 8)
    torch.testing.assert_close(Resize((4, 4), "bilinear")(line)[0, 0], torch.tensor([0.0, 3.0, 1.0, 0.0]).expand(4, 4))
    plain = F.interpolate(torch.ones(1, 1, 2, 2), (4, 4), mode="bicubic")
    torch.testing.assert_close(Resize((4, 4), "bicubic")(torch.ones(1, 1, 2, 2)), plain)


def test_nearest_to_a_size_that_is_no_multiple_takes_the_pixel_under_the_centre() -> None:
    row = torch.arange(4.0).reshape(1, 1, 1, 4)
    assert Resize((1, 3), "nearest")(row).flatten().tolist() == [0.0, 2.0, 3.0]  # centres at 0.67, 2, 3.33


class Trunk(nn.Module):
    """Three weights with a norm and dropout between them, and a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4, device="meta")
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(4, device="meta")
        self.last = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4, device="meta"))

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.last(self.norm(self.drop(self.first(images.flatten(1)))))
        return found


ORDER = ("", "backbone", "backbone.first", "backbone.drop", "backbone.norm", "backbone.last", "head")


def trunk(**begins: int) -> TransferModel:
    made = TransferModel(None, Trunk(), CutPoint(), nn.Linear(4, 2, device="meta"))
    made.set_unfreeze_schedule({"head": 0, **{f"backbone.{name}": epoch for name, epoch in begins.items()}}, ORDER)
    return made


def training(network: TransferModel) -> set[str]:
    network.train()
    return {name.removeprefix("backbone.") for name, module in network.named_modules() if module.training} - {""}


def test_rows_join_in_when_their_epoch_comes() -> None:
    made = trunk(last=1, norm=2, first=3)
    seen = [(set_epoch(made, epoch), training(made) & {"first", "drop", "norm", "last"}) for epoch in range(5)]
    assert seen == [
        (True, set()),
        (True, {"last"}),
        (True, {"last", "norm"}),
        (True, {"last", "norm", "drop", "first"}),
        (False, {"last", "norm", "drop", "first"}),
    ]
    made.eval()
    assert set_epoch(made, 0)
    assert not any(module.training for module in made.modules())


def test_a_normalised_weight_is_of_its_row() -> None:
    made = trunk(last=0)
    set_epoch(made, 0)
    assert {name for name, one in made.backbone.named_parameters() if one.requires_grad} == {
        "last.bias",
        "last.parametrizations.weight.original0",
        "last.parametrizations.weight.original1",
    }
    assert stateful_modules(made.backbone) == ["first", "norm", "last"]
    assert row_of_module("last.parametrizations.weight") == "last"


def test_a_copy_of_a_cut_network_stops_where_its_own_does() -> None:
    inner = nn.Sequential(nn.Flatten(), nn.Identity(), nn.Softmax(1))
    made = TransferModel(None, inner, CutPoint("1"), nn.Identity())
    copied = deepcopy(made)
    images = torch.ones(2, 3, 1, 1)
    assert torch.equal(made(images), copied(images))
    assert made(images).tolist() == [[1.0, 1.0, 1.0]] * 2


def test_a_backbone_within_a_backbone_is_frozen_by_the_outer_one_alone() -> None:
    """What was frozen while the inner network trained itself may train now, statistics and all."""
    inner = trunk()
    set_epoch(inner, 0)
    outer = TransferModel(None, inner, CutPoint(), nn.Identity())
    names = [name for name, _ in outer.named_modules() if name.startswith("backbone.")]
    outer.set_unfreeze_schedule(dict.fromkeys(stateful_modules(outer), 0), ["", "backbone", *names, "head"])
    set_epoch(outer, 0)
    outer.train()
    assert all(module.training for module in inner.modules())
    assert all(parameter.requires_grad for parameter in outer.parameters())


def test_each_of_two_networks_stops_at_its_own_cut() -> None:
    """The outer cut lies within the inner network, and is no cut of that one."""
    inner = TransferModel(
        None, nn.Sequential(nn.Flatten(), nn.Hardtanh(0, 2), nn.Softmax(1)), CutPoint("1"), nn.Softplus()
    )
    outer = TransferModel(None, inner, CutPoint("backbone.0"), nn.Identity())
    images = torch.full((1, 3, 1, 1), 5.0)
    assert (inner.nesting_level, outer.nesting_level) == (1, 2)
    assert outer(images).tolist() == [[5.0, 5.0, 5.0]]
    whole = TransferModel(None, inner.backbone, CutPoint(), nn.Identity())
    assert whole.nesting_level == 1


def test_a_norm_without_weights_trains_where_all_trains() -> None:
    with torch.random.fork_rng():
        backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False))
        made = TransferModel(None, backbone, CutPoint(), nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 2)))
    assert stateful_modules(made) == ["backbone.0", "backbone.1", "head.1"]
    for begins, moves in ((dict.fromkeys(stateful_modules(made), 0), True), ({"backbone.0": 0, "head.1": 0}, False)):
        made.set_unfreeze_schedule(begins, ["backbone", "backbone.0", "backbone.1", "head", "head.0", "head.1"])
        set_epoch(made, 0)
        before = made.state_dict()["backbone.1.running_mean"].clone()
        made.train()(torch.linspace(0, 1, 4 * 3 * 64).view(4, 3, 8, 8))
        assert torch.equal(before, made.state_dict()["backbone.1.running_mean"]) is not moves
