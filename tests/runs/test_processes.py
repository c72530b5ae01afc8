"""Two processes against one, on the CPU: the same training up to rounding, one writer, and a clean end."""

from __future__ import annotations

import os
import shutil
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
from filelock import FileLock

from cnnlab.config.recipe import Recipe
from cnnlab.data.dataset import open_dataset
from cnnlab.evaluation.logits import predict_logits
from cnnlab.records import EpochRecord
from cnnlab.runs.final_evaluation import trained_network
from cnnlab.runs.setup import make_image_loader
from cnnlab.storage.run_folder import RunFolder, list_runs
from cnnlab.storage.test_ledger import openings

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
OTHER: dict[str, dict[str, Any]] = {
    "own-statistics": {"sync_batchnorm": False},
    "own-statistics-averaged": {"sync_batchnorm": False, "average": "ema(0.5)", "weights": "averaged"},
    "dropout": {"layers": [*LAYERS[:-1], "dropout(0.5)", LAYERS[-1]]},
}
GRADUAL = "gradual(['dense1', 'batchnorm2'])"
# Of a backbone: policy, keys of [model], fields, and what has changed in the end. These draw no dropout …
FROZEN_SAME: dict[str, tuple[str, dict[str, Any], dict[str, Any], set[str]]] = {
    "frozen": ("none", {}, {}, set()),
    "partly": ("rows(['batchnorm2'])", {}, {"average": "ema(0.5)", "weights": "averaged"}, {"batchnorm2"}),
    "gradual": (GRADUAL, {}, {"epochs": 3, "accumulate": 2, "weights": "last"}, {"dense1", "batchnorm2"}),
    "at a norm": ("rows(['batchnorm2'])", {"cut": "batchnorm2"}, {}, {"batchnorm2"}),
    "frozen, own statistics": ("none", {}, {"sync_batchnorm": False}, set()),
    "late, own statistics": (GRADUAL.replace(")", ", every=5)"), {}, {"sync_batchnorm": False}, set()),
}
# … and of these each process has statistics or draws of its own.
FROZEN_OTHER: dict[str, tuple[str, dict[str, Any], dict[str, Any], set[str]]] = {
    "partly, own statistics": ("rows(['batchnorm2'])", {}, {"sync_batchnorm": False}, {"batchnorm2"}),
    "gradual, own statistics": (
        GRADUAL, {}, {"sync_batchnorm": False, "epochs": 3, "weights": "last"}, {"dense1", "batchnorm2"},
    ),
    "all": ("all", {}, {}, {"conv1", "batchnorm1", "conv2", "batchnorm2", "dense1"}),
}  # fmt: skip
FROZEN = {**FROZEN_SAME, **FROZEN_OTHER}
FEW = ("plain", "weighted", "own-statistics", "partly")

Made = tuple[RunFolder, RunFolder]


def rows(*names: str) -> list[Any]:
    """Few of them in `full`, with one start of torchrun; all others are slow."""
    return [pytest.param(name, marks=pytest.mark.full if name in FEW else pytest.mark.slow) for name in names]


@pytest.fixture
def made(
    recipe: Callable[..., Recipe], transferring: Any, trained: Callable[..., RunFolder], shared_folder: Path
) -> Callable[[str], Made]:
    """Gives a recipe's runs, trained by one process and by two; torchrun trains all of a kind at once."""

    def recipe_of(name: str) -> Recipe:
        if name not in FROZEN:
            return recipe(**{**COMMON, **{**SAME, **OTHER}[name]})
        policy, model, fields, _ = FROZEN[name]
        return transferring.recipe(
            policy, model, **{"optimizer": "sgd(0.05, momentum=0.9, weight_decay=0.1)", "weights": "last", **fields}
        )

    def make(name: str) -> Made:
        is_few = name in FEW
        folder = shared_folder / ("divided-few" if is_few else "divided")
        with FileLock(f"{folder}.lock"):
            if not (folder / "done").exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                for one in (*SAME, *OTHER, *FROZEN):
                    if (one in FEW) is is_few:
                        recipe_of(one).write(folder / f"{one}.toml")
                (folder / "done").write_text(_torchrun([str(Path(__file__).with_name("divided.py")), str(folder)]))
            if said := (folder / "done").read_text():
                pytest.fail(said)  # in every test: it is not started again
        [two] = list_runs(folder / name)
        return trained(Recipe.read(folder / f"{name}.toml")), two

    return make


def _command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", *arguments]


