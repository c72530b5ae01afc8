"""Any module followed: against the layer table that built it, against gradients, and where it must not be trusted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.layers import LayerRow, layers
from cnnlab.architecture.table_warnings import table_warnings
from cnnlab.architecture.trace import Trace, trace
from cnnlab.config.recipe import Recipe
from cnnlab.errors import SpecError
from cnnlab.models.build import build
from cnnlab.models.pretrained.architectures import create_model
from cnnlab.models.tracing.trace import network_table, trace_network
from cnnlab.records import LayerRecord
from cnnlab.torch_rng import fork_rng

ROOT = Path(__file__).parents[3]
Shape = tuple[int, int, int]


@pytest.fixture(autouse=True)
def _global_state() -> Iterator[None]:
    """New layers draw their first weights from torch's global state."""
    with fork_rng():
        yield


class Function(nn.Module):
    """A module that calls a function of the image, with what modules it is given."""

    def __init__(self, function: Callable[..., Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, images: Tensor) -> Tensor:
        return self.function(self, images)


def _rows(module: nn.Module, shape: Shape = (4, 12, 12)) -> dict[str, LayerRecord]:
    return {row.name: row for row in trace_network(module, shape)}


def _field(function: Callable[..., Tensor], **modules: nn.Module) -> tuple[int, int] | None:
    """What a node sees after a 3×3 convolution, the function, and another convolution."""
    network = nn.Sequential(nn.Conv2d(4, 4, 3), Function(function, **modules), nn.LazyConv2d(4, 3))
    network(torch.zeros(1, 4, 12, 12))  # the lazy one learns how many channels it gets
    return trace_network(network, (4, 12, 12))[-1].receptive_field


# Against the layer table that a network is built from.


def _same_as_the_table(table: Trace) -> None:
    """Each row of the trace has its row in the table. A sum is a row within its residual; a repeat is none."""
    promised = {row.name: row for row in table.records() if row.kind not in ("repeat", "residual")}
    sums = {f"{row.name}.add": row for row in table.records() if row.kind == "residual"}
    left_out = {row.name for row in table.records() if row.text in ("dropout(0.0)", "dropout2d(0.0)")}
    if table.rows[-1].layer.kind == "softmax":
        left_out.add(table.rows[-1].name)
    found = {row.name: row for row in trace_network(build(table), table.input)}
    assert set(found) == set(promised) - left_out | set(sums)
    for name, row in found.items():
        wanted = promised.get(name) or sums[name]
        for what in ("output", "parameters", "macs", "formula", "macs_formula", "activations", "receptive_field",
                     "jump", "first_centre"):  # fmt: skip
            assert getattr(row, what) == getattr(wanted, what), (name, what)
        if name in promised and "groups" not in wanted.text:
            assert (row.kind, row.input) == (wanted.kind, wanted.input)
            assert layers.read(row.text).window() == layers.read(wanted.text).window()
            assert row.text == wanted.text or "same" in wanted.text


ALWAYS = ("lenet", "residual")
TABLES = [
    path if path.stem in ALWAYS else pytest.param(path, marks=pytest.mark.full)
    for path in sorted((ROOT / "recipes").glob("*.toml"))
    if Recipe.read(path).model.layers
]


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_built_recipe_is_its_table(path: Path) -> None:
    recipe = Recipe.read(path)
    shape = (1, 64, 64) if "faces" in path.stem else (3, 32, 32)
    _same_as_the_table(recipe.model.trace(shape, classes=10))


TEXTS = [
    "conv(6, 3)", "conv(4, 3, stride=2, padding=1)", "conv(4, [3, 1], padding='same')", "conv(6, 2, padding='same')",
    "conv(4, 3, dilation=2, padding=[0, 2])", "conv(4, 3, padding=1, bias=false, weightnorm=true)",
    "depthwise(3, padding=1)", "depthwise(2, stride=2, multiplier=2)", "depthwise(4, padding='same')", "batchnorm",
    "layernorm", "groupnorm(2)", "lrn(3)", "relu", "leaky_relu(0.2)", "elu", "gelu", "silu", "tanh", "sigmoid",
    "maxpool(2)", "maxpool(3, stride=2, padding=1)", "avgpool([2, 1], stride=[1, 2])", "upsample(2)",
    "upsample(3, mode='bilinear')", "dropout(0.3)", "dropout2d(0.3)", "adaptivepool(2)", "adaptivepool(3, how='max')",
    "globalpool", "globalpool('max')", "flatten", "dense(8)", "dense(6, bias=false, weightnorm=true)",
    "residual([conv(6, 3, padding=1), relu], shortcut=[conv(6, 1)])", "residual([batchnorm, relu])",
    "repeat(2, [conv(6, 3, padding=1), residual([relu])])",
]  # fmt: skip


@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=9), st.sampled_from([(2, 24, 20), (4, 33, 33)]))
def test_a_built_table_is_its_table(texts: list[str], shape: Shape) -> None:
    kept: list[LayerRow] = []
    for row in read_table(texts, {}, classes=2):  # rows that don't fit behind those in front are left out
        try:
            trace([*kept, row], shape)
        except SpecError:
            continue
        kept.append(row)
    if kept:
        _same_as_the_table(trace(kept, shape))


