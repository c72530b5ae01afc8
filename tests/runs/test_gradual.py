"""What joins in later: it is frozen until its epoch, a run that is cut goes on alike, and rates go by depth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnlab.context import RunContext
from cnnlab.runs.run import run
from cnnlab.runs.setup import TrainingSetup
from cnnlab.training.loop import SplitLoaders, fit

CPU = torch.device("cpu")
PARTS = "gradual(['dense1', 'batchnorm2', 'conv*'])"
# In the order of the epochs, with the head; what the convolutions lie in front of stays frozen.
JOINED: list[set[str]] = [set(), {"dense1"}, {"dense1", "batchnorm2"}, {"dense1", "batchnorm2", "conv1", "conv2"}]
SETTINGS: dict[str, dict[str, Any]] = {
    "ema": {"average": "ema(0.5)", "weights": "averaged", "optimizer": "adamw(0.01, weight_decay=0.1)"},
    "swa": {"average": "swa(0.1)", "weights": "averaged", "schedule": "cosine", "rate_by_depth": 0.1},
    "muon": {"optimizer": "muon(0.02, companion=adam(0.01))", "augment": ["flip(0.5)"], "validations_per_epoch": 2},
}


def test_each_part_begins_in_its_epoch_and_has_no_moments_before(transferring: Any) -> None:
    bench = TrainingSetup.prepare(
        transferring.recipe(PARTS, epochs=4, optimizer="adamw(0.01)"), RunContext(device="cpu")
    )
    training = bench.training()
    names = {id(parameter): name for name, parameter in bench.network.named_parameters()}
    feeds = SplitLoaders(bench.train_loader, bench.validation_loader, None, bench.dataset.classes)
    for record in fit(training, feeds, lambda *_: None):
        expected = JOINED[int(record.epoch) - 1]
        assert transferring.trained(bench.network.state_dict()) == expected, record.epoch
        held = {names[id(parameter)].rpartition(".")[0] for parameter in training.optimizer.state}
        assert held == {"head.dense1", *(f"backbone.{name}" for name in expected)}, record.epoch


def test_parts_join_in_every_few_epochs(transferring: Any, tmp_path: Path) -> None:
    found = []
    for epochs in (2, 3, 5):
        made = run(
            transferring.recipe("gradual(['dense1', 'conv2'], every=2)", epochs=epochs), RunContext(runs=tmp_path)
        )
        found.append(transferring.trained(transferring.tensors(made)))
    assert found == [set(), {"dense1"}, {"dense1", "conv2"}]


@pytest.mark.parametrize(
    ("setting", "epoch"),
    [
        ("swa", 1),
        ("swa", 3),
        *(pytest.param(name, epoch, marks=pytest.mark.full) for name in ("ema", "muon") for epoch in range(4)),
    ],
)
def test_a_run_that_is_cut_in_any_epoch_ends_like_a_straight_one(
    straight: Callable[..., Any], transferring: Any, cutting: Any, setting: str, epoch: int
) -> None:
    ended, moments = straight(transferring.recipe(PARTS, epochs=4, **SETTINGS[setting]))
    left = [moment for moment in moments if moment.event == f"batch {epoch}.1"][-1]
    resumed = cutting.resumed(left.files)
    cutting.assert_same(resumed, ended)


def test_an_average_of_epochs_has_statistics_of_its_own_where_they_are_no_longer_frozen(
    transferring: Any, tmp_path: Path
) -> None:
    """Batch norm that joined in has the plain means over the training part, of the averaged network's own features."""
    policy, ways = "gradual(['batchnorm2'])", {"average": "swa(0.1)", "weights": "averaged", "epochs": 3}
    recipe = transferring.recipe(policy, **ways)
    made = run(recipe, RunContext(runs=tmp_path, device="cpu"))
    average, last = transferring.tensors(made, prefix="average/"), transferring.tensors(made)
    bench = TrainingSetup.prepare(recipe, RunContext(device="cpu"))
    bench.network.load_state_dict(average)
    values = []
    bench.network.get_submodule("backbone.conv2").register_forward_hook(lambda *call: values.append(call[2]))
    bench.network.eval()
    sizes = []
    with torch.no_grad():
        for images, _ in bench.train_loader.eval_batches(recipe.train.batch_size):
            bench.network(images)
            sizes.append(len(images))
    means = torch.stack([value.mean((0, 2, 3)) for value in values]).mean(0)
    torch.testing.assert_close(average["backbone.batchnorm2.running_mean"], means, rtol=1e-5, atol=1e-6)
    assert not torch.equal(average["backbone.batchnorm2.running_mean"], last["backbone.batchnorm2.running_mean"])
    assert transferring.trained(average) == {"batchnorm2"}
