"""A network in two gives what it gives whole, wherever it is split; what can't be split is refused, with reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.config.model import Model
from cnnlab.errors import SpecError
from cnnlab.models.model_split import ModelSplit, frozen_tensors, split_frozen
from cnnlab.models.network_plan import plan_network
from cnnlab.models.pretrained.transfer import Resize, TransferModel, stateful_modules
from cnnlab.models.pretrained.truncate import CutPoint
from cnnlab.models.tracing.trace import trace_execution
from cnnlab.models.train_mode import set_epoch
from cnnlab.torch_rng import fork_rng

SIZE = 32
full = pytest.mark.full


@pytest.fixture(autouse=True)
def _own_draws() -> Iterator[None]:
    """Layers that are made here draw their weights, and dropout draws."""
    with fork_rng():
        yield


def images(count: int = 4, size: int = SIZE) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def network(backbone: str, trainable: str, size: int = SIZE, **fields: Any) -> TransferModel:
    model = Model(backbone=f"{backbone}(weights='none')", resize="own", trainable=trainable, **fields)
    made, _ = plan_network(model, (3, size, size), 10).initialize(1, lambda _: None)
    assert isinstance(made, TransferModel)
    return made


def of(
    backbone: nn.Module,
    trains: Sequence[str],
    *head: nn.Module,
    resize: Resize | None = None,
    cut: str = "",
    begins: int = 0,
) -> TransferModel:
    """A backbone of one's own, with a head behind it that ends in a dense layer and trains from the beginning."""
    made = TransferModel(resize, backbone, CutPoint(cut), nn.Sequential(*head, nn.Flatten(), nn.LazyLinear(3)))
    made(images())
    policy = {name: 0 for name in stateful_modules(made) if name.startswith("head.")}
    made.set_unfreeze_schedule(
        {**policy, **dict.fromkeys(trains, begins)}, trace_execution(made, (3, SIZE, SIZE)).executed_modules
    )
    set_epoch(made, 0)
    return made


def means() -> nn.Module:
    """A backbone that gives four numbers."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def together(made: TransferModel, parting: ModelSplit) -> None:
    """Both halves give what the whole gives, in eval and in train mode, and train the same numbers alike."""
    batch, other = images(6), deepcopy(made)
    rest, other_rest = parting.trainable_tail(made), parting.trainable_tail(other)
    made.eval()
    features = parting.extract_features(made, batch)
    assert tuple(features.shape[1:]) == parting.feature_shape
    with torch.no_grad():
        torch.testing.assert_close(rest.eval()(features), made(batch))
    torch.manual_seed(5)
    made.train()(batch).square().mean().backward()
    torch.manual_seed(5)
    other_rest.train()(features).square().mean().backward()
    assert [module.training for module in other.modules()] == [module.training for module in made.modules()]
    for (name, one), two in zip(made.named_parameters(), other.parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None), name
        if one.grad is not None:
            torch.testing.assert_close(one.grad, two.grad, rtol=1e-3, atol=1e-5)
    for one, two in zip(made.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ("backbone", "trainable", "place"),
    [
        pytest.param("resnet18", "none", "head.dense1", marks=full),
        pytest.param("resnet18", "rows(['layer4'])", "backbone.layer4.0", marks=full),
        ("resnet18", "last_convs(1)", "backbone.layer4.1"),  # a block is never split
        pytest.param("resnet18", "gradual(['layer4', 'layer3'], every=1)", "backbone.layer3.0", marks=full),
        pytest.param("shufflenet_v2_x0_5", "last_convs(1)", "backbone.conv5.0", marks=full),
        pytest.param("efficientnet_b0", "last_convs(2)", "backbone.features.7.0", marks=full),
        pytest.param("timm/mobilenetv3_small_050", "last_convs(1)", "backbone.conv_head", marks=full),
    ],
)
def test_a_network_is_parted_in_front_of_what_trains_first(backbone: str, trainable: str, place: str) -> None:
    made = network(backbone, trainable)
    parting = split_frozen(made, images(3))
    assert parting.cut_module == place
    together(made, parting)
    kept = {name for name, _ in frozen_tensors(made)}
    trained = {name for name, parameter in made.named_parameters() if parameter.requires_grad}
    assert kept
    assert not kept & trained
    if trainable == "rows(['layer4'])":
        behind = {name for name, _ in made.named_parameters()} - kept
        assert behind == {name for name, _ in made.named_parameters() if name.startswith(("backbone.layer4", "head"))}


def test_dropout_of_the_head_draws_behind_the_features() -> None:
    made = of(means(), [], nn.Dropout(0.5))
    parting = split_frozen(made, images(3))
    assert parting.cut_module == "head.0"
    together(made, parting)
    rest = parting.trainable_tail(made)
    features = parting.extract_features(made.eval(), images())
    rest.train()
    assert not torch.equal(rest(features), rest(features))
    rest.eval()
    assert torch.equal(rest(features), rest(features))


def test_parting_leaves_the_network_as_it_was() -> None:
    made = network("resnet18", "gradual(['layer4'], every=1)").train()
    modes = [module.training for module in made.modules()]
    before = deepcopy(made.state_dict())
    state = torch.get_rng_state()
    split_frozen(made, images(3))
    assert [module.training for module in made.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert [name for name, one in made.named_parameters() if one.requires_grad] == [
        "head.dense1.weight",
        "head.dense1.bias",
    ]
    assert not made.backbone._forward_pre_hooks


@pytest.mark.parametrize("affine", [False, True])
def test_a_norm_that_takes_statistics_is_no_part_of_the_trunk(affine: bool) -> None:
    made = of(means(), [], nn.BatchNorm1d(4, affine=affine))
    before = deepcopy(made.state_dict())
    parting = split_frozen(made, images(3))
    assert parting.cut_module == "head.0"
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.state_dict().items())
    together(made, parting)


def test_the_rest_thaws_with_the_network() -> None:
    """A way of computing is tried with all that will ever train."""
    made = network("resnet18", "gradual(['layer4'], every=1)")
    rest = split_frozen(made, images(3)).trainable_tail(made)
    thawed = [parameter for name, parameter in rest.named_parameters() if name.startswith("network.backbone.layer4")]
    assert len(thawed) == 15
    for epoch, trains in ((1, True), (0, False)):
        assert set_epoch(rest, epoch)
        assert {parameter.requires_grad for parameter in thawed} == {trains}
        assert rest.train().network.backbone.layer4[1].training is trains
    assert not set_epoch(rest, 0)


class LooksBack(nn.Module):
    """Adds the image again behind its second convolution."""

    def __init__(self, second: nn.Module | None = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.second = second or nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)) + x


class Twice(nn.Module):
    """Uses one activation on both sides of the place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.second = nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.second(F.relu(self.act(self.first(x)))))


