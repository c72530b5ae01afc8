"""Which parameters decay, and which rate each row has."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from cnnlab.config.model import Model
from cnnlab.config.optimizers import optimizers
from cnnlab.models.build import build
from cnnlab.models.pretrained.transfer import TransferModel
from cnnlab.models.pretrained.truncate import CutPoint
from cnnlab.models.train_mode import set_epoch
from cnnlab.training.optimizers.factory import build_optimizer

LAYERS = [
    "conv(4, 3, padding=1, weightnorm=true)", "batchnorm",
    "residual([conv(4, 3, padding=1), groupnorm(2), relu, conv(4, 3, padding=1), layernorm])",
    "flatten", "head: dense(classes)",
]  # fmt: skip


def network() -> nn.Sequential:
    return build(Model(layers=LAYERS).trace((3, 4, 4), 5))


def settings_of(chosen: torch.optim.Optimizer, made: nn.Module) -> dict[str, tuple[float, float]]:
    """Rate and weight decay of each parameter."""
    names = {id(parameter): name for name, parameter in made.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in chosen.param_groups
        for parameter in group["params"]
    }


def made_with(**arguments: Any) -> dict[str, tuple[float, float]]:
    made = network()
    return settings_of(build_optimizer(optimizers.read("sgd(0.1, weight_decay=0.5)"), made, **arguments), made)


def test_norms_and_biases_are_left_out_of_the_decay() -> None:
    decayed = {name for name, (_, decay) in made_with(decay="weights").items() if decay}
    assert decayed == {
        "conv1.parametrizations.weight.original0",
        "conv1.parametrizations.weight.original1",
        "residual1.body.conv1.weight",
        "residual1.body.conv2.weight",
        "head.weight",
    }


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({"head": 10.0}, {"head": 1.0}),
        ({"conv1": 0.5}, {"conv1": 0.05}),
        ({"residual1": 0.5}, {"residual1": 0.05}),
        ({"residual1.*": 0.5, "*.conv2": 2.0}, {"residual1": 0.05, "residual1.body.conv2": 0.2}),
        ({"*": 0.5, "head": 1.0}, {"": 0.05, "head": 0.1}),
    ],
)
def test_a_row_has_the_rate_of_the_last_pattern_that_names_it(rates: dict, expected: dict) -> None:
    for name, (rate, _) in made_with(lr_factors=rates).items():
        longest = max((row for row in expected if name.startswith(row)), key=len, default=None)
        assert rate == pytest.approx(0.1 if longest is None else expected[longest]), name


def test_a_step_is_that_of_torch_with_the_same_groups() -> None:
    ours, theirs = network(), network()
    theirs.load_state_dict(ours.state_dict())
    head = {id(parameter) for parameter in theirs.get_submodule("head").parameters()}
    groups = [
        {"params": [p for p in theirs.parameters() if id(p) not in head], "lr": 0.01},
        {"params": [p for p in theirs.parameters() if id(p) in head], "lr": 0.1},
    ]
    pairs = [
        (
            ours,
            build_optimizer(
                optimizers.read("sgd(0.01, momentum=0.9, weight_decay=0.1)"), ours, lr_factors={"head": 10.0}
            ),
        ),
        (theirs, torch.optim.SGD(groups, momentum=0.9, weight_decay=0.1, fused=False, foreach=False)),
    ]
    for made, chosen in pairs:
        for step in range(3):
            chosen.zero_grad()
            made(torch.linspace(-1, 1, 96).reshape(2, 3, 4, 4) * (step + 1)).square().mean().backward()
            chosen.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


TABLE = ["conv(4, 3)", "batchnorm", "relu", "conv(4, 3)", "flatten", "dense(8, bias=false)", "dense(classes)"]


def by_row(first_rate: float, **arguments: Any) -> dict[str, float]:
    """Each row's rate, where the optimiser's is 0.1."""
    made = build(Model(layers=TABLE).trace((3, 8, 8), 5))
    settings = settings_of(
        build_optimizer(optimizers.read("sgd(0.1)"), made, first_lr_factor=first_rate, **arguments), made
    )
    return {name.rpartition(".")[0]: rate for name, (rate, _) in settings.items()}


def test_rates_grow_geometrically_with_depth_by_hand() -> None:
    """Four layers with weights: 1/1000, 1/100, 1/10 and 1; a norm has the rate of what it normalises."""
    expected = {"conv1": 1e-4, "batchnorm1": 1e-4, "conv2": 1e-3, "dense1": 1e-2, "dense2": 0.1}
    assert by_row(0.001) == pytest.approx(expected)
    assert by_row(1.0) == dict.fromkeys(expected, 0.1)
    falling = by_row(8.0)
    assert (falling["conv1"], falling["conv2"], falling["dense2"]) == pytest.approx((0.8, 0.4, 0.1))
    alone = build(Model(layers=["flatten", "dense(classes)"]).trace((3, 4, 4), 5))
    assert set(
        settings_of(build_optimizer(optimizers.read("sgd(0.1)"), alone, first_lr_factor=0.01), alone).values()
    ) == {(0.1, 0.0)}


def test_a_rate_by_depth_is_multiplied_by_a_rows_own() -> None:
    found = by_row(0.001, lr_factors={"conv*": 2.0, "dense2": 0.5})
    expected = {"conv1": 2e-4, "batchnorm1": 1e-4, "conv2": 2e-3, "dense1": 1e-2, "dense2": 0.05}
    assert found == pytest.approx(expected)


def test_a_normalised_weight_has_its_rows_depth() -> None:
    found = made_with(first_lr_factor=0.001)
    depth = {"conv1": 0, "batchnorm1": 0, "residual1.body.conv1": 1, "residual1.body.conv2": 2, "head": 3}
    for name, (rate, _) in found.items():
        row = next((row for row in depth if name.startswith(f"{row}.")), None)
        if row is not None:
            assert rate == pytest.approx(0.1 * 0.001 ** (1 - depth[row] / 3)), name


def transfer(begins: dict[str, int]) -> TransferModel:
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    made = TransferModel(None, trunk, CutPoint(), nn.Linear(4, 2))
    made.set_unfreeze_schedule({"head": 0, **begins}, [name for name, _ in made.named_modules()])
    return made


@pytest.mark.parametrize("text", ["sgd(0.1, momentum=0.9)", "adam(0.1)", "lion(0.1)", "adagrad(0.1)"])
def test_what_is_frozen_has_no_group_and_what_begins_later_one_of_its_own(text: str) -> None:
    """torch's fused optimisers can't have momenta for a part of a group."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = transfer({"backbone.2": 1, "backbone.3": 2})
    chosen = build_optimizer(optimizers.read(text), made)
    names = {id(parameter): name.rpartition(".")[0] for name, parameter in made.named_parameters()}
    assert [{names[id(one)] for one in group["params"]} for group in chosen.param_groups] == [
        {"backbone.2"},
        {"backbone.3"},
        {"head"},
    ]
    for epoch, moved in enumerate(({"head"}, {"head", "backbone.2"}, {"head", "backbone.2", "backbone.3"})):
        set_epoch(made, epoch)
        before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
        for _ in range(3):  # steps of one size, as lion's, may undo each other in two
            chosen.zero_grad()
            made(torch.linspace(-1, 1, 12).reshape(4, 3, 1, 1)).square().sum().backward()
            chosen.step()
        changed = {name for name, tensor in made.state_dict().items() if not torch.equal(before[name], tensor)}
        assert {name.rpartition(".")[0] for name in changed} == moved
        if text != "adagrad(0.1)":  # torch makes its sums, of nothing yet, at once
            assert {names[id(one)] for one in chosen.state} == moved
