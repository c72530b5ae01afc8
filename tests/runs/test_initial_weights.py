"""The digest of what a training begins with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cnnlab.config.recipe import Recipe
from cnnlab.context import RunContext
from cnnlab.models.network_plan import plan_run_network
from cnnlab.runs import run as runs_run
from cnnlab.runs.initial_weights import state_digest
from cnnlab.runs.run import resume_run, run
from cnnlab.storage.run_folder import RunFolder
from cnnlab.torch_rng import fork_rng


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """The states that trainings have in front of their first step, as copies."""
    states: list[dict[str, Tensor]] = []
    really = runs_run._train

    def watched(folder: RunFolder, bench: object, training: runs_run.TrainingState, *rest: object) -> None:
        states.append({name: tensor.clone() for name, tensor in training.network.state_dict().items()})
        really(folder, bench, training, *rest)

    monkeypatch.setattr(runs_run, "_train", watched)
    return states


@pytest.fixture(autouse=True)
def _own_draws() -> Iterator[None]:
    """New layers draw from torch's global state."""
    with fork_rng():
        yield


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize("place", [0, 5, "running_mean", "num_batches_tracked"])
def test_every_bit_of_every_tensor_counts(place: int | str) -> None:
    network = small()
    before = state_digest(network)
    assert len(before) == 64
    assert state_digest(copy.deepcopy(network)) == before
    with torch.no_grad():
        if isinstance(place, int):
            weight = list(network.parameters())[place]
            weight.view(-1)[-1] = torch.nextafter(weight.view(-1)[-1], torch.tensor(9.0))
        else:
            getattr(network[1], place).add_(1)
    assert state_digest(network) != before


def test_names_and_shapes_count_and_the_order_in_memory_does_not() -> None:
    network = small()
    before = state_digest(network)
    assert state_digest(network.to(memory_format=torch.channels_last)) == before
    one, other = nn.Linear(6, 2, bias=False), nn.Linear(2, 6, bias=False)
    with torch.no_grad():
        other.weight.copy_(one.weight.reshape(6, 2))
    assert state_digest(one) != state_digest(other)
    assert state_digest(nn.Sequential(one)) != state_digest(one)
    assert state_digest(nn.Identity()) == state_digest(nn.ReLU())
    assert len({state_digest(one.to(kind)) for kind in (torch.float32, torch.bfloat16, torch.float16)}) == 3


def test_a_run_writes_down_what_it_really_begins_with(
    recipe: Callable[..., Recipe], tmp_path: Path, begun: list[dict[str, Tensor]]
) -> None:
    made = recipe(seed=3, epochs=1, memory_format="channels_last", precision="auto")
    folder = run(made, RunContext(runs=tmp_path, device="cpu"))
    again = plan_run_network(folder).build(3, "cpu")
    start = folder.initial_weights()
    assert start is not None
    assert start.sha256 == state_digest(again)
    assert start.tensors == len(again.state_dict())
    (state,) = begun
    assert state.keys() == again.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in again.state_dict().items())


def test_a_run_that_begins_anew_writes_it_down_anew(own: RunFolder, begun: list[dict[str, Tensor]]) -> None:
    then = own.initial_weights()
    for name in ("result.json", "last.json", "initial_weights.json"):
        (own.path / name).unlink()
    resume_run(own.path, RunContext(device="cpu"))
    assert own.initial_weights() == then
    assert len(begun) == 1


def test_a_run_that_goes_on_leaves_it_as_it_was(own: RunFolder) -> None:
    (own.path / "result.json").unlink()
    (own.path / "initial_weights.json").unlink()
    resume_run(own.path, RunContext(device="cpu"))
    assert own.initial_weights() is None  # its state now is not its start
