"""Each optimiser against torch's own, plain one with the same arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import timm.optim
import torch
from torch import nn

from cnnlab.config.optimizers import optimizers
from cnnlab.training.optimizers.factory import build_optimizer

ADAM = {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}
ADAM_TEXT = "beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1"
RMS = {"lr": 0.01, "alpha": 0.9, "eps": 1e-6, "weight_decay": 0.1}
RMS_TEXT = "0.01, alpha=0.9, eps=1e-6, weight_decay=0.1"
CASES = [
    ("sgd(0.1)", torch.optim.SGD, {"lr": 0.1}),
    ("sgd(0.1, momentum=0.9, weight_decay=0.01)", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("sgd(0.1, momentum=0.9, nesterov=true)", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("adam", torch.optim.Adam, {"lr": 1e-3}),
    ("adam(0.01, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1)", torch.optim.Adam, {"lr": 0.01, **ADAM}),
    ("adamw", torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 0.01}),
    ("adamw(0.01, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1)", torch.optim.AdamW, {"lr": 0.01, **ADAM}),
    ("nadam", torch.optim.NAdam, {"lr": 2e-3}),
    (f"nadam(0.01, {ADAM_TEXT})", torch.optim.NAdam, {"lr": 0.01, **ADAM}),
    ("radam", torch.optim.RAdam, {"lr": 1e-3}),
    (f"radam(0.01, {ADAM_TEXT})", torch.optim.RAdam, {"lr": 0.01, **ADAM}),
    ("adamax", torch.optim.Adamax, {"lr": 2e-3}),
    (f"adamax(0.01, {ADAM_TEXT})", torch.optim.Adamax, {"lr": 0.01, **ADAM}),
    ("rmsprop", torch.optim.RMSprop, {"lr": 1e-3}),
    (f"rmsprop({RMS_TEXT})", torch.optim.RMSprop, RMS),
    (f"rmsprop({RMS_TEXT}, momentum=0.9)", torch.optim.RMSprop, {**RMS, "momentum": 0.9}),
    (f"rmsprop({RMS_TEXT}, centered=true)", torch.optim.RMSprop, {**RMS, "centered": True}),
    ("adagrad", torch.optim.Adagrad, {"lr": 0.01}),
    ("adagrad(0.1, 1e-5, 0.1)", torch.optim.Adagrad, {"lr": 0.1, "eps": 1e-5, "weight_decay": 0.1}),
    ("adadelta", torch.optim.Adadelta, {"lr": 1.0}),
    ("adadelta(0.5, 0.8, 1e-5, 0.1)", torch.optim.Adadelta, {"lr": 0.5, "rho": 0.8, "eps": 1e-5, "weight_decay": 0.1}),
    ("lion", timm.optim.Lion, {"lr": 1e-4}),
    ("lion(0.01, 0.8, 0.95, 0.1)", timm.optim.Lion, {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1}),
]


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, 2))


def plain_form(kind: Callable[..., torch.optim.Optimizer]) -> dict[str, bool]:
    """The arguments with which it works on one parameter after the other."""
    return dict.fromkeys({"fused", "foreach"} & inspect.signature(kind).parameters.keys(), False)


def stepped(made: nn.Sequential, chosen: torch.optim.Optimizer) -> list[torch.Tensor]:
    images = torch.linspace(-1, 1, 2 * 3 * 5 * 5).reshape(2, 3, 5, 5)
    for step in range(6):
        chosen.zero_grad()
        (made(images * (step + 1)) ** 2).mean().backward()
        chosen.step()
    return [parameter.detach() for parameter in made.parameters()]


@pytest.mark.parametrize(("text", "kind", "arguments"), CASES, ids=[case[0] for case in CASES])
def test_it_steps_as_torchs_plain_one(text: str, kind: Callable[..., torch.optim.Optimizer], arguments: dict) -> None:
    ours, plain = network(), network()
    found = stepped(ours, build_optimizer(optimizers.read(text), ours))
    expected = stepped(plain, kind(plain.parameters(), **arguments, **plain_form(kind)))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in optimizers.kinds if name != "muon"])
def test_the_state_that_it_says_it_keeps_is_what_it_keeps(name: str) -> None:
    """Momentum and centring add to it; single numbers, such as the count of steps, are not counted."""
    more = {"sgd": ["sgd(0.1, momentum=0.9)", "sgd(0.1)"], "rmsprop": ["rmsprop(momentum=0.9, centered=true)"]}
    for text in [*more.get(name, []), *([] if name == "sgd" else [name])]:
        choice, made = optimizers.read(text), network()
        chosen = build_optimizer(choice, made)
        stepped(made, chosen)
        kept = [
            sum(value.shape == parameter.shape for value in values.values() if torch.is_tensor(value))
            for parameter, values in chosen.state.items()
        ]
        assert kept == [choice.state_per_parameter] * 4 or (choice.state_per_parameter == 0 and not any(kept)), text


@pytest.mark.parametrize("name", optimizers.kinds)
def test_the_rate_that_it_begins_with_is_a_usual_one(name: str) -> None:
    kind = optimizers.kinds[name]
    low, high = kind.typical_lr
    assert low < high
    assert name == "sgd" or low <= kind().lr <= high
