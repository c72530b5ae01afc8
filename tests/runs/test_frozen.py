"""Frozen means frozen: weights and statistics stay, to the bit, through whole trainings; the rest changes.

What a network began with is read from the files of the run that it is from, or made by the library itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import cnnlab
from cnnlab.config.recipe import Recipe
from cnnlab.context import RunContext
from cnnlab.models.pretrained import architectures
from cnnlab.models.pretrained.transfer import TransferModel
from cnnlab.runs.final_evaluation import trained_network
from cnnlab.runs.run import run
from cnnlab.runs.setup import TrainingSetup
from cnnlab.runs.warnings import initial_loss
from cnnlab.storage.run_folder import RunFolder

CPU = torch.device("cpu")
FULL = pytest.mark.full
# Each with all that has changed of the backbone after two epochs.
POLICIES: dict[str, set[str]] = {
    "all": {"conv1", "batchnorm1", "conv2", "batchnorm2", "dense1"},
    "none": set(),
    "last_convs(1)": {"conv2"},
    "rows(['batchnorm2', 'dense*'])": {"batchnorm2", "dense1"},
    "rows(['conv1'])": {"conv1"},
    "gradual(['dense1', 'conv2'], every=5)": set(),
    "gradual(['dense1', 'conv2'])": {"dense1"},
}
# Everything that changes weights, statistics or images while a network trains.
WAYS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam(0.01, weight_decay=0.1)"},
    "adamw": {"optimizer": "adamw(0.01, weight_decay=0.1)", "decay": "weights", "rates": {"head.*": 2.0}},
    "sgd": {"optimizer": "sgd(0.05, momentum=0.9, nesterov=true, weight_decay=0.1)", "clip": 0.1},
    "muon": {"optimizer": "muon(0.02, weight_decay=0.1, companion=sgd(0.05, momentum=0.9, weight_decay=0.1))"},
    "lion": {"optimizer": "lion(0.001, weight_decay=0.5)", "schedule": "onecycle"},
    "rmsprop": {"optimizer": "rmsprop(0.001, weight_decay=0.1)", "rate_by_depth": 0.1},
    "ema": {"average": "ema(0.5)", "weights": "averaged"},
    "swa": {"average": "swa(0.1)", "weights": "averaged"},
    "mixed": {"mix": "mixup(0.4)", "augment": ["crop(padding=1)", "flip(0.5)"], "sampling": "balanced"},
    "accumulated": {"accumulate": 3, "batch_size": 4, "validations_per_epoch": 2},
    "bf16": {"precision": "bf16", "memory_format": "channels_last"},
    "tried": {"precision": "auto"},
}
FREEZING = {"none": set(), "rows(['batchnorm2'])": {"batchnorm2"}, "last_convs(1)": {"conv2"}}
FEW = [("adamw", "rows(['batchnorm2'])"), ("muon", "last_convs(1)"), ("swa", "rows(['batchnorm2'])"), ("bf16", "none")]


@pytest.fixture
def train(transferring: Any, tmp_path: Path) -> Callable[..., RunFolder]:
    def make(*policy: Any, **fields: Any) -> RunFolder:
        return run(transferring.recipe(*policy, **fields), RunContext(runs=tmp_path, device="cpu"))

    return make


def network_of(folder: RunFolder) -> TransferModel:
    network = trained_network(folder, CPU, print)
    assert isinstance(network, TransferModel)
    return network


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(policy, marks=[FULL] * ("batchnorm2" not in policy and "every" not in policy))
        for policy in POLICIES
    ],
)
def test_what_a_policy_freezes_stays_and_the_rest_changes(
    train: Callable[..., RunFolder], transferring: Any, policy: str
) -> None:
    made = train(policy, optimizer="adamw(0.01, weight_decay=0.1)")
    assert transferring.trained(transferring.tensors(made)) == POLICIES[policy]
    told = {row.name for row in made.table().layers if row.parameters and not row.frozen}
    ever = {"dense1", "conv2"} if policy.startswith("gradual") else POLICIES[policy]
    assert told == {"head.dense1", *(f"backbone.{name}" for name in ever)}


@pytest.mark.parametrize(
    ("way", "policy"),
    [
        *FEW,
        *(
            pytest.param(way, policy, marks=FULL)
            for way in WAYS
            for policy in ("none", "rows(['batchnorm2'])")
            if (way, policy) not in FEW
        ),
    ],
)
def test_nothing_that_a_training_does_reaches_what_is_frozen(
    train: Callable[..., RunFolder], transferring: Any, way: str, policy: str
) -> None:
    made = train(policy, **WAYS[way])
    assert transferring.trained(transferring.tensors(made)) == FREEZING[policy]
    assert transferring.trained(transferring.tensors(made, "best")) == FREEZING[policy]
    if "average" in WAYS[way]:
        average = transferring.tensors(made, prefix="average/")
        assert transferring.trained(average) == FREEZING[policy]
        assert "head.dense1" in transferring.changed(transferring.tensors(made), average)


@pytest.mark.parametrize(
    ("policy", "draws"),
    [
        ("rows(['conv2'])", False),
        ("rows(['conv1'])", True),
        pytest.param("none", False, marks=FULL),
        pytest.param("all", True, marks=FULL),
    ],
)
def test_dropout_is_off_in_front_of_what_trains_and_on_behind_it(
    train: Callable[..., RunFolder], policy: str, draws: bool
) -> None:
    network = network_of(train(policy, {"head": ["dropout(0.5)", "dense(classes)"]}, epochs=1))
    assert not any(module.training for module in network.modules())
    images = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network.train()
        features = network.forward_features(images)
        again, logits = network.forward_features(images), [network(images), network(images)]
    # Statistics of a batch are the same each time; only dropout draws.
    assert torch.equal(features, again) is not draws
    assert not torch.equal(*logits)


@pytest.mark.full
@pytest.mark.parametrize("policy", ["gradual", *(pytest.param(policy, marks=FULL) for policy in ("none", "all"))])
def test_a_trial_of_the_way_and_the_first_loss_leave_the_network_as_it_was(transferring: Any, policy: str) -> None:
    made = transferring.recipe(policy, precision="auto")
    bench = TrainingSetup.prepare(made, RunContext(device="cpu"))
    assert bench.precision_config.tried
    initial_loss(made, bench.network, bench.train_loader, 3)
    assert transferring.trained(bench.network.state_dict()) == set()
    trains = {name.partition(".")[0] for name, one in bench.network.named_parameters() if one.requires_grad}
    assert trains == ({"backbone", "head"} if policy == "all" else {"head"})
    assert all(parameter.grad is None for parameter in bench.network.parameters())


@pytest.mark.full
def test_a_way_is_tried_with_all_that_will_train(transferring: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head alone says nothing of the convolutions that join in later: the two have trials of their own."""
    asked: list[set[str]] = []
    zero_grad = nn.Module.zero_grad

    def noted(self: nn.Module, set_to_none: bool = True) -> None:
        asked.append({name for name, one in self.named_parameters() if one.grad is not None})
        zero_grad(self, set_to_none)

    monkeypatch.setattr(nn.Module, "zero_grad", noted)
    for policy, conv_trains in (("none", False), ("gradual", True)):
        asked.clear()
        TrainingSetup.prepare(transferring.recipe(policy, precision="auto", batch_size=7), RunContext(device="cpu"))
        found = set().union(*asked)
        assert "head.dense1.weight" in found
        assert ("backbone.conv1.weight" in found) is conv_trains


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "model", "trains"),
    [
        ("resnet18", {"trainable": "rows(['layer4'])"}, ["layer4."]),
        (
            "resnet18",
            {"trainable": "last_convs(3)", "cut": "layer2"},
            ["layer2.0.downsample.0", "layer2.1.conv1", "layer2.1.conv2"],
        ),
        ("vgg11_bn", {"cut": "features", "trainable": "last_convs(1)"}, ["features.25"]),
    ],
)
def test_a_known_network_keeps_what_its_library_made(
    transferring: Any, tmp_path: Path, name: str, model: dict[str, Any], trains: list[str]
) -> None:
    """With weights='none' a backbone begins as the library makes it from the same seed."""
    train = {"epochs": 2, "batch_size": 16, "optimizer": "adamw(0.001, weight_decay=0.1)", "precision": "fp32"}
    tables = {
        "data": {"source": "shapes", "limit": 64, "validation": 0.5},
        "model": {"backbone": f"{name}(weights='none')", "resize": "own", **model},
        "train": {**train, "test": "sealed", "cache": "never", "seed": 3},
    }
    folder = RunFolder(cnnlab.train(Recipe.from_tables(tables), runs=tmp_path, device="cpu").path)
    made = transferring.within("backbone.", transferring.tensors(folder))
    library = architectures.create_model(name, device="cpu", seed=3).state_dict()
    rows = {tensor.rpartition(".")[0] for tensor in made}
    expected = {row for row in rows if any(f"{row}.".startswith(f"{one.rstrip('.')}.") for one in trains)}
    assert transferring.changed(library, made) == expected
    assert bool(expected) is bool(trains)