class AcrossImages(nn.Module):
    """Takes the mean image of the batch away."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x - x.mean(0)))


class Draws(nn.Module):
    """Draws in front of the place, by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.dropout(self.first(x), 0.5, self.training))


@pytest.mark.parametrize(
    ("backbone", "words"),
    [
        (LooksBack, "what follows needs more of the image than the features"),
        (Twice, "what follows needs more of the image than the features"),
        (AcrossImages, "an image's features depend on other images"),
        (Draws, "what is before it is random, or differs in training"),
    ],
)
def test_where_features_would_be_wrong_it_is_refused(backbone: type[nn.Module], words: str) -> None:
    made = of(backbone(), ["backbone.second"])
    with pytest.raises(SpecError, match=rf"train.cache: the network can't be split at backbone.second .*{words}"):
        split_frozen(made, images(3))


def test_where_nothing_is_frozen_in_front_there_is_no_trunk() -> None:
    for begins in (0, 2):
        made = of(means(), ["backbone.0"], begins=begins)
        with pytest.raises(SpecError, match=r"nothing frozen stands before backbone.0, which trains"):
            split_frozen(made, images(3))
    with pytest.raises(SpecError, match=r"(?s)train.cache: .* has no backbone.*computed for every batch"):
        split_frozen(nn.Linear(2, 2), images(3))


class Block(nn.Module):
    """A way round a convolution and its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.conv(x))


def structure(
    *head: nn.Module, cut: str = "1", trains: Sequence[str] = (), size: int = 48, interpolation: Any = "bilinear"
) -> str:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), Block(), nn.Conv2d(4, 4, 3))
    made = of(backbone, trains, *head, resize=Resize((size, size), interpolation), cut=cut)
    return "\n".join(split_frozen(made, images(3)).structure_key(made))


def test_structures_differ_by_what_decides_features() -> None:
    others = [
        structure(interpolation="nearest"),
        structure(size=40),
        structure(cut="0"),
        structure(cut="2"),
        structure(cut="1.norm"),  # without the shortcut, of the same modules
        structure(trains=["backbone.1.conv"]),
    ]
    assert len({structure(), *others}) == 7
    assert structure(nn.Conv2d(4, 4, 1)) == structure(nn.Conv2d(4, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 1))


class Attends(nn.Module):
    """Uses a module's numbers without running it, and a module that gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.attend, self.lent, self.last = nn.MultiheadAttention(3, 1, batch_first=True), nn.Linear(3, 3), Twice()

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(2).transpose(1, 2)
        rows = F.linear(self.attend(rows, rows, rows)[0], self.lent.weight)
        return self.last(rows.transpose(1, 2).reshape(x.shape))


def test_numbers_count_whatever_uses_them() -> None:
    made = of(Attends(), [])
    parting = split_frozen(made, images(3))
    kept = {name for name, _ in frozen_tensors(made)}
    trained = {name for name, parameter in made.named_parameters() if parameter.requires_grad}
    assert kept == {name for name, _ in made.named_parameters()} - trained
    assert "(attend): MultiheadAttention" in "".join(parting.structure_key(made))
    together(made, parting)
