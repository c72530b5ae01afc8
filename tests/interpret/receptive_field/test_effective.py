"""The effective receptive field, and with it the theory of views: held against gradients of torch's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchlens
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.receptive_field.compute import fields_from_records, receptive_field
from cnnlab.architecture.trace import Trace, trace
from cnnlab.config.recipe import Recipe
from cnnlab.context import RunContext
from cnnlab.errors import UsageError
from cnnlab.interpret.hooks import forward_hooks
from cnnlab.interpret.receptive_field.effective import effective_field, last_layer, target_effective_fields
from cnnlab.interpret.receptive_field.result import EffectiveField, EffectiveFields
from cnnlab.interpret.receptive_field.theoretical import target_receptive_fields
from cnnlab.interpret.weights.initial_weights import random_initial_network
from cnnlab.models.build import build
from cnnlab.models.init import init_weights
from cnnlab.models.pretrained.architectures import create_model as backbone
from cnnlab.models.tracing.trace import network_table
from cnnlab.randomness import generator
from cnnlab.render.result import figures
from cnnlab.storage.run_folder import RunFolder
from cnnlab.torch_rng import fork_rng

CPU = RunContext(device="cpu")
RUNNING = ["conv(4, 3, padding=1)", "batchnorm", "relu", "dropout(0.5)", "maxpool(2)", "conv(4, 3)", "flatten"]


def _table(rows: list[str], shape: tuple[int, int, int]) -> Trace:
    return trace(read_table(rows, {}, 2), shape)


def _positive(found: Trace) -> nn.Module:
    """The network with weights above zero, so that no influence cancels another."""
    network = build(found).double()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.5)
    return network


SMALL, PAIRS = st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def _rows(draw: st.DrawFn) -> list[str]:
    """Windows, and residuals of them. Max pools would choose one input, so averages stand for them."""
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        (high, wide), (down, right) = draw(PAIRS), draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
        window = f"[{high}, {wide}], stride=[{down}, {right}], padding=[{high // 2}, {wide // 2}]"
        wider = f"conv(2, [{2 * high - 1}, 3], padding=[{high - 1}, 1])"
        rows.append(
            draw(
                st.sampled_from(
                    [
                        f"conv(2, {window}, dilation={draw(SMALL)})",
                        f"depthwise([{high}, {wide}], padding='same')",
                        f"avgpool({window})",
                        "relu",
                        f"residual([{wider}, relu, conv(2, 3, padding=1)])",
                        f"residual([conv(2, 3, stride=2, padding=1), {wider}], shortcut=[conv(2, 1, stride=2)])",
                    ]
                )
            )
        )
    return rows


@given(_rows(), st.data())
def test_what_a_node_sees_on_every_map_is_where_its_gradient_reaches(rows: list[str], data: st.DataObject) -> None:
    found = _table(rows, (2, 44, 39))
    network, image = _positive(found), torch.ones(1, 2, 44, 39, dtype=torch.float64, requires_grad=True)
    _, high, wide = found.output
    anywhere = st.tuples(st.integers(0, high - 1), st.integers(0, wide - 1))
    node = data.draw(st.just((high // 2, wide // 2)) | anywhere)
    fields = fields_from_records(found.records(), found.input, layer=found.rows[-1].name, node=node)
    maps: dict[str, Tensor] = {}
    with forward_hooks(network, [view.name for view in fields.layers], maps.__setitem__):
        network(image)
    signal = maps[found.rows[-1].name][0, :, node[0], node[1]].sum()
    tensors = {sight.name: image if sight.name == "input" else maps[sight.name] for sight in fields.spans}
    # Beyond a border the outermost place that a view with gaps would reach may not be there.
    whole = all(
        first >= 0 and last < side
        for sight in fields.spans
        for (first, last), side in zip((sight.rows, sight.columns), tensors[sight.name].shape[2:], strict=True)
    )
    for sight in fields.spans:
        (gradient,) = torch.autograd.grad(signal, tensors[sight.name], retain_graph=True)
        touched = gradient[0].abs().sum(0) > 0
        for axis, (first, last) in ((1, sight.rows), (0, sight.columns)):
            reached = torch.nonzero(touched.any(axis)).flatten().tolist()
            assert not reached or first <= reached[0] <= reached[-1] <= last
            assert not whole or (reached[0], reached[-1]) == (first, last)


def test_views_of_gates_that_see_everything_and_of_pools_that_round_up() -> None:
    gated = target_receptive_fields(["mobilenet_v3_small"])
    assert gated.spans[-1].size == gated.receptive_field == (639, 639)
    rounded = target_receptive_fields(["googlenet"])
    assert rounded.row("conv1.conv").rule == ("⌊(A + 1)/2⌋", "⌊(A + 1)/2⌋")
    assert rounded.row("maxpool1").rule is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.full
@pytest.mark.parametrize("name", ["alexnet", "resnet18", "squeezenet1_1"])
def test_views_are_those_of_torchlens(name: str) -> None:
    made = backbone(name, device="cpu")
    seen = torchlens.trace(made, torch.zeros(1, 3, 96, 96))
    compared = 0
    for view in target_receptive_fields([name], size=(96, 96)).layers:
        if view.kind in ("conv", "maxpool", "batchnorm"):
            theirs = seen.modules[view.name].receptive_field
            assert (theirs.size, theirs.jump, theirs.center0) == (view.receptive_field, view.jump, view.first_centre)
            compared += 1
    assert compared >= 8


def test_a_backbones_view_is_where_its_gradient_reaches() -> None:
    found = target_receptive_fields(["resnet18"], size=(320, 320), layer="layer2.1.relu#2", node=(20, 17))
    network = backbone("resnet18", device="cpu")
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.01)
    network.maxpool = nn.AvgPool2d(3, 2, 1)
    image = torch.ones(1, 3, 320, 320, requires_grad=True)
    stages = nn.Sequential(network.conv1, network.maxpool, network.layer1, network.layer2)
    (gradient,) = torch.autograd.grad(stages(image)[0, :, 20, 17].sum(), image)
    touched = gradient[0].abs().sum(0) > 0
    sight = found.spans[-1]
    for axis, (first, last) in ((1, sight.rows), (0, sight.columns)):
        reached = torch.nonzero(touched.any(axis)).flatten().tolist()
        assert (reached[0], reached[-1]) == (max(first, 0), min(last, 319))
    assert found.receptive_field == (99, 99)


def test_the_gradient_is_torchs_own_mean() -> None:
    found = _table(["conv(3, 3)", "relu", "avgpool(2)", "conv(2, 3)"], (2, 14, 12))
    network = build(found)
    row = found.records()[-1].name
    field = effective_field(network, row, (2, 14, 12), images=5, seed=3, batch=2, node=(1, 2))
    expected = np.zeros((14, 12))
    for number in range(5):
        image = torch.from_numpy(generator(3, "effective field", number).standard_normal((2, 14, 12), np.float32))
        image.requires_grad_(True)
        signs = generator(3, "effective field signs", number).choice(np.array([-1, 1], np.float32), 2)
        output = network(image[None])[0, :, 1, 2]
        (gradient,) = torch.autograd.grad((output * torch.from_numpy(signs)).sum(), image)
        expected += gradient.abs().mean(0).numpy() / 5
    assert np.allclose(field.gradient, expected, rtol=1e-5)
    assert field.gradient.any()
    again = effective_field(network, row, (2, 14, 12), images=5, seed=3, batch=5, node=(1, 2))
    assert np.allclose(again.gradient, field.gradient, rtol=1e-5)
    other = effective_field(network, row, (2, 14, 12), images=5, seed=4, node=(1, 2))
    assert not np.allclose(other.gradient, field.gradient)


def test_the_support_is_the_theoretical_view() -> None:
    found = _table(["conv(4, 5, padding=2)", "avgpool(2)", "conv(4, 3, padding=1)"], (3, 32, 32))
    field = effective_field(build(found), "conv2", (3, 32, 32), rows=found.records(), images=2)
    assert field.node == (8, 8)
    assert (field.theoretical_size, field.support_size) == ((10, 10), (10, 10))
    corner = effective_field(build(found), "conv2", (3, 32, 32), rows=found.records(), images=2, node=(0, 0))
    assert (corner.theoretical_size, corner.rows, corner.support_size) == ((10, 10), (-4, 5), (6, 6))


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_the_theoretical_view_behind_an_enlargement_is_that_of_the_node(mode: str) -> None:
    """Its nodes see differently much, and their views do not lie evenly."""
    rows = ["conv(2, 3, stride=2, padding=1)", f"upsample(2, '{mode}')", "conv(2, 3, padding=1)"]
    found = _table(rows, (1, 20, 22))
    network = _positive(found).float()
    for node in ((7, 8), (8, 7), (9, 9)):
        field = effective_field(network, "conv2", (1, 20, 22), rows=found.records(), images=1, node=node)
        for axis, span in ((1, field.rows), (0, field.columns)):
            reached = np.flatnonzero(field.gradient.any(axis=axis))
            assert (int(reached[0]), int(reached[-1])) == span
        assert field.support_size == field.theoretical_size


def _field(gradient: np.ndarray, rows: tuple[int, int] | None = None) -> EffectiveField:
    return EffectiveField(network="n", layer="conv1", node=(0, 0), images=1, gradient=gradient, rows=rows, columns=rows)


def test_uniform_weights_of_many_layers_make_a_bell_that_grows_with_their_root() -> None:
    """W. Luo et al., 2016, section 2: n layers of k×k uniform weights give a Gaussian of variance n·(k² − 1)/12."""
    for layers in (4, 12):
        side = 2 * layers + 1
        found = _table(["conv(1, 3, bias=false)"] * layers, (1, side, side))
        network = build(found)
        for parameter in network.parameters():
            nn.init.constant_(parameter, 1 / 9)
        field = effective_field(network, f"conv{layers}", (1, side, side), rows=found.records(), images=1)
        assert field.theoretical_size == field.support_size == (side, side)
        profile = field.gradient.sum(0) / field.gradient.sum()
        places = np.arange(side) - layers
        assert (profile * places**2).sum() == pytest.approx(layers * 8 / 12, rel=1e-4)
        # A disc of that bell above 4.55 %: π·r² pixels with r² = 2·σ²·ln(1/0.0455).
        disc = np.sqrt(np.pi * 2 * layers * 8 / 12 * np.log(1 / 0.0455))
        assert field.effective_size == pytest.approx(disc, rel=0.1)


def test_effective_sizes_by_hand() -> None:
    gradient = np.zeros((9, 9))
    gradient[4, 4], gradient[4, 5], gradient[0, 0] = 1.0, 0.05, 0.04
    field = _field(gradient, (0, 8))
    assert field.effective_size == np.sqrt(2)
    assert field.support_size == (5, 6)
    assert _field(np.ones((10, 10))).effective_size == 10


def test_outlines_that_go_beyond_the_image_are_whole() -> None:
    field = _field(np.pad(np.ones((3, 3)), ((5, 0), (5, 0))), (2, 13))
    axes = figures(field)["effective"].figure.axes[-1]
    (left, right), (foot, top) = axes.get_xlim(), axes.get_ylim()
    assert len(axes.patches) == 3
    for outline in axes.patches:
        (x0, y0), (x1, y1) = outline.get_bbox().get_points()
        assert left < x0 < x1 < right
        assert top < y0 < y1 < foot


def test_a_node_that_nothing_changes_is_told() -> None:
    field = _field(np.zeros((4, 4)), (0, 3))
    assert (field.support_size, field.effective_size) == ((0, 0), 0.0)
    told = EffectiveFields(fields=(field,))
    assert "No pixel changes this node: n" in told.document().to_markdown()
    assert "<svg" in told.svg()


@pytest.fixture
def network(untouched: Callable[[nn.Module], AbstractContextManager[None]]) -> Iterator[nn.Module]:
    """A network that is looked at, and is to be left as it was."""
    made = build(_table(RUNNING, (3, 12, 12)))
    made.train()
    made.get_submodule("dropout1").eval()
    next(made.parameters()).grad = torch.ones_like(next(made.parameters()))
    with untouched(made):
        yield made


def test_the_network_is_left_as_it_was(network: nn.Module) -> None:
    with torch.no_grad():
        field = effective_field(network, "conv2", (3, 12, 12), images=3)
    assert field.gradient.any()
    assert field.theoretical_size is None
    with pytest.raises(RuntimeError):
        effective_field(network, "conv2", (5, 12, 12))


@pytest.mark.parametrize(
    ("layer", "options", "words"),
    [
        ("conv3", {}, "has no layer 'conv3'.*did you mean 'conv2'"),
        ("flatten1", {}, "'flatten1' has no map to look back from: it gives 64"),
        ("conv2", {"node": (4, 0)}, "has no such node.*rows 0 to 3"),
        ("conv2", {"images": 0}, "one image at least"),
    ],
)
def test_after_an_error_the_network_is_left_as_it_was(
    network: nn.Module, layer: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=f"(?s){words}"):
        effective_field(network, layer, (3, 12, 12), **options)


def test_a_layer_that_does_not_run_is_told() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.used(images)

    with fork_rng():
        made = Idle()
    with pytest.raises(UsageError, match="it does not run"):
        effective_field(made, "idle", (1, 8, 8))


def test_a_step_in_place_behind_the_layer_does_not_change_its_gradient() -> None:
    with fork_rng():
        conv = nn.Conv2d(1, 2, 3)
    plain = effective_field(nn.Sequential(conv), "0", (1, 7, 7), images=2)
    followed = effective_field(nn.Sequential(conv, nn.ReLU(inplace=True)), "0", (1, 7, 7), images=2)
    assert np.array_equal(plain.gradient, followed.gradient)


def test_channels_may_come_last() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.LayerNorm(4)

        def forward(self, images: Tensor) -> Tensor:
            return self.norm(self.first(images[:, :, ::2, ::2]).permute(0, 2, 3, 1))

    with fork_rng():
        made = Last()
    field = effective_field(made, "norm", (3, 20, 16), rows=network_table(made, (3, 20, 16)).layers, images=2)
    assert field.node == (5, 4)
    assert field.support_size == (5, 5)


def test_the_last_layer_is_the_last_with_places() -> None:
    rows = ["conv(3, 3)", "residual([conv(3, 3, padding=1)])", "globalpool", "dense(2)"]
    found = _table(rows, (3, 12, 12))
    assert last_layer(build(found), found.records()).name == "residual1"
    dense = _table(["flatten", "dense(2)"], (3, 4, 4))
    with pytest.raises(UsageError, match="every layer of this network sees the whole image"):
        last_layer(build(dense), [row for row in dense.records() if row.kind == "dense"])


def test_a_run_stands_beside_its_random_start(recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]) -> None:
    made = recipe()
    folder = trained(made)
    found = target_effective_fields([str(folder.path)], images=3, context=CPU)
    after, start = found.fields
    assert (start.network, after.layer) == ("before training", start.layer)
    fresh = build(made.model.trace((3, 8, 8), 3))
    init_weights(fresh, made.model.init, made.train.seed)
    alone = effective_field(fresh, "maxpool1", (3, 8, 8), images=3)
    assert np.array_equal(alone.gradient, start.gradient)
    assert not np.allclose(after.gradient, start.gradient)
    again = random_initial_network(folder).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in fresh.state_dict().items())
    told = json.loads(found.to_json())["fields"]
    assert [field["network"] for field in told] == [after.network, "before training"]
    assert np.max(told[0]["gradient"]) == 1.0
    assert told[1]["effective_size"] == start.effective_size
    assert "before training" in found.svg()
    assert target_receptive_fields([str(folder.path)]).image == (3, 8, 8)
    # Rows are those of the size that is asked for.
    wide, before = target_effective_fields([str(folder.path)], size=(16, 12), layer="conv1", images=2).fields
    assert (wide.node, wide.gradient.shape, wide.rows, wide.columns) == ((8, 6), (16, 12), (7, 9), (5, 7))
    assert before.support_size == before.theoretical_size == (3, 3)


def test_rows_alone_and_a_recipe_have_random_weights_of_the_seed(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(recipe().to_toml(), encoding="utf-8")
    (own,) = target_effective_fields([str(path)], layer="conv1", images=2, context=CPU).fields
    assert own.network.startswith("mine")
    assert own.support_size == own.theoretical_size == (3, 3)
    rows = ["conv(2, 5)", "conv(2, 3)"]
    first, second = (target_effective_fields(rows, images=2, context=CPU).fields[0] for _ in range(2))
    assert np.array_equal(first.gradient, second.gradient)
    assert first.support_size == first.theoretical_size == receptive_field(*rows).receptive_field
    other = target_effective_fields(rows, images=2, seed=1, context=CPU).fields[0]
    assert not np.array_equal(first.gradient, other.gradient)
    with pytest.raises(UsageError, match="has its channels"):
        target_effective_fields(["resnet18"], channels=1)
