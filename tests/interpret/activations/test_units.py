"""Dead and saturated units: planted ones are found, and the shares are those of all numbers held at once."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from math import pi, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cnnlab.config.recipe import Recipe
from cnnlab.errors import UsageError
from cnnlab.interpret.activations.result import LayerUnits, UnitActivity
from cnnlab.interpret.activations.units import inspect_units
from cnnlab.interpret.activations.view import units_headline
from cnnlab.interpret.hooks import activations
from cnnlab.interpret.loaded_model import LoadedModel
from cnnlab.render.plots import to_svg

TABLE = (
    *("conv(6, 3, padding=1)", "relu", "conv(5, 3)", "tanh", "conv(4, 3)", "gelu", "conv(4, 1)", "leaky_relu"),
    *("flatten", "dense(9)", "sigmoid", "dense(5)", "relu", "dense(classes)"),
)


@pytest.fixture
def subject(recipe: Callable[..., Recipe], subject_of: Callable[[Recipe], LoadedModel]) -> LoadedModel:
    """Random weights with planted units: dead relu1:3, relu2:1 and gelu1:4; saturated tanh1:2, sigmoid1:5."""
    one = subject_of(recipe(TABLE))
    planted = {"conv1": (2, -1e6), "dense2": (0, -1e6), "conv3": (3, -1e6), "conv2": (1, 1e3), "dense1": (4, -60.0)}
    with torch.no_grad():
        # Units 3 of the tanh and 6 of the sigmoid are far from the middle in some cases, and not in most.
        one.network.get_submodule("conv2").weight[2] *= 30
        one.network.get_submodule("dense1").weight[5] *= 30
        for name, (unit, bias) in planted.items():
            one.network.get_submodule(name).bias[unit] = bias
    return one


def everything(one: LoadedModel, part: str, names: list[str]) -> dict[str, Tensor]:
    """All activations of a part at once, by name."""
    images = torch.cat([images for images, _ in one.open_split(part, "test").eval_batches()])
    return {name: tensor.transpose(0, 1).flatten(1) for name, tensor in activations(one.network, images, names).items()}


def test_planted_units_and_shares_of_all_numbers(subject: LoadedModel) -> None:
    result = inspect_units(subject, "train")
    names = [layer.name for layer in result.layers]
    assert names == ["relu1", "tanh1", "gelu1", "leaky_relu1", "sigmoid1", "relu2"]
    inputs = {"relu1": "conv1", "tanh1": "conv2", "gelu1": "conv3", "leaky_relu1": "conv4"}
    inputs |= {"sigmoid1": "dense1", "relu2": "dense2"}
    values = everything(subject, "train", [*names, *inputs.values()])
    slopes: dict[str, Callable[[Tensor], Tensor]] = {
        "relu": lambda x: (x > 0).double(),
        "tanh": lambda x: 1 / x.double().cosh() ** 2,
        "leaky_relu": lambda x: torch.where(x > 0, 1.0, 0.01).double(),
        "sigmoid": lambda x: x.double().sigmoid() * (-x.double()).sigmoid(),
        "gelu": lambda x: (1 + (x.double() / sqrt(2)).erf()) / 2 + x * (-(x.double() ** 2) / 2).exp() / sqrt(2 * pi),
    }
    for layer in result.layers:
        numbers, slope = values[layer.name], slopes[layer.kind](values[inputs[layer.name]])
        assert layer.cases == numbers.shape[1]
        assert layer.above == pytest.approx((numbers > 0).double().mean(dim=1).numpy())
        assert layer.steep == pytest.approx((slope.abs() >= 1e-3).double().mean(dim=1).numpy(), abs=2e-3)
        assert list(layer.maximum) == numbers.amax(dim=1).double().tolist()
        dead = (numbers <= 0).all(dim=1) if layer.kind == "relu" else (slope.abs() < 1e-3).all(dim=1)
        assert layer.dead == tuple((dead.nonzero().flatten() + 1).tolist())
        if layer.far is None:
            assert layer.saturated == ()
            continue
        share = numbers.abs() if layer.kind == "tanh" else (2 * numbers - 1).abs()
        saturated = (share > 0.99).double().mean(dim=1) > 0.99
        assert layer.saturated == tuple((saturated.nonzero().flatten() + 1).tolist())
    assert result.layer("relu1").dead == (3,)
    assert 1 in result.layer("relu2").dead
    assert result.layer("gelu1").dead == (4,)
    assert result.layer("leaky_relu1").dead == ()
    assert result.layer("tanh1").saturated == (2,)
    assert result.layer("sigmoid1").saturated == (5,)
    partly = result.layer("tanh1").far
    assert partly is not None
    assert 0.01 < partly[2] < 0.99


def test_a_limit_spreads_images_over_the_split(subject: LoadedModel) -> None:
    messages: list[str] = []
    result = inspect_units(subject, "train", layers=["relu1"], limit=5, log=messages.append)
    assert (result.images, result.layer("relu1").cases) == (5, 5 * 64)
    loader = subject.open_split("train", "test")
    some = np.linspace(0, len(loader) - 1, 5).round().astype(int)
    values = everything(subject, "train", ["relu1"])["relu1"].reshape(6, len(loader), 64)[:, some]
    assert result.layer("relu1").above == pytest.approx((values > 0).double().mean(dim=(1, 2)).numpy())
    assert messages == [f"5 of the {len(loader)} images of the train split, evenly spaced"]
    assert list(subject.split_indices("train", 5)) == list(some)


def test_an_in_place_function_that_is_called_twice(subject: LoadedModel) -> None:
    class Twice(nn.Module):
        def __init__(self, conv: nn.Module) -> None:
            super().__init__()
            self.conv = conv
            self.relu = nn.ReLU(inplace=True)

        def forward(self, images: Tensor) -> Tensor:
            result = self.relu(self.conv(images))
            return self.relu(result - 0.5).mean(dim=(2, 3))

    from cnnlab.models.tracing.trace import network_table

    network = Twice(copy.deepcopy(subject.network.get_submodule("conv1"))).eval()
    rows = network_table(network, (3, 8, 8)).layers
    twice = LoadedModel("twice", network, rows, subject.image_spec, subject.mean, subject.std, dataset=subject.dataset)
    result = inspect_units(twice, "train")
    images = torch.cat([images for images, _ in twice.open_split("train", "test").eval_batches()])
    with torch.no_grad():
        first = network.conv(images).clamp(min=0)
    assert [layer.name for layer in result.layers] == ["relu", "relu#2"]
    for layer, values in zip(result.layers, (first, (first - 0.5).clamp(min=0)), strict=True):
        assert layer.above == pytest.approx((values > 0).double().mean(dim=(0, 2, 3)).numpy())
        # Only the module is called again for its derivative: nothing is counted twice.
        assert layer.cases == values.shape[0] * 64


def test_the_derivative_is_taken_at_the_input_of_an_in_place_function(subject: LoadedModel) -> None:
    network = subject.network
    with torch.no_grad():
        network.get_submodule("conv1").bias[:3] = -50.0
    network.relu1 = nn.ELU(inplace=True)
    rows = tuple(
        row.model_copy(update={"kind": "elu", "text": "elu"}) if row.name == "relu1" else row for row in subject.layers
    )
    result = inspect_units(replace(subject, layers=rows), "train", layers=["relu1"]).layer("relu1")
    # exp(-50) is flat; at what came out, about -1, it would be exp(-1).
    assert result.dead[:3] == (1, 2, 3)
    assert min(result.steep[3:]) > 0


def test_the_document_counts_dead_and_saturated_units(subject: LoadedModel) -> None:
    result = inspect_units(subject, "train")
    dead = sum(len(layer.dead) for layer in result.layers)
    assert units_headline(result) == f"{dead} of 33 units dead, 2 saturated, 0 with NaN or ±Inf."
    document = result.document().to_markdown()
    assert "dead: 3" in document
    assert "saturated: 2" in document
    read = json.loads(result.to_json())
    assert [len(layer["above"]) for layer in read["layers"]] == [6, 5, 4, 4, 9, 5]
    assert read["layers"][0]["dead"] == [3]
    figure = result.figures()["units"].figure
    strips = [axes for axes in figure.axes if axes.patches]
    assert len(strips) == 6
    marks = [bar.get_x() + bar.get_width() / 2 for bar in strips[0].patches if bar.get_height() < 0]
    assert marks == pytest.approx([3])
    assert "image/svg+xml" in result._repr_html_()
    assert to_svg(figure, "units", "a description").startswith("<svg")


def test_the_network_is_untouched_also_after_an_error_in_the_middle(
    subject: LoadedModel, untouched: Callable[[nn.Module], AbstractContextManager[None]]
) -> None:
    network = subject.network.train()
    next(network.parameters()).requires_grad_(False)
    with untouched(network):
        inspect_units(subject, "train")
    calls = 0

    def broken(_module: nn.Module, _inputs: Any) -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("in the middle")

    network.get_submodule("dense1").register_forward_pre_hook(broken)
    with untouched(network), pytest.raises(RuntimeError, match="in the middle"):
        inspect_units(subject, "train")
    assert calls == 1


@pytest.mark.parametrize(
    ("part", "asked", "words"),
    [
        ("train", {"layers": ["conv1"]}, "there is no activation function 'conv1'.*allowed: +relu1, tanh1"),
        ("train", {"limit": 0}, "--limit: this number is out of range"),
        ("tests", {}, "the data has no such split"),
        ("test", {}, "the test split is opened for a run only"),
    ],
)
def test_wrong_options_are_errors(subject: LoadedModel, part: str, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"(?s){words}"):
        inspect_units(subject, part, **asked)


def test_a_network_without_activation_functions_is_an_error(
    recipe: Callable[..., Recipe], subject_of: Callable[[Recipe], LoadedModel]
) -> None:
    with pytest.raises(UsageError, match="no activation function that is a module"):
        inspect_units(subject_of(recipe(("flatten", "dense(classes)"))), "train")


def test_units_with_nan_are_not_dead() -> None:
    def units(kind: str, highest: list[float]) -> LayerUnits:
        none = (0.0,) * len(highest)
        by = "output" if kind == "relu" else "derivative"
        shares: dict[str, Any] = {"above": none, "steep": none, "maximum": tuple(highest)}
        return LayerUnits(name=f"{kind}1", kind=kind, text="", cases=9, dead_by=by, **shares)

    nan = float("nan")
    measured = (units("gelu", [nan, nan]), units("relu", [0.0, 1.0]))
    result = UnitActivity(network="net", split="train", images=1, layers=measured)
    assert (result.layer("gelu1").dead, result.layer("gelu1").broken) == ((), (1, 2))
    assert units_headline(result) == "1 of 4 units dead, 0 saturated, 2 with NaN or ±Inf."
    assert "NaN or ±Inf: 1, 2" in result.document().to_markdown()
