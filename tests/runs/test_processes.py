"""Two processes against one, on the CPU: the same training up to rounding, one writer, and a clean end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cnnlab.data.dataset import open_dataset
from cnnlab.evaluate.logits import logits
from cnnlab.records import EpochRecord
from cnnlab.runs.bench import feed_of
from cnnlab.runs.final import trained_network
from cnnlab.runs.folder import RunFolder, list_runs
from cnnlab.runs.ledger import openings
from cnnlab.runs.run import run
from cnnlab.spec.recipe import Recipe

CPU = torch.device("cpu")
LAYERS = [
    *("conv(4, 3, padding=1, bias=false)", "batchnorm", "relu", "maxpool(2)"),
    *("conv(6, 3, padding=1)", "relu", "flatten", "dense(8, bias=false)", "batchnorm", "relu", "dense(classes)"),
]
# With 27 training images the last batch of 8 holds 3: too few for two processes to share.
COMMON = {"layers": LAYERS, "epochs": 3, "batch_size": 8, "augment": ["crop(padding=1)", "flip(0.5)"]}
SAME: dict[str, dict[str, Any]] = {
    "plain": {"validations_per_epoch": 2, "opened": "curve"},
    "weighted": {"loss": "cross_entropy(weights=[0.5, 1, 3])", "accumulate": 2, "clip": 0.5},
    "mixed": {"mix": "mixup(0.4)", "loss": "focal(2, weights=[0.5, 1, 3])"},
    "averaged": {"average": "ema(0.5)", "weights": "averaged", "sampling": "balanced", "budget": "time(1000)"},
    "swa": {"average": "swa(0.3)", "weights": "averaged", "schedule": "onecycle", "optimizer": "sgd(0.1)"},
    "undivided": {"batch_size": 3, "epochs": 1, "validations_per_epoch": 4},
    "affine": {"layers": [row.replace("batchnorm", "batchnorm(affine=false)") for row in LAYERS], "epochs": 1},
    "plateau": {"schedule": "plateau(0.5, patience=1)", "stop": "early(patience=1)", "budget": "images(60)"},
}
OTHER = {
    "own-statistics": {"sync_batchnorm": False},
    "own-statistics-averaged": {"sync_batchnorm": False, "average": "ema(0.5)", "weights": "averaged"},
    "dropout": {"layers": [*LAYERS[:-1], "dropout(0.5)", LAYERS[-1]]},
}

Made = tuple[RunFolder, RunFolder]


@pytest.fixture(scope="module")
def made(recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """Each recipe trained by one process, and by two."""
    folder, alone = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("one")
    recipes = {name: recipe(**{**COMMON, **fields}) for name, fields in {**SAME, **OTHER}.items()}
    for name, one in recipes.items():
        one.write(folder / f"{name}.toml")
    _torchrun([str(Path(__file__).with_name("divided.py")), str(folder)])
    return {
        name: (run(one, runs=alone / name, device="cpu"), *list_runs(folder / name)) for name, one in recipes.items()
    }


def _command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", *arguments]


def _torchrun(arguments: list[str]) -> None:
    done = subprocess.run(_command(arguments), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SAME)
def test_two_processes_train_what_one_trains(made: dict[str, Made], name: str) -> None:
    one, two = made[name]
    assert two.environment().processes == 2
    curves = [[_figures(record) for record in folder.epochs()] for folder in (one, two)]
    np.testing.assert_allclose(curves[1], curves[0], rtol=2e-4)
    ours, theirs = (load_file(next(folder.path.glob("best-*.safetensors"))) for folder in (two, one))
    for tensor, expected in theirs.items():
        torch.testing.assert_close(ours[tensor], expected, rtol=2e-4, atol=2e-6)


def _figures(record: EpochRecord) -> list[float]:
    assert record.validation is not None
    parts = [record.train, record.validation, *([record.test] if record.test else [])]
    return [record.epoch, record.learning_rate, record.train.images, *(part.loss for part in parts)]


@pytest.mark.parametrize("name", OTHER)
def test_where_two_processes_train_something_else_they_still_agree(made: dict[str, Made], name: str) -> None:
    one, two = made[name]
    losses = [[record.train.loss for record in folder.epochs()] for folder in (one, two)]
    assert not np.allclose(*losses, rtol=1e-3)
    assert all(np.isfinite(losses[1]))


@pytest.mark.parametrize("name", [*SAME, *OTHER])
def test_each_image_is_scored_once_and_by_the_kept_weights(made: dict[str, Made], name: str) -> None:
    """Each process scored its share; one process scores all of them alike."""
    _, two = made[name]
    data = open_dataset(two.recipe().data, seed=0)
    network = trained_network(two, CPU, print)
    result = two.result()
    assert result is not None
    for part in ("train", "validation", "test"):
        kept = two.predictions(part)
        assert kept is not None
        assert kept.labels.tolist() == data.labels(part).tolist()
        np.testing.assert_allclose(kept.logits, logits(network, feed_of(data, part, CPU, two.way())), atol=1e-5)
        score = getattr(result, part)
        assert (score.images, score.accuracy) == (
            len(kept.labels),
            float((kept.logits.argmax(1) == kept.labels).mean()),
        )


@pytest.mark.parametrize("name", [*SAME, *OTHER])
def test_the_processes_validate_one_network(made: dict[str, Made], name: str) -> None:
    """A validation is of what is kept, though each process scored its share with its own copy of the network."""
    _, two = made[name]
    result = two.result()
    assert result is not None
    assert result.validation is not None
    [point] = [record.validation for record in two.epochs() if record.epoch == result.selected_epoch]
    assert point is not None
    assert point.loss == pytest.approx(result.validation.loss, rel=1e-5)


@pytest.mark.parametrize("name", SAME)
def test_one_process_writes(made: dict[str, Made], name: str) -> None:
    one, two = made[name]
    assert {path.name.partition("-")[0] for path in two.path.iterdir()} == {
        *(path.name.partition("-")[0] for path in one.path.iterdir()),
        "report.html",
    }
    looks = [
        [opening.purpose for opening in openings(folder.path.parent, folder.data().test_set)] for folder in made[name]
    ]
    assert looks[0] == looks[1]
    assert len(list_runs(two.path.parent)) == 1


def test_when_a_process_dies_the_others_end_and_the_run_goes_on(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    made = recipe(**{**COMMON, "epochs": 100_000})
    made.write(tmp_path / "long.toml")
    arguments = ["-m", "cnnlab", "train", str(tmp_path / "long.toml"), "--runs", str(tmp_path / "runs"), "--device=cpu"]
    two = subprocess.Popen(_command(arguments), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        _wait_until(lambda: any(tmp_path.glob("runs/*/last.json")), two)
        second = next(child for child in _children(two.pid) if b"RANK=1" in _surroundings(child))
        os.kill(second, signal.SIGKILL)
        _, said = two.communicate(timeout=60)
    finally:
        two.kill()
    assert two.returncode == 1
    [folder] = list_runs(tmp_path / "runs")
    # Whoever notices first tells it: the process that is left, or torchrun, which then ends that one.
    assert "another process of this training has ended" in said or "Signal 9 (SIGKILL) received" in said
    assert f"go on with: torchrun --nproc-per-node 2 -m cnnlab train --resume {folder.path}" in said
    assert folder.result() is None
    assert len(folder.epochs()) >= 1


def _wait_until(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + 120
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends
        time.sleep(0.05)


def _children(parent: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def _surroundings(process: int) -> list[bytes]:
    return Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
