"""A run whose loss or gradient is no number for once: it has diverged, is kept, and nothing of it counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import typer

from cnnlab.cli.commands.train import show_result
from cnnlab.context import RunContext
from cnnlab.data.loader import ImageLoader
from cnnlab.runs.index.summary import summarize_runs
from cnnlab.runs.run import run
from cnnlab.storage.checkpoints import load_weights
from cnnlab.storage.test_ledger import LEDGER
from cnnlab.training import loop
from cnnlab.training.losses import loss_function

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "averaged": {"average": "ema(0.9)", "weights": "averaged", "optimizer": "nadam", "clip": 1.0},
    "epochs averaged": {"average": "swa(0)", "weights": "averaged"},
    "within epochs": {"validations_per_epoch": 2, "optimizer": "lion", "opened": "curve"},
    "bf16": {"precision": "bf16", "weights": "last"},
    "no validation": {"validation": 0.0},
}


@pytest.fixture
def spoilt(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, float, tuple[int, int]], None]:
    """Spoils the loss, or its gradient, of one batch: (epoch, number) from 0."""
    now = [(-1, -1)]
    training = ImageLoader.train_batches

    def told(self: ImageLoader, size: int, seed: int, epoch: int, *others: Any) -> Any:
        for number, batch in enumerate(training(self, size, seed, epoch, *others)):
            now[0] = (epoch, number)
            yield batch

    def make(what: str, value: float, place: tuple[int, int]) -> None:
        def spoiling(*arguments: Any) -> loop.Loss:
            loss = loss_function(*arguments)

            def found(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
                if now[0] != place:
                    return loss.function(outputs, labels)
                if what == "gradient":
                    outputs.register_hook(lambda gradient: torch.full_like(gradient, value))
                return loss.function(outputs, labels) + (value if what == "loss" else 0.0)

            return replace(loss, function=found)

        monkeypatch.setattr(ImageLoader, "train_batches", told)
        monkeypatch.setattr(loop, "loss_function", spoiling)

    return make


# Of 2 epochs of 4 batches; all kinds of numbers, at all places, are in tests/training/test_divergence.py.
@pytest.mark.parametrize(
    ("setting", "what", "value", "place"),
    [
        ("plain", "loss", math.nan, (0, 0)),
        ("plain", "gradient", -math.inf, (1, 3)),
        ("averaged", "gradient", math.inf, (1, 1)),
        ("epochs averaged", "loss", -math.inf, (1, 3)),
        ("within epochs", "loss", math.inf, (1, 3)),
        ("within epochs", "gradient", math.nan, (0, 0)),
        ("within epochs", "gradient", math.nan, (1, 1)),
        ("bf16", "gradient", math.nan, (1, 1)),
        ("bf16", "loss", math.inf, (0, 0)),
        ("no validation", "loss", math.nan, (1, 4)),  # the last step, after which nothing is validated
        ("no validation", "gradient", math.inf, (1, 4)),
    ],
)
def test_it_is_kept_as_diverged_and_counts_for_nothing(
    recipe: Callable[..., Any],
    tmp_path: Any,
    spoilt: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    setting: str,
    what: str,
    value: float,
    place: tuple[int, int],
) -> None:
    spoilt(what, value, place)
    folder = run(recipe(**SETTINGS[setting]), RunContext(runs=tmp_path, device="cpu"))
    result, curve = folder.result(), folder.epochs()
    assert (result.status, result.train, result.validation, result.test) == ("diverged", None, None, None)
    assert result.message.startswith(f"the loss stopped being a number before the end of epoch {result.epochs:g}")
    assert result.message.endswith("a smaller learning rate may help")
    assert [summary.status for summary in summarize_runs(tmp_path)] == ["diverged"]
    assert result.selected_epoch < result.epochs == curve[-1].epoch
    assert curve[-1].test is None
    assert not list(folder.path.glob("predictions-*"))
    assert (tmp_path / LEDGER).exists() == (setting == "within epochs" and len(curve) > 1)
    if result.selected_epoch:
        tensors, saved = load_weights(folder.path, "best", pytest.fail)
        assert saved.epoch == result.selected_epoch
        assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert (folder.path / "best.json").exists() == bool(result.selected_epoch)
    with pytest.raises(typer.Exit) as caught:
        show_result(folder, json=False)
    assert caught.value.exit_code == 1
    assert "diverged after" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("setting", "what", "value", "place"),
    [
        ("plain", "loss", math.inf, (1, 1)),
        pytest.param("averaged", "gradient", math.nan, (1, 0), marks=pytest.mark.full),
        pytest.param("within epochs", "gradient", -math.inf, (1, 1), marks=pytest.mark.full),
        pytest.param("epochs averaged", "loss", -math.inf, (0, 2), marks=pytest.mark.full),
    ],
)
def test_killed_anywhere_and_resumed_it_has_diverged_all_the_same(
    recipe: Callable[..., Any],
    cutting: Any,
    spoilt: Callable[..., None],
    setting: str,
    what: str,
    value: float,
    place: tuple[int, int],
) -> None:
    spoilt(what, value, place)
    ended, moments = cutting.straight(recipe(**SETTINGS[setting]))
    assert ended.result().status == "diverged"
    unfinished = [one for one in moments if "recipe.toml" in one.files and "result.json" not in one.files]
    for files in {tuple(moment.files.items()): moment.files for moment in unfinished}.values():
        cutting.assert_same(cutting.resumed(files), ended)


def test_once_the_divergence_is_kept_a_resumed_run_does_not_train_again(
    recipe: Callable[..., Any], cutting: Any, spoilt: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the next time all would be well."""
    spoilt("loss", math.nan, (1, 3))
    ended, moments = cutting.straight(recipe())
    files = next(moment.files for moment in reversed(moments) if "result.json" not in moment.files)
    monkeypatch.setattr(loop, "loss_function", loss_function)
    cutting.assert_same(cutting.resumed(files), ended)