def _torchrun(arguments: list[str]) -> str:
    """What it said of a failure, or nothing."""
    done = subprocess.run(_command(arguments), capture_output=True, text=True, timeout=500, check=False)
    return f"torchrun failed ({done.returncode}): {done.stderr}" if done.returncode else ""


@pytest.mark.parametrize("name", rows(*SAME, *FROZEN_SAME))
def test_two_processes_train_what_one_trains(made: Callable[[str], Made], transferring: Any, name: str) -> None:
    one, two = made(name)
    assert (one.environment().processes, two.environment().processes) == (1, 2)
    rtol, atol = (2e-4, 2e-6) if name in SAME else (1e-3, 1e-5)
    curves = [[_figures(record) for record in folder.epochs()] for folder in (one, two)]
    np.testing.assert_allclose(curves[1], curves[0], rtol=rtol)
    ours, theirs = (transferring.tensors(folder, "best") for folder in (two, one))
    assert ours.keys() == theirs.keys()
    for tensor, expected in theirs.items():
        torch.testing.assert_close(ours[tensor], expected, rtol=rtol, atol=atol)


def _figures(record: EpochRecord) -> list[float]:
    assert record.validation is not None
    parts = [record.train, record.validation, *([record.test] if record.test else [])]
    return [record.epoch, record.learning_rate, record.train.images, *(part.loss for part in parts)]


@pytest.mark.parametrize("name", rows(*OTHER))
def test_where_two_processes_train_something_else_the_losses_differ(made: Callable[[str], Made], name: str) -> None:
    losses = [[record.train.loss for record in folder.epochs()] for folder in made(name)]
    assert not np.allclose(*losses, rtol=1e-3)
    assert all(np.isfinite(losses[1]))


@pytest.mark.parametrize("name", rows(*FROZEN))
def test_what_is_frozen_stays_in_every_process(made: Callable[[str], Made], transferring: Any, name: str) -> None:
    for folder in made(name):
        for kind in ("last", "best"):
            assert transferring.trained(transferring.tensors(folder, kind)) == FROZEN[name][3]


@pytest.mark.parametrize("name", rows(*SAME, *OTHER))
def test_each_image_is_scored_once_and_by_the_kept_weights(made: Callable[[str], Made], name: str) -> None:
    """Each process scored its share with its own copy of the network; one process scores all of them alike."""
    _, two = made(name)
    data = open_dataset(two.recipe().data, seed=0)
    network = trained_network(two, CPU, print)
    result = two.result()
    assert result is not None
    for part in ("validation", "test"):
        kept = two.predictions(part)
        assert kept is not None
        assert kept.labels.tolist() == data.labels(part).tolist()
        np.testing.assert_allclose(
            kept.logits, predict_logits(network, make_image_loader(data, part, CPU, two.precision_config())), atol=1e-5
        )
        score = getattr(result, part)
        assert (score.images, score.accuracy) == (
            len(kept.labels),
            float((kept.logits.argmax(1) == kept.labels).mean()),
        )
    [point] = [record.validation for record in two.epochs() if record.epoch == result.selected_epoch]
    assert point.loss == pytest.approx(result.validation.loss, rel=1e-5)


@pytest.mark.parametrize("name", rows(*SAME))
def test_one_process_writes(made: Callable[[str], Made], name: str) -> None:
    one, two = made(name)
    assert {path.name.partition("-")[0] for path in two.path.iterdir()} == {
        *(path.name.partition("-")[0] for path in one.path.iterdir()),
        "report.html",
    }
    looks = [
        [opening.purpose for opening in openings(folder.path.parent, folder.data().test_set)] for folder in (one, two)
    ]
    assert looks[0] == looks[1]
    assert len(list_runs(two.path.parent)) == 1


@pytest.mark.slow
def test_when_a_process_dies_the_others_end_and_the_run_goes_on(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    made = recipe(**{**COMMON, "epochs": 100_000})
    made.write(tmp_path / "long.toml")
    arguments = ["-m", "cnnlab", "train", str(tmp_path / "long.toml"), "--runs", str(tmp_path / "runs"), "--device=cpu"]
    two = subprocess.Popen(_command(arguments), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        _wait_until(lambda: any(tmp_path.glob("runs/*/last.json")), two)
        second = next(child for child in _children(two.pid) if b"RANK=1" in _surroundings(child))
        os.kill(second, signal.SIGKILL)
        _, said = two.communicate(timeout=120)
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
    ends = time.monotonic() + 240
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends
        time.sleep(0.05)


def _children(parent: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def _surroundings(process: int) -> list[bytes]:
    return Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
