"""Backbones filled with weights: every tensor is accounted for, and what can't be right is refused untouched."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model, get_model_builder, get_model_weights

from cnnlab.errors import RunError
from cnnlab.models.pretrained import architectures
from cnnlab.models.pretrained.architectures import create_model, list_models
from cnnlab.models.pretrained.loading import load_state_dict_report, report_lines
from cnnlab.models.pretrained.weights import PretrainedWeights, weights_label
from cnnlab.records import WeightLoadReport
from cnnlab.torch_rng import fork_rng

State = Mapping[str, Tensor]
SET = ("googlenet", "inception_v3")
FAMILIES = (
    "alexnet", "convnext", "densenet", "efficientnet", "inception", "maxvit", "mnasnet", "mobilenetv2", "mobilenetv3",
    "regnet", "shufflenetv2", "squeezenet", "swin_transformer", "vgg", "vision_transformer",
)  # fmt: skip


def _found(tensors: State, file: str = "folder/w.pth") -> PretrainedWeights:
    return PretrainedWeights(dict(tensors), "V1 of a network", file, "ab" * 32, True)


def _shapes(state: State) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _zeros(name: str) -> dict[str, Tensor]:
    """Zeros under a network's names and in its shapes, which take no memory."""
    state = create_model(name).state_dict()
    return {key: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) for key, tensor in state.items()}


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return create_model("resnet18", device="cpu", seed=3)


def _without(network: nn.Module, *rows: str) -> nn.Module:
    """A copy that is cut: these rows hold nothing."""
    cut = copy.deepcopy(network)
    for row in rows:
        setattr(cut, row, nn.Identity())
    return cut


def test_a_filled_network_is_what_torch_makes_of_the_same_tensors(mobilenet: State) -> None:
    ours, theirs = (create_model("mobilenet_v3_small", device="cpu", seed=2) for _ in range(2))
    pointers = [tensor.data_ptr() for tensor in ours.state_dict().values()]
    record = load_state_dict_report(ours, _found(mobilenet), _shapes(mobilenet))
    theirs.load_state_dict(dict(mobilenet))
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor), name
    assert [tensor.data_ptr() for tensor in ours.state_dict().values()] == pointers
    assert all(parameter.requires_grad and parameter.grad_fn is None for parameter in ours.parameters())
    assert record == WeightLoadReport(
        source="V1 of a network", file="folder/w.pth", sha256="ab" * 32, published=True, loaded=len(mobilenet)
    )


