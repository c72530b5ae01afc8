"""What layers give is read without leaving a trace in the network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import nn

from cnnlab.errors import UsageError
from cnnlab.interpret.hooks import activations, forward_hooks


class Twice(nn.Module):
    """One module that is called twice, in place, and an attention, which gives a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)
        self.spare = nn.Linear(4, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.relu(self.relu(self.conv(images)) - 0.2)
        tokens = found.flatten(2).transpose(1, 2)
        return self.attention(tokens, tokens, tokens)[0]


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = Twice()
    made.attention.eval()
    return made


@pytest.fixture
def images() -> torch.Tensor:
    return torch.linspace(-1, 1, 2 * 2 * 36).reshape(2, 2, 6, 6).sin()


def test_each_call_gives_what_the_layer_computes(network: nn.Module, images: torch.Tensor) -> None:
    found = activations(network, images, ["relu#2", "conv", "relu", "attention", "spare", "relu#3"])
    with torch.no_grad():
        conv = network.conv(images)
        first = conv.clamp(min=0)
        second = (first - 0.2).clamp(min=0)
        given = network(images)
    assert list(found) == ["conv", "relu", "relu#2", "attention"]
    for name, expected in (("conv", conv), ("relu", first), ("relu#2", second)):
        assert torch.equal(found[name], expected), name
    assert torch.allclose(found["attention"], given, atol=1e-6)
    assert not any(tensor.requires_grad for tensor in found.values())


def test_what_goes_in_is_seen_before_the_layer_changes_it(network: nn.Module, images: torch.Tensor) -> None:
    seen: dict[str, torch.Tensor] = {}
    with forward_hooks(network, ["relu"], lambda *_: None, lambda name, given: seen.update({name: given.clone()})):
        network(images)
    assert torch.equal(seen["relu"], network.conv(images))
    assert (seen["relu"] < 0).any()


def test_the_network_is_left_as_it_was(
    network: nn.Module, images: torch.Tensor, untouched: Callable[[nn.Module], AbstractContextManager[None]]
) -> None:
    with untouched(network):
        activations(network, images, ["conv", "relu#2"])
    with untouched(network), pytest.raises(RuntimeError):
        activations(network, images[:, :1], ["conv", "relu#2"])


def test_batch_norms_statistics_and_dropouts_draws_stay() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5)).train()
    found = activations(network, torch.full((2, 1, 3, 3), 4.0), ["1"])["1"]
    assert torch.allclose(found, torch.full_like(found, 4.0), rtol=1e-4)
    assert network[0].num_batches_tracked == 0
    assert network[1].training


def test_an_unknown_layer_is_told_with_the_nearest(
    network: nn.Module, images: torch.Tensor, untouched: Callable[[nn.Module], AbstractContextManager[None]]
) -> None:
    words = "no layer 'cnv'.*conv, relu, attention, attention.out_proj, spare.*did you mean 'conv'"
    with untouched(network), pytest.raises(UsageError, match=f"(?s){words}"):
        activations(network, images, ["relu", "cnv"])
