"""Averages of weights against torch's own, in `torch.optim.swa_utils`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn, update_bn

from cnnlab.config.optimizers import averaging
from cnnlab.evaluation.logits import predict_logits
from cnnlab.evaluation.metrics import compute_score
from cnnlab.models.pretrained.transfer import TransferModel
from cnnlab.models.pretrained.truncate import CutPoint
from cnnlab.models.train_mode import set_epoch
from cnnlab.storage.checkpoints import load_weights
from cnnlab.training.averaging import WeightAverage, update_batchnorm_stats
from cnnlab.training.checkpoints import save_weights

NO_DROPOUT = ("conv(4, 3, padding=1)", "batchnorm", "relu", "maxpool(2)", "flatten", "dense(classes)")


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 2), nn.BatchNorm1d(2))


def courses(steps: int) -> Iterator[nn.Sequential]:
    """A network whose weights and buffers change from step to step."""
    made = network()
    for step in range(steps):
        with torch.no_grad():
            for number, parameter in enumerate(made.parameters()):
                parameter.add_(torch.sin(torch.arange(parameter.numel()).reshape(parameter.shape) + step + number))
            made(torch.linspace(-1, 1 + step, 150).reshape(2, 3, 5, 5))
        yield made


def test_a_running_mean_is_torchs() -> None:
    ours = WeightAverage(averaging.read("ema(0.9)"), network())
    theirs = AveragedModel(network(), multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for made in courses(6):
        ours.after_step(made)
        ours.after_epoch(made, 1.0, iter(()))
        theirs.update_parameters(made)
        assert equal(ours.network.state_dict(), theirs.module.state_dict())
    assert ours.num_averaged == 6


def test_a_mean_of_epochs_and_its_statistics_are_torchs() -> None:
    batches = [(torch.linspace(-2, step, 225).reshape(3, 3, 5, 5), torch.zeros(3)) for step in range(1, 4)]
    ours = WeightAverage(averaging.read("swa(0.5)"), network())
    theirs = AveragedModel(network(), multi_avg_fn=get_swa_multi_avg_fn())
    for epoch, made in enumerate(courses(6), start=1):
        ours.after_step(made)
        ours.after_epoch(made, epoch / 6, iter(batches))
        if epoch >= 3:
            theirs.update_parameters(made)
            update_bn(batches, theirs)
            for name, tensor in theirs.module.state_dict().items():
                torch.testing.assert_close(ours.network.state_dict()[name], tensor, rtol=1e-6, atol=1e-7)
    assert ours.num_averaged == 4


def test_statistics_are_found_without_dropout_and_the_momentum_stays() -> None:
    made = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3, momentum=0.25))
    images = torch.arange(12.0).reshape(4, 3)
    before = torch.get_rng_state()
    update_batchnorm_stats(made, iter([(images, images), (images[:1], images)]))
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(made[1].running_mean, images.mean(0))
    torch.testing.assert_close(made[1].running_var, images.var(0))
    assert made[1].momentum == 0.25
    assert not made[1].training


@pytest.mark.parametrize("average", ["ema(0.5)", "swa(0.5)"])
def test_the_average_is_what_is_judged_and_the_course_of_the_weights_stays(
    setup: Callable[..., Any], average: str
) -> None:
    made, plain = (
        setup(layers=NO_DROPOUT, epochs=4, average=average, weights="averaged"),
        setup(layers=NO_DROPOUT, epochs=4),
    )
    records, others = made.fit(), plain.fit()
    assert equal(made.weights, plain.weights)
    assert not equal(made.training.eval_model.state_dict(), made.weights)
    exact = compute_score(
        predict_logits(made.training.eval_model, made.loaders.validation), made.loaders.validation.labels, "bgr"
    )
    assert records[-1].validation.loss == exact.loss
    assert records[-1].validation.loss != others[-1].validation.loss
    assert made.training.selected_epoch == 4
    assert made.training.average.num_averaged == {"ema(0.5)": 16, "swa(0.5)": 3}[average]


def test_the_average_is_what_is_saved_as_the_runs_weights(setup: Callable[..., Any], tmp_path: Path) -> None:
    made = setup(average="ema(0.5)", weights="averaged")
    made.fit()
    save_weights(tmp_path, made.training, 2)
    tensors, _ = load_weights(tmp_path, "best", lambda _: None)
    assert equal(tensors, made.training.average.network.state_dict())
    assert not equal(tensors, made.weights)


def test_before_the_first_epoch_of_an_average_the_network_itself_is_judged(setup: Callable[..., Any]) -> None:
    made = setup(epochs=2, average="swa(0.9)", weights="averaged")
    plain = setup(epochs=2)
    assert made.fit()[0].validation == plain.fit()[0].validation


def test_an_average_of_epochs_is_that_of_the_weights_at_their_ends(setup: Callable[..., Any]) -> None:
    made = setup(layers=NO_DROPOUT, epochs=4, average="swa(0.5)", weights="averaged", validations_per_epoch=2)
    plain = setup(layers=NO_DROPOUT, epochs=4)
    ends: list[torch.Tensor] = []
    step = plain.training.optimizer.step

    def watched() -> None:
        step()
        if (plain.training.step + 1) % plain.training.steps_per_epoch == 0:
            ends.append(plain.training.network.get_submodule("conv1").weight.detach().clone())

    plain.training.optimizer.step = watched
    plain.fit()
    made.fit()
    found = made.training.eval_model.get_submodule("conv1").weight
    torch.testing.assert_close(found, torch.stack(ends[1:]).mean(0), rtol=1e-5, atol=1e-6)


def frozen_in_part(*trains: str) -> TransferModel:
    with torch.random.fork_rng(devices=[]):
        trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4))
        made = TransferModel(None, trunk, CutPoint(), nn.Linear(4, 2))
    made.set_unfreeze_schedule(
        {"head": 0, **{f"backbone.{name}": 0 for name in trains}}, [name for name, _ in made.named_modules()]
    )
    set_epoch(made, 0)
    return made


@pytest.mark.parametrize(("average", "trains"), [("ema(0.3)", ("4",)), ("swa(0.1)", ()), ("swa(0.1)", ("0", "4"))])
def test_what_is_frozen_is_its_own_average_to_the_bit(average: str, trains: tuple[str, ...]) -> None:
    made = frozen_in_part(*trains)
    made.train()
    began = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    ours = WeightAverage(averaging.read(average), made)
    images = torch.linspace(-1, 1, 225).reshape(3, 3, 5, 5)
    for epoch in range(1, 5):
        made.train()
        with torch.no_grad():
            made(images * epoch)
            for parameter in made.parameters():
                parameter.add_(0.1 if parameter.requires_grad else 0.0)
        ours.after_step(made)
        ours.after_epoch(made, epoch / 4, iter([(images, images), (images + 1, images)]))
    found = ours.network.state_dict()
    changed = {name.rpartition(".")[0] for name in found if not torch.equal(found[name], began[name])}
    assert changed == {"head", *(f"backbone.{name}" for name in trains)}
    assert ours.num_averaged == 4


def test_an_average_finds_the_statistics_of_what_joined_in() -> None:
    made = frozen_in_part("4")
    made.set_unfreeze_schedule({"head": 0, "backbone.1": 1}, made.execution_order)
    set_epoch(made, 0)
    ours = WeightAverage(averaging.read("swa(0.1)"), made)
    images = torch.linspace(-2, 2, 225).reshape(3, 3, 5, 5)
    means = []
    for epoch in (0, 1):
        set_epoch(made, epoch)
        ours.begin_epoch(epoch)
        assert not any(parameter.requires_grad for parameter in ours.network.parameters())
        ours.after_epoch(made, 1.0, iter([(images, images)]))
        means.append(ours.network.get_buffer("backbone.1.running_mean").clone())
    assert torch.equal(means[0], torch.zeros(4))
    with torch.no_grad():
        exact = ours.network.get_submodule("backbone.0")(images).mean((0, 2, 3))
    torch.testing.assert_close(means[1], exact)