# Against the support of gradients.


def _reached(module: nn.Module, image: Tensor, node: tuple[int, int]) -> list[tuple[int, int]]:
    """First and last input row, and first and last input column, that have an influence on one output node."""
    (gradient,) = torch.autograd.grad(module(image)[0, :, node[0], node[1]].sum(), image)
    touched = gradient[0].abs().sum(0) > 0
    lines = [torch.nonzero(touched.any(axis)).flatten().tolist() for axis in (1, 0)]
    return [(line[0], line[-1]) for line in lines]


def _holds_to_gradients(module: nn.Module, shape: Shape) -> LayerRecord:
    """Size, centre and jump of the last row against what reaches two neighbours in the middle."""
    module = module.double().eval()
    for parameter in module.parameters():
        nn.init.uniform_(parameter, 0.5, 1.0)
    last = trace_network(module, shape)[-1]
    image = torch.rand(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    node = (last.output[1] // 2, last.output[2] // 2)
    here, there = _reached(module, image, node), _reached(module, image, (node[0] + 1, node[1] + 1))
    assert last.receptive_field is not None
    assert last.jump is not None
    assert last.first_centre is not None
    for axis in (0, 1):
        start, end = here[axis]
        assert start > 0
        assert end < shape[1 + axis] - 1
        assert end - start + 1 == last.receptive_field[axis]
        assert there[axis][0] - start == Fraction(last.jump[axis])
        assert Fraction(start + end, 2) == Fraction(last.first_centre[axis]) + node[axis] * Fraction(last.jump[axis])
    return last


def _shuffled(_: Any, x: Tensor) -> Tensor:
    return x.view(1, 2, 2, *x.shape[2:]).transpose(1, 2).contiguous().view(x.shape)


def _channels_last(module: Any, x: Tensor) -> Tensor:
    return module.dense(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


FOLLOWED: dict[str, tuple[Callable[..., Tensor], dict[str, nn.Module]]] = {
    "shuffled channels": (_shuffled, {}),
    "channels last": (_channels_last, {"dense": nn.Linear(4, 4)}),
    "spaced out": (lambda _, x: x[:, :, ::2, ::3], {}),
    "a shortcut with zero channels": (
        lambda m, x: functional.pad(m.narrow(x), (0, 0, 0, 0, 1, 1)) + x,
        {"narrow": nn.Conv2d(4, 2, 3, padding=1)},
    ),
    "padded on one side": (lambda _, x: functional.pad(x, (0, 1, 2, 0)), {}),
    "rounded up": (lambda _, x: functional.avg_pool2d(x, 3, 2, ceil_mode=True), {}),
    "halves": (lambda _, x: torch.cat([half * 2 for half in x.chunk(2, 1)], 1), {}),
    "arguments by keyword": (
        lambda _, x: torch.cat(tensors=(x, x), dim=1)[:, :4].transpose(dim0=2, dim1=3).transpose(2, dim1=3),
        {},
    ),
    "two paths": (lambda m, x: x + m.conv(x), {"conv": nn.Conv2d(4, 4, (5, 3), padding=(2, 1))}),
    "kept size": (lambda m, x: m.conv(x), {"conv": nn.Conv2d(4, 4, 5, padding="same", dilation=2)}),
    "in place": (lambda _, x: x.mul_(2).add_(1), {}),
}


@pytest.mark.parametrize("what", FOLLOWED)
def test_the_receptive_field_is_where_the_gradient_reaches(what: str) -> None:
    function, modules = FOLLOWED[what]
    module = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), Function(function, **modules), nn.Conv2d(4, 2, 3))
    _holds_to_gradients(module, (2, 64, 68))


def test_same_padding_with_strides_sees_what_the_gradient_reaches() -> None:
    pytest.importorskip("timm")
    whole: Any = create_model("timm/tf_efficientnet_lite0", device="cpu")
    start = nn.Sequential(whole.conv_stem, whole.bn1, *whole.blocks[:3])
    for module in start.modules():  # a rectifier that is cut off at 6 would stop the gradient
        if hasattr(module, "act"):
            module.act = nn.Identity()
    assert _holds_to_gradients(start, (3, 128, 128)).first_centre == ("7", "7")


# What is told of the whole image, rather than told wrongly.


def _attention(_: Any, x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    return functional.scaled_dot_product_attention(tokens, tokens, tokens).transpose(1, 2).view(x.shape)


class _Unseen(torch.autograd.Function):
    """A function that torch calls past all that watches."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.cumsum(2)

    @staticmethod
    def backward(_: Any, *gradients: Any) -> Any:
        return gradients


def _written(_: Any, x: Tensor) -> Tensor:
    copied = x.clone()
    copied[:, :, :2] = x[:, :, -2:]
    return copied


def _written_view(_: Any, x: Tensor) -> Tensor:
    copied = x.clone()
    copied[:, :, :2].copy_(x[:, :, -2:])
    return copied


MIXED: dict[str, Callable[..., Tensor]] = {
    "attention": _attention,
    "a custom function": lambda _, x: _Unseen.apply(x),  # type: ignore[no-any-return, no-untyped-call]
    "a sum of a global mean": lambda _, x: x + x.mean((2, 3), keepdim=True),
    "a Fourier transform": lambda _, x: torch.fft.fft(x).real,
    "space to depth": lambda _, x: functional.pixel_unshuffle(x, 2),
    "joined rows": lambda _, x: torch.cat([x, x], 2),
    "the first rows left out": lambda _, x: x[:, :, 1:],
    "matrix product": lambda _, x: x @ x,
    "cut at both ends and summed": lambda _, x: x[:, :, 1:] + x[:, :, :-1],
    "part written": _written,
    "view written": _written_view,
    "enlarged by a fraction": lambda _, x: functional.interpolate(x, scale_factor=1.5, mode="bilinear"),
}


@pytest.mark.parametrize("what", MIXED)
def test_what_mixes_places_sees_the_whole_image(what: str) -> None:
    assert _field(MIXED[what]) is None


KEPT: dict[str, Callable[..., Tensor]] = {
    "nothing": lambda _, x: x * 2 + 1,
    "a gate by a global mean": lambda _, x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "a gate by a pool": lambda _, x: functional.adaptive_avg_pool2d(x, 1).sigmoid().expand_as(x) * x,
}


@pytest.mark.parametrize("what", KEPT)
def test_what_keeps_places_apart_sees_no_more(what: str) -> None:
    assert _field(KEPT[what]) == (5, 5)


# Names, parameters, texts.


def test_a_module_that_is_called_again_has_a_number() -> None:
    rows = _rows(Function(lambda m, x: m.relu(m.conv(m.relu(x))), relu=nn.ReLU(), conv=nn.Conv2d(4, 4, 1)))
    assert list(rows) == ["relu", "conv", "relu#2"]
    assert rows["relu#2"].inputs == ("conv",)


def test_shared_weights_count_once() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    rows = list(_rows(nn.Sequential(conv, nn.ReLU(), conv)).values())
    assert [row.parameters for row in rows] == [148, 0, 0]
    assert [row.macs for row in rows] == [20736, 0, 20736]


def test_parameters_are_told_where_they_are_used() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4, 1, 1))
            self.conv = weight_norm(nn.Conv2d(4, 6, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x * self.scale.exp())  # type: ignore[no-any-return]

    rows = _rows(Scaled())
    assert rows["multiply"].parameters == 4
    assert rows["conv"].formula == "1·1·1·6 + 3·3·4·6 + 6"
    assert rows["conv"].text == "conv(6, 3, weightnorm=true)"


def test_texts_of_windows_that_a_table_words_otherwise() -> None:
    rows = _rows(
        nn.Sequential(
            nn.ZeroPad2d(1), nn.MaxPool2d(2, 1, dilation=3), nn.MaxPool2d(2, ceil_mode=True), nn.ReLU6(),
            nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.AdaptiveAvgPool2d((None, 2)), nn.Flatten(2),
        ),
        (4, 13, 13),
    )  # fmt: skip
    assert [(row.name, row.kind, row.text, row.output) for row in rows.values()] == [
        ("0", "pad", "pad", (4, 15, 15)),
        ("1", "maxpool", "maxpool(4, stride=1)", (4, 12, 12)),
        ("2", "maxpool", "maxpool(2)", (4, 6, 6)),
        ("3", "relu6", "relu6", (4, 6, 6)),
        ("4.pad", "pad", "pad", (4, 8, 8)),
        ("4", "conv", "conv(4, 3)", (4, 6, 6)),
        ("5", "adaptivepool", "adaptivepool([6, 2])", (4, 6, 2)),
        ("6", "reshape", "reshape", (4, 12)),
    ]


# The network is left alone.


def _hooks(module: nn.Module) -> list[int]:
    return [len(inner._forward_hooks) + len(inner._forward_pre_hooks) for inner in module.modules()]


@pytest.mark.parametrize("shape", [(3, 64, 64), (5, 64, 64)], ids=["well", "after an error"])
def test_the_network_is_left_as_it_was(shape: Shape) -> None:
    module = create_model("resnet18", device="cpu")
    module.train()
    module.get_submodule("layer1").eval()
    module.get_submodule("conv1").register_forward_hook(lambda *_: None)
    before = copy.deepcopy(module.state_dict())
    modes, hooks, identities = (
        [inner.training for inner in module.modules()], _hooks(module), [id(p) for p in module.parameters()],
    )  # fmt: skip
    if shape[0] == 3:
        trace_network(module, shape)
    else:
        with pytest.raises(SpecError, match="conv1: this network fails for an image of 5×64×64"):
            trace_network(module, shape)
    assert [inner.training for inner in module.modules()] == modes
    assert _hooks(module) == hooks
    assert [id(p) for p in module.parameters()] == identities
    after = module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_network_whose_way_depends_on_numbers_is_refused() -> None:
    with pytest.raises(SpecError, match=r"can't be traced without computing(?s:.*)remove what depends"):
        trace_network(Function(lambda _, x: x if x.sum() > 0 else -x), (1, 4, 4))


def test_an_error_of_the_network_is_told_in_its_own_words() -> None:
    def broken(*_: object) -> Tensor:
        raise AttributeError("no head was given")

    with pytest.raises(SpecError, match=r"fails for an image of 1×4×4: AttributeError: no head was given") as caught:
        trace_network(Function(broken), (1, 4, 4))
    assert "if it still fails, correct the network" in str(caught.value)
    with pytest.raises(SpecError, match='is missing the required "forward" function'):
        trace_network(nn.Module(), (1, 4, 4))


def test_a_lazy_layer_that_has_not_run_is_told() -> None:
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(SpecError, match=r"1\.weight: this network can't be traced: a lazy layer") as caught:
        trace_network(lazy, (1, 4, 4))
    assert "next:     run the network once on an image" in str(caught.value)
    with torch.random.fork_rng(devices=()):
        lazy(torch.zeros(1, 1, 4, 4))
    assert [row.parameters for row in trace_network(lazy, (1, 4, 4))] == [0, 51]


# What comes out.


class _Heads(nn.Module):
    """A side head that is computed between and after what counts, and not returned unless asked for."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.both = both
        self.stem, self.relu = nn.Conv2d(1, 4, 3), nn.ReLU()
        self.head, self.side = nn.Linear(4, 10), nn.Linear(4, 7)

    def forward(self, images: Tensor) -> Any:
        self.relu(self.stem(images) + 1)
        found = self.relu(self.stem(images)).mean((2, 3))
        main = self.head(found)
        side = self.relu(self.side(found)), main.softmax(1)
        return {"main": main, "side": side} if self.both else main


def test_what_is_not_returned_has_no_row() -> None:
    rows = trace_network(_Heads(both=False), (1, 8, 8))
    # The second calls keep their number, under which their activations are found.
    assert [row.name for row in rows] == ["stem#2", "relu#2", "globalpool", "head"]
    assert [row.parameters for row in rows] == [40, 0, 0, 50], "weights that are used again count where a row uses them"
    read = {name for row in rows for name in row.inputs}
    assert [row.name for row in rows if row.name not in read] == ["head"]
    assert not table_warnings(rows, 10, backbone=True)
    (warning,) = table_warnings(rows, 7, backbone=True)
    assert (warning.name, warning.where) == ("width-not-classes", "head")
    assert network_table(_Heads(both=False), (1, 8, 8)).parameters == 40 + 50 + 35
