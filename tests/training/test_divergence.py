"""NaN and infinity in a loss, a gradient or a statistic: wherever they come up, the training has diverged."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import torch

from cnnlab.config.losses import losses
from cnnlab.config.optimizers import optimizers
from cnnlab.records import PrecisionConfig
from cnnlab.training import loop
from cnnlab.training.losses import loss_function
from cnnlab.training.precision import FP32

LAYERS = ["conv(4, 3, padding=1)", "batchnorm", "relu", "conv(4, 3)", "relu", "flatten", "dense(classes)"]
FULL = pytest.mark.full
PLACES = {"first": 0, "middle": 1, "epoch's last": 3, "next": 4, "last": 7}  # of 2 epochs of 4 batches
BF16 = PrecisionConfig(precision="bf16", memory_format="contiguous")
COMPANIONS = "muon(companion=lion)"
AVERAGED = {"average": "ema(0.5)", "weights": "averaged"}
Spoil = Callable[[torch.Tensor], torch.Tensor]


def at_call(number: int, change: Spoil) -> Spoil:
    """`change` at the call of this number, and nothing at all others."""
    calls = [0]

    def changed(tensor: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return change(tensor) if calls[0] == number + 1 else tensor

    return changed


def one_number(value: float) -> Spoil:
    """Spoils the first number of a tensor."""

    def change(tensor: torch.Tensor) -> torch.Tensor:
        spoilt = tensor.clone()
        spoilt.view(-1)[0] = value
        return spoilt

    return change


def is_diverged(made: Any, place: int) -> None:
    """It ends with the epoch, and the weights of the epoch before it are the chosen ones."""
    batches = made.training.batches_per_epoch
    before = min(place // batches, 1)
    records = made.fit()
    assert made.training.diverged
    assert made.training.done
    assert made.training.selected_epoch == before
    assert len(records) == before + 1
    assert records[-1].test is None


@pytest.mark.parametrize("optimizer", [*(kind for kind in optimizers.kinds if kind != "sgd"), "sgd(0.1)", COMPANIONS])
@pytest.mark.parametrize(
    ("row", "value", "fields"),
    [
        pytest.param("conv2", math.nan, {}, id="plain"),
        pytest.param("conv1", -math.inf, {}, id="first layer", marks=FULL),
        pytest.param("conv1", math.inf, {"clip": 1.0}, id="clipped", marks=FULL),
        pytest.param("conv2", math.inf, AVERAGED, id="averaged", marks=FULL),
    ],
)
def test_one_number_of_a_gradient(
    setup: Callable[..., Any], optimizer: str, row: str, value: float, fields: dict[str, Any]
) -> None:
    """Of the first layer or of a hidden one, whose weights muon changes."""
    made = setup(layers=LAYERS, optimizer=optimizer, epochs=2, **fields)
    made.training.network.get_submodule(row).weight.register_hook(at_call(PLACES["middle"], one_number(value)))
    is_diverged(made, PLACES["middle"])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("value", "fields"),
    [
        pytest.param(math.nan, {}, id="plain"),
        pytest.param(math.inf, {"clip": 1.0, "optimizer": "adam"}, id="clipped", marks=FULL),
        pytest.param(-math.inf, {"optimizer": "lion"}, id="lion", marks=FULL),
        pytest.param(math.nan, {"validation": 0.0, "batch_size": 9}, id="no validation part"),
    ],
)
def test_a_gradient_at_each_place(setup: Callable[..., Any], value: float, place: str, fields: dict[str, Any]) -> None:
    made = setup(layers=LAYERS, epochs=2, **fields)
    made.training.network.get_submodule("conv1").weight.register_hook(at_call(PLACES[place], one_number(value)))
    is_diverged(made, PLACES[place])


@pytest.fixture
def spoilt_loss(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], float]], None]:
    """Adds a number, by the number of the call, to the recipe's loss: the gradients stay as they are."""

    def make(added: Callable[[int], float]) -> None:
        def spoilt(*arguments: Any) -> loop.Loss:
            loss, calls = loss_function(*arguments), count()
            return replace(loss, function=lambda *given: loss.function(*given) + added(next(calls)))

        monkeypatch.setattr(loop, "loss_function", spoilt)

    return make


