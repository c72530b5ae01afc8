"""Which parameters decay, and which rate each row has."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from cnnlab.model.build import build
from cnnlab.spec.choices import optimizers
from cnnlab.spec.model import Model
from cnnlab.training.optimizers import optimizer

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
    return settings_of(optimizer(optimizers.read("sgd(0.1, weight_decay=0.5)"), made, **arguments), made)


def test_without_a_word_all_parameters_are_one_group() -> None:
    made = network()
    (group,) = optimizer(optimizers.read("sgd(0.1, weight_decay=0.5)"), made).param_groups
    assert [id(one) for one in group["params"]] == [id(one) for one in made.parameters()]
    assert set(made_with().values()) == {(0.1, 0.5)}


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
    for name, (rate, _) in made_with(rates=rates).items():
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
        (ours, optimizer(optimizers.read("sgd(0.01, momentum=0.9, weight_decay=0.1)"), ours, rates={"head": 10.0})),
        (theirs, torch.optim.SGD(groups, momentum=0.9, weight_decay=0.1, fused=False, foreach=False)),
    ]
    for made, chosen in pairs:
        for step in range(3):
            chosen.zero_grad()
            made(torch.linspace(-1, 1, 96).reshape(2, 3, 4, 4) * (step + 1)).square().mean().backward()
            chosen.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
