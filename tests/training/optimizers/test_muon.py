"""Muon against torch's, whose parameters are matrices, and which weights it takes."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from cnnlab.config.optimizers import optimizers
from cnnlab.training.optimizers.factory import build_optimizer
from cnnlab.training.optimizers.muon import CombinedOptimizer, Muon, hidden_weight_ids, orthogonalize

SHAPES = [(4, 3, 3, 3), (30, 2, 3, 3), (7, 5), (5, 7)]


def gradient(shape: tuple[int, ...], step: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(step))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_steps_as_torchs_does_with_the_weight_as_a_matrix(shape: tuple[int, ...], decay: float) -> None:
    weight = nn.Parameter(gradient(shape, 99))
    matrix = nn.Parameter(weight.detach().clone().flatten(1))
    ours = Muon([weight], lr=0.02, momentum=0.9, weight_decay=decay)
    theirs = torch.optim.Muon([matrix], lr=0.02, momentum=0.9, weight_decay=decay)
    for step in range(5):
        weight.grad = gradient(shape, step)
        matrix.grad = weight.grad.clone().flatten(1)
        ours.step()
        theirs.step()
        torch.testing.assert_close(weight.flatten(1), matrix, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 40), (40, 6)])
def test_a_direction_has_singular_values_near_one_and_the_vectors_of_its_matrix(shape: tuple[int, int]) -> None:
    matrix = gradient(shape, 1)
    found = orthogonalize(matrix).float()
    values = torch.linalg.svdvals(found)
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    diagonal = left.T @ found @ right.T
    assert float((diagonal - diagonal.diag().diag()).abs().max()) < 0.05


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 6, 1), nn.Flatten(),
            nn.Linear(54, 5), nn.utils.parametrizations.weight_norm(nn.Linear(5, 5)), nn.Linear(5, 2),
        )  # fmt: skip


def test_hidden_weights_are_muons_and_all_others_the_companions() -> None:
    made = network()
    assert hidden_weight_ids(made) == {id(made[3].weight), id(made[5].weight)}
    chosen = build_optimizer(optimizers.read("muon(0.03, companion=adamw(0.002))"), made, "weights", {"5": 0.5})
    assert isinstance(chosen, CombinedOptimizer)
    muon, companion = chosen.optimizers
    assert [(group["lr"], len(group["params"])) for group in muon.param_groups] == [(0.03, 1), (0.015, 1)]
    assert isinstance(muon, Muon)
    assert isinstance(companion, torch.optim.AdamW)
    names = {id(parameter): name for name, parameter in made.named_parameters()}
    held = sorted(names[id(one)] for group in chosen.param_groups for one in group["params"])
    assert held == sorted(names.values())
    decays = {names[id(one)]: group["weight_decay"] for group in companion.param_groups for one in group["params"]}
    assert (decays["0.weight"], decays["0.bias"], decays["1.weight"]) == (0.01, 0.0, 0.0)


def test_a_network_without_hidden_layers_is_the_companions() -> None:
    with torch.random.fork_rng(devices=[]):
        made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(36, 2))
    chosen = build_optimizer(optimizers.read("muon"), made)
    assert isinstance(chosen, torch.optim.AdamW)
    assert chosen.param_groups[0]["lr"] == 3e-4


def test_the_state_of_both_goes_out_and_in() -> None:
    made, other = network(), network()
    chosen, fresh = (build_optimizer(optimizers.read("muon"), one) for one in (made, other))

    def step(one: nn.Module, with_it: Any, number: int) -> None:
        with_it.zero_grad()
        one(gradient((4, 3, 7, 7), number)).square().mean().backward()
        with_it.step()

    for number in range(3):
        step(made, chosen, number)
    numbers = [number for group in chosen.state_dict()["param_groups"] for number in group["params"]]
    assert numbers == list(range(len(list(made.parameters())))) == sorted(chosen.state_dict()["state"])
    other.load_state_dict(made.state_dict())
    fresh.load_state_dict(deepcopy(chosen.state_dict()))  # torch's optimisers share what they are given
    step(made, chosen, 3)
    step(other, fresh, 3)
    for one, same in zip(made.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, same)
