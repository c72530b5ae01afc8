"""A run that is cut anywhere and resumed ends bit for bit like one that was not.

A process that is killed leaves its run folder and nothing else. So each test makes a straight run, keeps its folder as
it was at each event (each batch, each change of a file), and goes on from there. Moments that left the same files are
one case.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from cnnlab.data import array_store
from cnnlab.errors import RunError

RICH: dict[str, Any] = {"epochs": 3, "augment": ["crop(padding=1)", "flip(0.5)"]}
DEEP = ["conv(4, 3)", "batchnorm", "relu", "dropout(0.2)", "conv(4, 3)", "relu", "flatten", "dense(classes)"]
LOOSE = ["residual([conv(3, 3, padding=1), batchnorm, dropout(0.2)], drop=0.4)", "relu", "flatten", "dense(classes)"]
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"schedule": "cosine"},
    "ema": {"average": "ema(0.9)", "weights": "averaged", "optimizer": "nadam", "schedule": "warmup(1, cosine)"},
    "patient": {
        "epochs": 6,
        "schedule": "plateau(0.5, 2)",
        "stop": "early(patience=5)",
        "optimizer": "adam(0.5)",  # too much, so that nothing improves
        "validations_per_epoch": 2,
        "sampling": "balanced",
        "seed": 2,
    },
    "swa": {
        "average": "swa(0.3)",
        "weights": "averaged",
        "mix": "mixup(0.4)",
        "optimizer": "adamw",
        "accumulate": 2,
        "clip": 0.1,
        "batch_size": 4,
    },
    "muon": {
        "optimizer": "muon(companion=sgd(0.05, momentum=0.9, nesterov=true))",
        "layers": DEEP,
        "mix": "cutmix",
        "rates": {"conv2": 0.5},
        "decay": "weights",
    },
    "stochastic depth": {
        "layers": LOOSE,
        "schedule": "onecycle",
        "optimizer": "rmsprop(0.001, momentum=0.9, centered=true)",
        "loss": "focal(2, weights='balanced')",
    },
    "budget": {"budget": "images(54)", "schedule": "warmup(1, cosine())", "optimizer": "lion"},
    "bf16": {
        "precision": "bf16",
        "memory_format": "channels_last",
        "opened": "curve",
        "schedule": "linear",
        "loss": "cross_entropy(0.1)",
        "validations_per_epoch": 2,
    },
}
# All that is saved is also in the other settings.
SLOW = ("muon", "budget", "bf16")
FULL = ("plain", "ema", "patient", "stochastic depth")


def of(setting: str) -> dict[str, Any]:
    return {**RICH, **SETTINGS[setting]}


def marked(setting: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] * (setting in SLOW) + [pytest.mark.full] * (setting in FULL)


@pytest.mark.parametrize("setting", [pytest.param(name, marks=marked(name)) for name in SETTINGS])
def test_a_run_that_is_killed_anywhere_ends_like_a_straight_one(
    straight: Callable[..., Any], cutting: Any, setting: str
) -> None:
    """With one setting, what a kill leaves half written is one of the differences."""
    ended, moments = straight(**of(setting))
    different = {
        tuple(file for file in moment.files.items() if setting == "swa" or file[0][0] != "."): moment
        for moment in moments
    }
    for moment in different.values():
        if "recipe.toml" not in moment.files:
            with pytest.raises(RunError, match="there is no run here"):
                cutting.resumed(moment.files)
        elif "result.json" in moment.files:
            cutting.assert_same(cutting.restored(moment.files), ended)
        else:
            cutting.assert_same(cutting.resumed(moment.files), ended)


@pytest.mark.parametrize(
    ("setting", "batches", "scored"),
    [("swa", 7, 3), *(pytest.param(*row, marks=pytest.mark.full) for row in (("plain", 4, 3), ("patient", 4, 7)))],
)
def test_no_batch_is_left_out(straight: Callable[..., Any], setting: str, batches: int, scored: int) -> None:
    """27 images in 4 steps, of 1 batch or of 2; and 9 for validation in 2 batches, not again at the end."""
    ended, moments = straight(**of(setting))
    events = [moment.event for moment in moments]
    steps = round(4 * ended.result().epochs)
    for epoch in range(steps // 4):
        assert {f"batch {epoch}.{number}" for number in range(batches)} <= set(events)
    assert events.count("step") == steps
    assert [events.count(f"scoring 9.{number}") for number in range(3)] == [scored, scored, 0]
    assert [events.count(f"scoring 12.{number}") for number in range(3)] == [1, 1, 1]
    assert events.count("torn line") == 3 * len(ended.epochs())


def test_an_exception_leaves_what_a_kill_leaves(
    straight: Callable[..., Any], recipe: Callable[..., Any], cutting: Any
) -> None:
    """Ctrl-C is one; but for half-written files, which it removes."""
    _, moments = straight(**of("swa"))
    events = [number for number, moment in enumerate(moments) if moment.event != "torn line"]
    for number in random.Random(0).sample(events, 5):
        folder, made = cutting.straight(recipe(**of("swa")), cut_at=number)
        assert made[number].event == moments[number].event
        whole = {name: content for name, content in moments[number].files.items() if name[0] != "."}
        cutting.assert_same(folder, cutting.restored(whole))


@pytest.mark.parametrize(
    ("setting", "cuts"),
    [("swa", 2), *(pytest.param(name, 3, marks=pytest.mark.full) for name in ("ema", "patient", "swa"))],
)
def test_a_run_that_is_killed_several_times_ends_like_a_straight_one(
    straight: Callable[..., Any], cutting: Any, setting: str, cuts: int
) -> None:
    """Each time somewhere before it has finished, within the same epoch too."""
    ended, moments = straight(**of(setting))
    choice = random.Random(cuts)
    for _ in range(3):
        left = moments
        for _ in range(cuts):
            unfinished = [one for one in left if "recipe.toml" in one.files and "result.json" not in one.files]
            folder, left = cutting.resumed_with_moments(choice.choice(unfinished).files)
        cutting.assert_same(folder, ended)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Makes parts be read ahead by so many threads, by none, or (None) live on the device."""

    def make(workers: int | None) -> None:
        monkeypatch.setitem(array_store.RESIDENT_BYTES, "cpu", 0 if workers is not None else 2**30)
        monkeypatch.setattr(array_store, "available_cpus", lambda: workers or 0)

    return make


@pytest.mark.parametrize(
    ("first", "then"),
    [(0, 3), pytest.param(3, None, marks=pytest.mark.full), pytest.param(None, 1, marks=pytest.mark.full)],
)
def test_how_images_are_read_changes_nothing(
    straight: Callable[..., Any],
    recipe: Callable[..., Any],
    cutting: Any,
    reading: Callable[..., None],
    first: int | None,
    then: int | None,
) -> None:
    ended, _ = straight(**of("swa"))
    reading(first)
    otherwise, moments = cutting.straight(recipe(**of("swa")))
    cutting.assert_same(otherwise, ended)
    reading(then)
    for event in ("batch 1.3", "scoring 9.1", "batch 2.0"):
        cutting.assert_same(cutting.resumed(last(moments, event)), ended)


def last(moments: list[Any], event: str) -> dict[str, bytes]:
    """The files at the last event of that name."""
    return next(moment.files for moment in reversed(moments) if moment.event == event)