CASES: dict[str, tuple[tuple[str, ...], Callable[[State], State], tuple[int, int, int, int]]] = {
    "cut in front of layer4": (("layer4", "fc"), lambda state: state, (90, 0, 32, 0)),
    "a head for other classes, behind the cut": (
        ("fc",), lambda state: {**state, "fc.weight": torch.ones(7, 512), "fc.bias": torch.full((7,), torch.nan)},
        (120, 0, 2, 0),
    ),
    "from before batch norm counted its batches": (
        (), lambda state: {name: one for name, one in state.items() if "num_batches" not in name}, (102, 0, 0, 0)
    ),
    "a block is missing": (
        (), lambda state: {name: one for name, one in state.items() if "layer4.1" not in name}, (110, 10, 0, 0)
    ),
    "a head of another name": (
        (), lambda state: {**state, "classes.weight": torch.zeros(3, 512), "classes.bias": torch.zeros(3)},
        (122, 0, 0, 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_tensor_is_loaded_or_told(resnet: nn.Module, case: str) -> None:
    rows, change, counts = CASES[case]
    state = change({name: tensor + 1 for name, tensor in resnet.state_dict().items()})
    filled = _without(resnet, *rows)
    record = load_state_dict_report(filled, _found(state), _shapes(resnet.state_dict()))
    assert (record.loaded, len(record.missing), len(record.behind), len(record.ignored)) == counts
    assert all(name.startswith(rows) for name in record.behind)
    for name, tensor in filled.state_dict().items():
        kept = name in record.missing or name not in state
        assert torch.equal(tensor, resnet.state_dict()[name] if kept else state[name]), name


def test_a_deeper_network_of_the_same_widths_is_refused(resnet: nn.Module) -> None:
    before = copy.deepcopy(resnet.state_dict())
    with pytest.raises(
        RunError, match=r"another network: 96 of 218 tensors are not in this one(?s:.*)layer1\.2\.conv1"
    ):
        load_state_dict_report(resnet, _found(_zeros("resnet34")), _shapes(before))
    assert all(torch.equal(tensor, before[name]) for name, tensor in resnet.state_dict().items())


def test_what_is_told_of_a_file() -> None:
    record = WeightLoadReport(
        source="run 3", file="", sha256="", published=None, loaded=1, missing=("a",), ignored=("b",), behind=("c",)
    )
    assert report_lines(record) == [
        "run 3: 1 tensor loaded, 1 after the cut left out",
        "! run 3: missing in the file, random at first (1): a",
        "! run 3: not of this network, ignored (1): b",
    ]
    more = {"file": "folder/w.pth", "loaded": 90, "missing": tuple("abcdefg"), "ignored": ()}
    loaded, missing = report_lines(record.model_copy(update=more))
    assert loaded.startswith("w.pth: 90 tensors")
    assert missing == "! w.pth: missing in the file, random at first (7): a, b, c, d, e and 2 more"


def test_what_begins_anew_is_neither_expected_nor_loaded(resnet: nn.Module) -> None:
    small = copy.deepcopy(resnet)
    small.conv1 = nn.Conv2d(3, 64, 3, bias=False, device="meta").to_empty(device="cpu")
    small.conv1.weight.data.fill_(5.0)
    state = {name: tensor + 1 for name, tensor in resnet.state_dict().items()}
    state["conv1.weight"] = torch.full((64, 3, 7, 7), torch.nan)
    with pytest.raises(RunError, match=r"'conv1\.weight' is 64×3×7×7 there and 64×3×3×3 here"):
        load_state_dict_report(small, _found(state), _shapes(resnet.state_dict()))
    for fresh in (["conv1"], ("conv1.weight",)):
        record = load_state_dict_report(small, _found(state), _shapes(resnet.state_dict()), fresh)
        assert (record.loaded, record.missing, record.ignored, record.behind) == (121, (), (), ())
    assert torch.equal(small.conv1.weight, torch.full((64, 3, 3, 3), 5.0))
    del state["conv1.weight"]
    assert load_state_dict_report(small, _found(state), _shapes(resnet.state_dict()), ["conv1"]).missing == ()
    # Only whole names: layer1 is not layer10.
    assert load_state_dict_report(copy.deepcopy(resnet), _found(resnet.state_dict()), {}, ["layer"]).loaded == 122


def _untouched(network: nn.Module, tensors: State, words: str, fresh: Collection[str] = ()) -> None:
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(RunError, match=words):
        load_state_dict_report(network, _found(tensors), _shapes(before), fresh)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_network_of_other_names_is_refused(resnet: nn.Module) -> None:
    words = r"(?s)0 of 22 tensors loaded: none belongs.*features\.3\.weight and 19 more.*bn1\.bias and 119 more"
    _untouched(resnet, _zeros("vgg11"), words)
    _untouched(resnet, {"a": torch.ones(1)}, "0 of 1 tensor loaded: none")


def test_a_network_of_other_shapes_is_refused(resnet: nn.Module) -> None:
    theirs = _zeros("resnet50")
    _untouched(resnet, theirs, r"'layer1\.0\.conv1\.weight' is 64×64×1×1 there and 64×64×3×3 here")
    own = resnet.state_dict()
    state = {**own, "fc.weight": own["fc.weight"].t()}  # as many numbers, in another order
    _untouched(resnet, state, r"'fc\.weight' is 512×1000 there and 1000×512 here")
    state = {**own, "bn1.num_batches_tracked": torch.ones(2)}
    _untouched(resnet, state, r"'bn1\.num_batches_tracked' is 2 there and one number here")


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_numbers_that_are_none_are_refused(resnet: nn.Module, bad: float) -> None:
    state = {name: tensor.clone() for name, tensor in resnet.state_dict().items()}
    state["layer2.0.bn1.weight"][3:5] = bad
    state["fc.bias"][0] = bad
    words = r"^folder/w\.pth: 'layer2\.0\.bn1\.weight' holds NaN or ±Inf in 2 of its 128 numbers\n  next:     use other"
    _untouched(resnet, state, words)


def test_a_backbone_with_nothing_to_load_is_refused() -> None:
    _untouched(nn.Sequential(nn.ReLU()), {"a": torch.ones(1)}, r"nothing is left to load")
    new = nn.Sequential(nn.BatchNorm1d(2))
    _untouched(new, new.state_dict(), r"nothing is left to load", fresh=["0"])


NAMES = st.sets(st.sampled_from("abcdefgh"))


@given(own=NAMES, whole=NAMES, given_=NAMES, fresh=NAMES)
def test_every_tensor_is_counted_once(own: set[str], whole: set[str], given_: set[str], fresh: set[str]) -> None:
    whole = whole | own
    backbone = nn.Module()
    for name in own:
        backbone.register_buffer(name, torch.zeros(1))
    found = _found({name: torch.ones(1) for name in given_})
    shared = (own & given_) - fresh
    strangers = given_ - whole - fresh
    if not shared or len(strangers) > len(given_ - fresh) / 10:
        with pytest.raises(RunError):
            load_state_dict_report(backbone, found, dict.fromkeys(whole, (1,)), fresh)
        return
    record = load_state_dict_report(backbone, found, dict.fromkeys(whole, (1,)), fresh)
    assert record.loaded == len(shared)
    assert {name for name in own if backbone.get_buffer(name).item() == 1} == shared
    assert set(record.missing) == own - given_ - fresh
    assert set(record.behind) == (given_ & whole) - own - fresh
    assert set(record.ignored) == given_ - whole - fresh
    assert record.loaded + len(record.behind) + len(record.ignored) + len(given_ & fresh) == len(given_)


@pytest.mark.parametrize(
    "family", ["googlenet", "resnet", *(pytest.param(name, marks=pytest.mark.full) for name in FAMILIES)]
)
def test_nothing_else_is_set_beside_published_tensors(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest network of a family, made by torchvision's builder for its weights, but without numbers."""
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: {})
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
    own = [name for name in list_models() if get_model_builder(name).__module__.rpartition(".")[2] == family]
    name = max(own, key=lambda name: get_model_weights(name).DEFAULT.meta["num_params"])
    with fork_rng(), architectures._MetaParameterMode():
        theirs = _plain(get_model(name, weights=weights_label(name, "imagenet")).eval())
    before, after = _plain(create_model(name)), _plain(create_model(name, for_weights=True))
    assert {key: after.get(key) for key in theirs} == theirs
    assert (after != before) == (name in SET)


def _plain(network: nn.Module) -> dict[str, object]:
    """The plain values that modules hold, but for the parts that only help training: loading drops these."""
    return {
        f"{name}.{key}": value
        for name, module in network.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, (bool, int, float, str, tuple)) and "aux" not in f"{name}.{key}".lower()
    }
