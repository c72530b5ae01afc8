"""First weights: their distributions, and that the seed alone decides on them."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from cnnlab.architecture.layer_table import read_table
from cnnlab.architecture.trace import trace
from cnnlab.config.model import Init
from cnnlab.models.build import build
from cnnlab.models.init import init_weights

TABLE = ["conv(64, 5)", "batchnorm", "residual([conv(64, 3, padding=1)])", "globalpool", "dense(400)", "dense(10)"]
NORMED = ["conv(8, 5, weightnorm=true)", "conv(64, 3, weightnorm=true)", "globalpool", "dense(400, weightnorm=true)"]
INITS = get_args(Init)


def _network(texts: list[str] = TABLE, channels: int = 16) -> nn.Module:
    return build(trace(read_table(texts, {}, classes=10), (channels, 12, 12)))


def _made(init: Init, seed: int = 0, texts: list[str] = TABLE, channels: int = 16) -> nn.Module:
    network = _network(texts, channels)
    init_weights(network, init, seed)
    return network


def _weighted(network: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def _fans(weight: torch.Tensor) -> tuple[int, int]:
    window = weight[0, 0].numel()
    return weight.shape[1] * window, weight.shape[0] * window


@pytest.mark.parametrize("texts", [TABLE, NORMED])
@pytest.mark.parametrize("init", INITS)
def test_the_seed_alone_decides(init: Init, texts: list[str]) -> None:
    first, again, other = (_made(init, seed, texts).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    if init != "dirac":
        weights = [name for name in first if name.endswith("weight") and first[name].dim() > 1]
        assert not any(torch.equal(first[name], other[name]) for name in weights)


@pytest.mark.parametrize("init", INITS)
def test_parameters_are_filled_in_place_and_the_global_random_state_stays(init: Init) -> None:
    network, state = _network(), torch.get_rng_state()
    before = {name: id(parameter) for name, parameter in network.named_parameters()}
    network.conv1.weight.requires_grad_(False)
    init_weights(network, init, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert {name: id(parameter) for name, parameter in network.named_parameters()} == before
    assert not network.conv1.weight.requires_grad
    assert network.dense1.weight.requires_grad


@pytest.mark.parametrize("init", ["xavier", "kaiming", "orthogonal", "dirac"])
def test_biases_begin_at_zero(init: Init) -> None:
    network = _made(init)
    for module in _weighted(network):
        if init != "dirac" or isinstance(module, nn.Conv2d):
            assert not module.bias.any()


@pytest.mark.parametrize("texts", [TABLE, NORMED])
def test_xavier_is_uniform_between_its_bounds(texts: list[str]) -> None:
    for module in _weighted(_made("xavier", texts=texts)):
        weight = module.weight.detach()
        bound = (6 / sum(_fans(weight))) ** 0.5
        assert 0.98 * bound < weight.abs().max() <= bound * (1 + 1e-6)
        assert weight.std() == pytest.approx(bound / 3**0.5, rel=0.05)


@pytest.mark.parametrize("texts", [TABLE, NORMED])
def test_kaiming_is_normal_with_its_deviation(texts: list[str]) -> None:
    for module in _weighted(_made("kaiming", texts=texts)):
        weight = module.weight.detach()
        wanted = (2 / _fans(weight)[0]) ** 0.5
        assert weight.std() == pytest.approx(wanted, rel=0.05)
        assert abs(weight.mean()) < 4 * wanted / weight.numel() ** 0.5
        assert (weight.abs() > 1.96 * wanted).double().mean() == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("texts", [TABLE, NORMED])
def test_orthogonal_rows_or_columns_are_orthonormal(texts: list[str]) -> None:
    for module in _weighted(_made("orthogonal", texts=texts)):
        weight = module.weight.detach().flatten(1)
        product = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
        torch.testing.assert_close(product, torch.eye(len(product)), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("filters", "weightnorm"), [(3, "false"), (4, "false"), (6, "false"), (3, "true"), (4, "true")]
)
def test_dirac_passes_channels_through_and_leaves_filters_beyond_them_at_zero(filters: int, weightnorm: str) -> None:
    texts = [f"conv({filters}, 3, padding=1, weightnorm={weightnorm})"]
    images = torch.rand(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    expected = torch.cat([images, torch.zeros(2, 2, 6, 6)], dim=1)[:, :filters]
    torch.testing.assert_close(_made("dirac", texts=texts, channels=4)(images), expected)


@pytest.mark.parametrize(
    "texts", [["conv(6, 3, weightnorm=true)"], ["conv(8, 3, groups=2)"], ["depthwise(3)"], ["flatten", "dense(9)"]]
)
def test_dirac_leaves_the_others_as_torch_has_them(texts: list[str]) -> None:
    (module,) = _weighted(_made("dirac", texts=texts, channels=4))
    (torchs,) = _weighted(_made("default", texts=texts, channels=4))
    assert torch.equal(module.weight, torchs.weight)
    assert torch.equal(module.bias, torchs.bias)
    assert torch.isfinite(module.weight).all()


@pytest.mark.parametrize("texts", [TABLE, NORMED, ["conv(64, 5, groups=4)", "depthwise(5, multiplier=20)"]])
def test_default_has_the_bounds_of_torch(texts: list[str]) -> None:
    # torch's documentation: weights and biases are uniform in ±1/sqrt(incoming numbers).
    for module in _weighted(_made("default", texts=texts)):
        bound = _fans(module.weight)[0] ** -0.5
        for parameter in (module.weight.detach(), module.bias.detach()):
            assert parameter.abs().max() <= bound * (1 + 1e-6)
            assert parameter.abs().max() > 0.7 * bound
        assert module.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.06)


@pytest.mark.parametrize("init", INITS)
def test_norms_begin_as_the_identity_and_forget_what_they_saw(init: Init) -> None:
    network = _network()
    network.train()(torch.rand(4, 16, 12, 12, generator=torch.Generator().manual_seed(0)))
    nn.init.constant_(network.batchnorm1.weight, 3)
    init_weights(network, init, seed=0)
    norm = network.batchnorm1
    assert torch.equal(norm.weight, torch.ones(64))
    assert torch.equal(norm.running_mean, torch.zeros(64))
    assert torch.equal(norm.running_var, torch.ones(64))