UNSEEN = [
    pytest.param(math.inf, {}, id="plain"),
    pytest.param(math.nan, AVERAGED, id="averaged"),
    pytest.param(-math.inf, {"validation": 0.0, "batch_size": 9}, id="no validation part"),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("value", "fields"), UNSEEN)
def test_a_loss_at_each_place(
    setup: Callable[..., Any], spoilt_loss: Callable[..., None], value: float, place: str, fields: dict[str, Any]
) -> None:
    spoilt_loss(lambda call: value if call == PLACES[place] else 0.0)
    is_diverged(setup(layers=LAYERS, epochs=2, **fields), PLACES[place])


def test_infinities_that_cancel_each_other(setup: Callable[..., Any], spoilt_loss: Callable[..., None]) -> None:
    spoilt_loss(lambda call: {1: math.inf, 2: -math.inf}.get(call, 0.0))
    is_diverged(setup(layers=LAYERS, epochs=2), 1)


def test_a_loss_before_a_validation_within_the_epoch(
    setup: Callable[..., Any], spoilt_loss: Callable[..., None]
) -> None:
    spoilt_loss(lambda call: math.nan if call == 1 else 0.0)
    (record,) = setup(layers=LAYERS, epochs=2, validations_per_epoch=2).fit()
    assert (record.epoch, record.step, record.validation) == (0.5, 2, None)


@pytest.mark.parametrize("loss", [*losses.kinds, "focal(0.5, weights='balanced')", "cross_entropy(0.1)"])
@pytest.mark.parametrize(
    ("precision_config", "value", "fields"),
    [
        pytest.param(FP32, math.nan, {}, id="plain"),
        pytest.param(FP32, math.inf, {}, id="infinite"),
        pytest.param(FP32, -math.inf, {"mix": "mixup"}, id="mixed", marks=FULL),
        pytest.param(FP32, math.nan, {"accumulate": 2}, id="accumulated"),
        pytest.param(BF16, math.inf, {}, id="bf16", marks=FULL),
    ],
)
def test_an_output_under_each_loss(
    setup: Callable[..., Any], loss: str, precision_config: PrecisionConfig, value: float, fields: dict[str, Any]
) -> None:
    """Of one image, in the middle of an epoch."""
    made = setup(layers=LAYERS, loss=loss, precision_config=precision_config, epochs=2, **fields)
    spoil = at_call(2, lambda outputs: torch.cat([torch.full_like(outputs[:1], value), outputs[1:]]))
    made.training.network.register_forward_hook(lambda module, _, output: spoil(output) if module.training else None)
    is_diverged(made, 2)


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
@pytest.mark.parametrize(("value", "fields"), UNSEEN)
def test_a_statistic_alone(setup: Callable[..., Any], name: str, value: float, fields: dict[str, Any]) -> None:
    """Training does not read it: loss, gradients and weights stay numbers."""
    made = setup(layers=LAYERS, epochs=2, **fields)
    norm = made.training.network.get_submodule("batchnorm1")
    spoil = at_call(2, lambda _: getattr(norm, name).data[:1].fill_(value))

    def after(module: torch.nn.Module, _: Any, output: torch.Tensor) -> None:
        if module.training:
            spoil(output)

    norm.register_forward_hook(after)
    is_diverged(made, 2)
    assert all(parameter.isfinite().all() for parameter in made.training.network.parameters())


def test_numbers_that_are_only_large_are_no_divergence(setup: Callable[..., Any]) -> None:
    made = setup(layers=LAYERS, epochs=2, optimizer="lion(0.001)")
    made.training.network.get_submodule("conv2").weight.register_hook(at_call(1, lambda tensor: tensor + 1e30))
    made.fit()
    assert not made.training.diverged
