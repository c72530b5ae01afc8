"""Each piece of the state that a resumed run goes on with is needed: without it the run ends otherwise.

This is what shows that the comparison in `test_cuts.py` sees a difference where there is one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from cnnlab import torch_rng

AUGMENT = ["crop(padding=1)", "flip(0.5)"]
PLAIN = {"epochs": 3, "augment": AUGMENT}
PATIENT = {
    "epochs": 6,
    "augment": AUGMENT,
    "schedule": "plateau(0.5, 2)",
    "stop": "early(patience=5)",
    "optimizer": "adam(0.5)",  # too much, so that nothing improves
    "seed": 2,
    "validations_per_epoch": 2,
    "sampling": "balanced",
}
EMA = {**PLAIN, "average": "ema(0.9)", "weights": "averaged", "optimizer": "nadam"}
SWA = {**PLAIN, "epochs": 4, "average": "swa(0)", "weights": "averaged"}
FRESH = {"best": None, "num_bad_validations": 0}
FULL = pytest.mark.full


def changed(files: dict[str, bytes], change: Callable[[dict[str, Any], dict[str, Any]], None]) -> dict[str, bytes]:
    """The same files with another last state, whose checksum is right."""
    pointer = json.loads(files["last.json"])
    newest = pointer["newest"]
    tensors = load(files[newest["file"]])
    change(tensors, newest["progress"])
    content = save(tensors)
    newest["sha256"] = hashlib.sha256(content).hexdigest()
    return {**files, newest["file"]: content, "last.json": json.dumps(pointer).encode()}


def without(prefix: str) -> Callable[..., None]:
    def change(tensors: dict[str, Any], _: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.startswith(prefix)]:
            del tensors[name]

    return change


def zeroed(*parts: str) -> Callable[..., None]:
    def change(tensors: dict[str, Any], _: dict[str, Any]) -> None:
        for name in [name for name in tensors if all(part in name for part in parts)]:
            tensors[name] = torch.zeros_like(tensors[name])

    return change


def of_the_network(tensors: dict[str, Any], _: dict[str, Any]) -> None:
    """In place of an average."""
    tensors |= {"average/" + name.removeprefix("network/"): tensors[name].clone() for name in tensors if name[0] == "n"}


def having(**values: Any) -> Callable[..., None]:
    def change(_: dict[str, Any], progress: dict[str, Any]) -> None:
        progress.update(values)

    return change


def nothing(*_: object) -> None:
    pass


@pytest.mark.parametrize(
    ("fields", "epoch", "change"),
    [
        pytest.param(PLAIN, 1, without("optimizer/"), id="optimizer"),
        pytest.param(EMA, 1, zeroed("optimizer/", "exp_avg_sq"), id="second moment"),
        pytest.param(EMA, 1, zeroed("optimizer/", "step"), id="steps of the optimizer", marks=FULL),
        pytest.param(PLAIN, 1, zeroed("network/", "running_mean"), id="statistics"),
        pytest.param(PLAIN, 1, zeroed("num_batches_tracked"), id="count of batches", marks=FULL),
        pytest.param(PLAIN, 1, zeroed("network/", "weight"), id="weights"),
        pytest.param(EMA, 1, of_the_network, id="running average"),
        pytest.param(EMA, 1, having(averaged=0), id="count of averages", marks=FULL),
        pytest.param(SWA, 2, of_the_network, id="average of epochs", marks=FULL),
        pytest.param(SWA, 2, having(averaged=0), id="count of epochs"),
        pytest.param(PATIENT, 2, having(factor=1.0), id="factor of the rate"),
        pytest.param(PATIENT, 1, having(plateau=FRESH), id="patience of the rate"),
        pytest.param(PATIENT, 2, having(early_stopping=FRESH), id="patience of stopping"),
        pytest.param(PATIENT, 2, having(best_tracker=FRESH), id="patience of choosing"),
        pytest.param(PATIENT, 2, having(selected_epoch=0.0), id="selected epoch", marks=FULL),
        pytest.param(PLAIN, 1, having(step=5), id="step", marks=FULL),
        pytest.param(PLAIN, 1, having(epoch=0), id="epoch", marks=FULL),
    ],
)
def test_without_a_piece_of_its_state_a_resumed_run_ends_otherwise(
    straight: Callable[..., Any], cutting: Any, fields: dict[str, Any], epoch: int, change: Callable[..., None]
) -> None:
    """Two epochs and more before the end: the last two states are kept, and none of them is the changed one."""
    ended, moments = straight(**fields)
    files = next(moment.files for moment in moments if moment.event == f"batch {epoch}.0")
    assert changed(files, change) != files
    resumed = cutting.resumed(changed(files, change))
    with pytest.raises(AssertionError):
        cutting.assert_same(resumed, ended)


def begin_process(patch: pytest.MonkeyPatch, what: str) -> None:
    """From here on draws are made as most programs make them: from one stream that each process begins anew."""
    stream = np.random.default_rng(0)
    if what == "augmentation":
        patch.setattr(
            "cnnlab.data.augmentation.augment.uniforms", lambda *names: stream.random((len(names[3]), names[4]))
        )
    elif what == "dropout":
        patch.setattr("cnnlab.training.loop.manual_seed_torch", nothing)
        patch.setattr("cnnlab.training.loop.fork_rng", nullcontext)
        torch_rng.manual_seed_torch(0, "process")
    else:
        places = {
            "order": "cnnlab.data.loader.generator",
            "sampling": "cnnlab.data.loader.generator",
            "mixing": "cnnlab.training.loop.generator",
        }
        patch.setattr(places[what], lambda *_: stream)


@pytest.mark.parametrize(
    "what", ["order", "dropout", *(pytest.param(one, marks=FULL) for one in ("augmentation", "sampling", "mixing"))]
)
def test_with_draws_of_the_process_a_resumed_run_ends_otherwise(
    recipe: Callable[..., Any], cutting: Any, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    made = recipe(**PLAIN, sampling="balanced", mix="mixup(0.4)")
    with torch_rng.fork_rng():
        begin_process(monkeypatch, what)
        ended, moments = cutting.straight(made)
        begin_process(monkeypatch, what)
        cutting.assert_same(cutting.straight(made)[0], ended)
        files = next(moment.files for moment in moments if moment.event == "batch 1.0")
        begin_process(monkeypatch, what)
        resumed = cutting.resumed(files)
    with pytest.raises(AssertionError):
        cutting.assert_same(resumed, ended)
