"""The range test of a recipe from end to end: what it reads, what it leaves, and whether its suggestion trains."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import cnnlab
from cnnlab import Recipe, SourceError, UsageError
from cnnlab.api.lr_finder import lr_range, with_learning_rate
from cnnlab.config.optimizers import optimizers
from cnnlab.context import RunContext
from cnnlab.data.dataset import Dataset, open_dataset
from cnnlab.runs.setup import TrainingSetup
from cnnlab.training.loop import SplitLoaders, fit
from cnnlab.training.lr_finder.curve import geometric_rates

CPU = torch.device("cpu")
FAST = {"layers": ["flatten", "dense(classes)"], "optimizer": "sgd(0.01)"}


@pytest.fixture
def split_pictures(colours: Path, tmp_path: Path) -> Path:
    """The pictures in folders of parts; those of validation and test begin as images do, and then end."""
    root = tmp_path / "split"
    for label in ("blue", "green", "red"):
        for part, numbers in (("train", range(10)), ("validation", range(10, 13)), ("test", range(13, 16))):
            (root / part / label).mkdir(parents=True)
            for number in numbers:
                shutil.copy(colours / label / f"{number}.png", root / part / label)
                if part != "train":
                    image = root / part / label / f"{number}.png"
                    image.write_bytes(image.read_bytes()[:60])
    return root


def test_nothing_but_the_training_part_is_read_and_nothing_is_written(
    split_pictures: Path, recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recipe(**FAST, source=str(split_pictures), validation=0.0, test=None, opened="curve")
    asked: list[str] = []
    pixels = Dataset.pixels
    monkeypatch.setattr(Dataset, "pixels", lambda self, part: asked.append(part) or pixels(self, part))
    monkeypatch.chdir(tmp_path)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    found = cnnlab.lr_range(made, steps=20, device="cpu")
    assert (found.images, len(found.rates), found.remarks) == (30, 20, ())
    assert set(asked) == {"train"}
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before  # no run, and no line in a ledger
    assert cnnlab.lr_range(made, steps=20, device="cpu") == found
    reseeded = made.model_copy(update={"train": made.train.model_copy(update={"seed": 1})})
    assert cnnlab.lr_range(reseeded, steps=20, device="cpu").losses != found.losses
    # The images are broken indeed: whoever reads them can't go on.
    for part in ("validation", "test"):
        with pytest.raises(SourceError):
            open_dataset(made.data, seed=0).pixels(part)


def test_the_record_tells_the_curve_and_the_setting(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe(optimizer="adam(0.02)", rates={"conv1": 0.5}, schedule="cosine", accumulate=2).write(tmp_path / "mine.toml")
    found = lr_range(tmp_path / "mine.toml", low=1e-5, high=0.5, steps=80, device="cpu")
    assert found.recipe == "mine"
    assert found.planned == geometric_rates(1e-5, 0.5, 80)
    assert found.rates == found.planned[: len(found.losses)]
    assert (found.own, found.groups, found.batch, found.images) == (0.02, (0.5, 1.0), 16, 27)
    assert any("The schedule, cosine, did not act" in remark for remark in found.remarks)
    assert any("With batch norm a network bears" in remark for remark in found.remarks)
    assert found.suggestion is not None
    again = Recipe.read(tmp_path / "mine.toml", {"train.optimizer": found.suggested})
    assert again.train.optimizer.lr == pytest.approx(found.suggestion, rel=0.05)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("adam(1e-3)", "adam(lr=0.02)"),
        ("sgd(0.1, momentum=0.9, nesterov=true)", "sgd(0.02, momentum=0.9, nesterov=true)"),
        ("adamw(1e-3, weight_decay=0.05)", "adamw(lr=0.02, weight_decay=0.05)"),
        # In the test the companion rose with it.
        ("muon(0.04, companion=adamw(3e-4))", "muon(companion=adamw(lr=0.00015))"),
        ("muon(0.01, companion=sgd(0.1, momentum=0.9))", "muon(companion=sgd(0.2, momentum=0.9))"),
    ],
)
def test_only_the_rate_of_an_optimiser_changes(written: str, expected: str) -> None:
    assert str(optimizers.to_call(with_learning_rate(optimizers.read(written), 0.02))) == expected


def test_rates_that_cannot_be_are_told_before_the_data_is_opened(recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(UsageError, match="--from, --to: these can't be learning rates"):
        lr_range(recipe(source="/no/such/folder"), low=1.0, high=0.1)


@pytest.mark.full
def test_on_shapes_the_suggested_rate_lowers_the_loss_more_than_one_a_hundred_times_smaller() -> None:
    blocks = ["conv(8, 5, padding=2)", "relu", "maxpool(2)", "conv(16, 3, padding=1)", "relu", "maxpool(2)"]
    tables = {
        "data": {"source": "shapes", "size": 16},
        "model": {"layers": [*blocks, "flatten", "dense(classes)"]},
        "train": {"epochs": 1, "precision": "fp32"},
    }
    found = lr_range(Recipe.from_tables(tables), device="cpu")
    assert found.verdict == "within"  # adam's usual 0.001

    def mean_loss(rate: float) -> float:
        train = {**tables["train"], "optimizer": f"adam({rate})"}
        bench = TrainingSetup.prepare(
            Recipe.from_tables({**tables, "train": train}), RunContext(device="cpu"), with_validation=False
        )
        feeds = SplitLoaders(bench.train_loader, None, None, bench.dataset.classes)
        (record,) = fit(bench.training(), feeds, lambda *_: None)
        return record.train.loss

    # Over the whole epoch, the slow beginning included.
    assert mean_loss(found.suggestion) < mean_loss(found.suggestion / 100) - 0.1


def test_what_joins_in_later_trains_in_the_test(transferring: Any) -> None:
    """A rate that suits the head alone says nothing of the rest, which has it too."""
    parts = ["dense1", "batchnorm2", "conv*"]
    found = {
        policy: lr_range(transferring.recipe(policy), steps=20, device="cpu")
        for policy in (f"gradual({parts})", f"rows({parts})", "none")
    }
    later, at_once, head = found.values()
    assert later.losses == at_once.losses != head.losses
    remark = "Layers that are unfrozen later trained from the first step."
    assert [remark in one.remarks for one in found.values()] == [True, False, False]
