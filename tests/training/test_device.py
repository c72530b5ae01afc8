"""Choosing the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from cnnlab.config.recipe import Recipe
from cnnlab.context import Callbacks, RunContext
from cnnlab.errors import CnnlabError, UsageError
from cnnlab.interpret.hooks import activations
from cnnlab.runs.final_evaluation import trained_network
from cnnlab.runs.run import run
from cnnlab.training.device import choose_device


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> object:
    """Sets which devices the machine has."""

    def set_devices(cuda: bool, mps: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return set_devices


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_cuda_then_mps_then_the_cpu(has: object, cuda: bool, mps: bool, chosen: str) -> None:
    has(cuda, mps)
    assert choose_device("auto").type == chosen
    assert choose_device("cpu").type == "cpu"


@pytest.fixture
def shortened() -> Iterator[Callable[[], list[str]]]:
    """Lets floats be shortened, and gives what tells how they are."""
    places = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
    before = [place.fp32_precision for place in places]
    for place in places:
        place.fp32_precision = "tf32"
    yield lambda: [place.fp32_precision for place in places]
    for place, value in zip(places, before, strict=True):
        place.fp32_precision = value


def test_32_bit_floats_are_not_shortened_in_a_run_and_as_they_were_afterwards(
    recipe: Callable[..., Recipe], tmp_path: Path, shortened: Callable[[], list[str]]
) -> None:
    seen: list[list[str]] = []
    folder = run(
        recipe(),
        RunContext(runs=tmp_path, device="cpu", callbacks=Callbacks(on_validation=lambda _: seen.append(shortened()))),
    )
    assert seen == [["ieee", "ieee"]] * 2
    assert shortened() == ["tf32", "tf32"]
    network = trained_network(folder, torch.device("cpu"), print)
    network.conv1.register_forward_hook(lambda *_: seen.append(shortened()))
    activations(network, torch.zeros(1, 3, 8, 8), ["conv1"])
    assert seen[2:] == [["ieee", "ieee"]]
    with pytest.raises(CnnlabError):
        activations(network, torch.zeros(1, 3, 8, 8), ["conv9"])
    assert shortened() == ["tf32", "tf32"]


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--device: unknown device 'tpu'\n  allowed:  auto, cpu, cuda, mps"):
        choose_device("tpu")


def test_a_device_that_is_not_there_is_refused(has: object) -> None:
    has(False, True)
    with pytest.raises(UsageError, match=r"no cuda device on this machine\n  allowed:  cpu, mps\n  next: .*doctor"):
        choose_device("cuda")
