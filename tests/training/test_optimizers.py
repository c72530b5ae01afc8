"""Each optimiser against torch's own, plain one with the same arguments."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from cnnlab.spec.choices import optimizers
from cnnlab.training.optimizers import optimizer

ADAM = {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}
CASES = [
    ("sgd(0.1)", torch.optim.SGD, {"lr": 0.1}),
    ("sgd(0.1, momentum=0.9, weight_decay=0.01)", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("sgd(0.1, momentum=0.9, nesterov=true)", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("adam", torch.optim.Adam, {"lr": 1e-3}),
    ("adam(0.01, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1)", torch.optim.Adam, {"lr": 0.01, **ADAM}),
    ("adamw", torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 0.01}),
    ("adamw(0.01, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1)", torch.optim.AdamW, {"lr": 0.01, **ADAM}),
]


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, 2))


def stepped(made: nn.Sequential, chosen: torch.optim.Optimizer) -> list[torch.Tensor]:
    images = torch.linspace(-1, 1, 2 * 3 * 5 * 5).reshape(2, 3, 5, 5)
    for step in range(6):
        chosen.zero_grad()
        (made(images * (step + 1)) ** 2).mean().backward()
        chosen.step()
    return [parameter.detach() for parameter in made.parameters()]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("text", "kind", "arguments"), CASES, ids=[case[0] for case in CASES])
def test_it_steps_as_torchs_plain_one(text: str, kind: Callable[..., torch.optim.Optimizer], arguments: dict) -> None:
    ours, plain = network(), network()
    found = stepped(ours, optimizer(optimizers.read(text), ours))
    expected = stepped(plain, kind(plain.parameters(), **arguments, fused=False, foreach=False))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_frozen_weights_are_left_to_themselves() -> None:
    made = network()
    made[0].requires_grad_(False)
    before = made[0].weight.clone()
    chosen = optimizer(optimizers.read("sgd(0.1)"), made)
    stepped(made, chosen)
    assert torch.equal(made[0].weight, before)
    assert chosen.param_groups[0]["params"] == [made[3].weight, made[3].bias]
