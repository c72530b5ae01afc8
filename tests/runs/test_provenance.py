"""What a run was made from is written at its start, and read from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import cnnlab
from cnnlab.api.report import write_report
from cnnlab.config.recipe import Recipe
from cnnlab.records import Provenance
from cnnlab.runs.index.experiments import experiments
from cnnlab.runs.index.run_index import RunIndex
from cnnlab.runs.provenance import make_provenance
from cnnlab.storage.run_folder import RunFolder


@pytest.fixture
def file(recipe: Callable[..., Recipe], tmp_path: Path) -> Path:
    """A recipe's file that does not come with cnnlab, with a claim."""
    path = tmp_path / "mine.toml"
    recipe(("flatten", "dense(classes)"), epochs=3, claims={"validation_accuracy": 0.5}).write(path)
    return path


def test_the_settings_that_differ_from_the_file_are_recorded(file: Path) -> None:
    same = make_provenance(Recipe.read(file, {"train.seed": 3}), "mine", file)
    assert (same.name, same.file, same.overrides, same.epochs) == ("mine", str(file), {}, 3)
    changes = {"train.epochs": 1, "data.limit": 12, "train.batch_size": 5}
    changed = make_provenance(Recipe.read(file, changes), "mine", file)
    assert changed.overrides == {"train.epochs": "1", "data.limit": "12", "train.batch_size": "5"}
    assert changed.digest == same.digest
    Recipe.read(file, {"train.epochs": 9}).write(file)
    assert make_provenance(Recipe.read(file), "mine", file).digest != same.digest
    assert make_provenance(Recipe.read(file), "mine") == Provenance(name="mine")


def test_a_run_is_held_against_the_file_that_it_was_made_from(file: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    made = cnnlab.train(Recipe.read(file, {"train.epochs": 1}), file=file, runs=runs, device="cpu")
    assert made.provenance() == make_provenance(Recipe.read(file, {"train.epochs": 1}), "mine", file)
    assert "train.epochs=1" in write_report(made).read_text(encoding="utf-8")
    ((found,), _) = experiments(RunIndex(runs))
    assert (found.recipe, found.epochs) == ("mine", 3)
    assert (found.claims[0].verdict, found.claims[0].reason) == ("shortened", "1 of 3 epochs")
    assert found.command.endswith("/mine.toml --set train.epochs=1")
    # The file is gone: the run itself knows what it was asked for.
    file.unlink()
    ((again,), _) = experiments(RunIndex(runs))
    assert (again.recipe, again.epochs, again.claims[0].verdict) == ("mine", 3, "shortened")


def test_the_folder_of_an_earlier_version_has_the_name_of_its_recipe(tmp_path: Path) -> None:
    assert RunFolder(tmp_path / "20260101-000000-net-2").recipe_name() == "net-2"
    assert RunFolder(tmp_path / "net").recipe_name() == "net"
    assert RunFolder(tmp_path / "study-plain-s12-17fb0bbadb70-243db7").recipe_name() == "study-plain"
