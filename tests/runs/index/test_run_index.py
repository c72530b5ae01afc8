"""A run of a recipe with a backbone is known by the recipe's file: what its weights decide is no change of a person."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnlab.config.arms import diff_recipes
from cnnlab.config.recipe import Recipe
from cnnlab.context import RunContext
from cnnlab.runs.index.experiments import make_experiment
from cnnlab.runs.index.recipe_claims import judge_recipe_claims
from cnnlab.runs.index.run_groups import RunGroup
from cnnlab.runs.index.run_index import FinishedRun
from cnnlab.runs.run import run
from cnnlab.storage.run_folder import RunFolder


@pytest.fixture
def file(recipe: Callable[..., Recipe], trained: Callable[..., RunFolder], tmp_path: Path) -> Path:
    """A recipe's file whose backbone is the newest trunk, with all that follows from it left open."""
    shutil.copytree(trained(recipe(epochs=1), "trunk").path.parent, tmp_path / "runs")
    tables = recipe(epochs=1, optimizer="adam(1e-3)").to_tables()
    data = {key: tables["data"][key] for key in ("source", "validation", "test")}
    model = {"backbone": f"run('{tmp_path}/runs/*-trunk', cut='relu1')", "trainable": "none"}
    path = tmp_path / "recipes" / "mine.toml"
    path.parent.mkdir()
    made = Recipe.from_tables({"data": data, "model": model, "train": tables["train"], "claims": {"parameters": 1}})
    path.write_text(made.to_toml())
    return path


def carried_out(path: Path, overrides: dict[str, Any] | None = None) -> RunFolder:
    return run(Recipe.read(path, overrides), RunContext(runs=path.parents[1] / "runs", device="cpu"), name=path.stem)


def test_what_the_weights_decide_is_no_change(file: Path) -> None:
    folder = carried_out(file)
    assert folder.recipe().data.normalize not in (None, "data")
    read = FinishedRun.load(folder, file.parent)
    assert (read.stem, read.file) == ("mine", file)
    assert diff_recipes(read.recipe, read.file_recipe) == {}
    assert make_experiment(RunGroup("mine", (read,))).command == "cnnlab train recipes/mine.toml"


def test_what_a_person_changed_is_told(file: Path) -> None:
    changed = {"data.normalize": [[0.5] * 3, [0.25] * 3], "model.trainable": "all", "train.batch_size": 4}
    read = FinishedRun.load(carried_out(file, changed), file.parent)
    assert read.file == file
    assert diff_recipes(read.recipe, read.file_recipe) == changed


def test_another_backbone_of_that_name_is_another_recipe(file: Path) -> None:
    other = {"model.cut": "none", "model.backbone": "squeezenet1_1(weights='none')", "model.resize": 32}
    read = FinishedRun.load(carried_out(file, other), file.parent)
    assert (read.stem, read.file) == ("mine", None)


def test_a_later_trunk_does_not_make_the_old_run_another(file: Path, recipe: Callable[..., Recipe]) -> None:
    folder = carried_out(file)
    run(recipe(epochs=1, seed=5), RunContext(runs=file.parents[1] / "runs", device="cpu"), name="trunk")
    read = FinishedRun.load(folder, file.parent)
    assert (read.file, diff_recipes(read.recipe, read.file_recipe)) == (file, {})


def test_a_recipes_claims_find_its_runs(file: Path) -> None:
    folder = carried_out(file)
    other = carried_out(file, {"train.batch_size": 4})
    found = judge_recipe_claims(file, folder.path.parent)
    assert [each.run for made in found.experiments for each in made.runs] == [folder.name]
    assert any(other.name in note and "batch_size=4" in note for note in found.notes)
