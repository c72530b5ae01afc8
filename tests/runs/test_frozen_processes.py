"""Two processes keep frozen what one keeps frozen, and train what it trains, also where a part joins in later."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cnnlab.runs.folder import RunFolder, list_runs
from cnnlab.runs.run import run

GRADUAL = "gradual(['dense1', 'batchnorm2'])"
# Policy, keys of [model], fields, and what has changed in the end. None of them draws dropout.
SAME: dict[str, tuple[str, dict[str, Any], dict[str, Any], set[str]]] = {
    "frozen": ("none", {}, {}, set()),
    "partly": ("rows(['batchnorm2'])", {}, {"average": "ema(0.5)", "weights": "averaged"}, {"batchnorm2"}),
    "gradual": (GRADUAL, {}, {"epochs": 3, "accumulate": 2}, {"dense1", "batchnorm2"}),
    "at a norm": ("rows(['batchnorm2'])", {"cut": "batchnorm2"}, {}, {"batchnorm2"}),
    "frozen, own statistics": ("none", {}, {"sync_batchnorm": False}, set()),
    "late, own statistics": (GRADUAL.replace(")", ", every=5)"), {}, {"sync_batchnorm": False}, set()),
}
OTHER: dict[str, tuple[str, dict[str, Any], dict[str, Any], set[str]]] = {
    "partly, own statistics": ("rows(['batchnorm2'])", {}, {"sync_batchnorm": False}, {"batchnorm2"}),
    "gradual, own statistics": (GRADUAL, {}, {"sync_batchnorm": False, "epochs": 3}, {"dense1", "batchnorm2"}),
    "all": ("all", {}, {}, {"conv1", "batchnorm1", "conv2", "batchnorm2", "dense1"}),  # dropout draws
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(transferring: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[RunFolder, RunFolder]]:
    """Each recipe trained by one process, and by two."""
    folder, alone = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("one")
    common = {"optimizer": "sgd(0.05, momentum=0.9, weight_decay=0.1)", "weights": "last"}
    recipes = {
        name: transferring.recipe(policy, model, **{**common, **fields})
        for name, (policy, model, fields, _) in {**SAME, **OTHER}.items()
    }
    for name, one in recipes.items():
        one.write(folder / f"{name}.toml")
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [sys.executable, *launch, str(Path(__file__).with_name("divided.py")), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return {
        name: (run(one, runs=alone / name, device="cpu"), *list_runs(folder / name)) for name, one in recipes.items()
    }


@pytest.mark.parametrize("name", [*SAME, *OTHER])
def test_what_is_frozen_stays_in_every_process(made: Any, transferring: Any, name: str) -> None:
    expected = {**SAME, **OTHER}[name][3]
    for folder in made[name]:
        for kind in ("last", "best"):
            assert transferring.trained(transferring.tensors(folder, kind)) == expected


@pytest.mark.parametrize("name", SAME)
def test_two_processes_train_what_one_trains(made: Any, transferring: Any, name: str) -> None:
    one, two = made[name]
    assert (one.environment().processes, two.environment().processes) == (1, 2)
    ours, theirs = transferring.tensors(two), transferring.tensors(one)
    assert ours.keys() == theirs.keys()
    for tensor, expected in theirs.items():
        torch.testing.assert_close(ours[tensor], expected, rtol=1e-3, atol=1e-5)
