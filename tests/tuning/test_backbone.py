"""A search whose base begins with a run that a pattern names: all its trials begin with the same one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnlab.config.recipe import Recipe
from cnnlab.config.search import Search
from cnnlab.context import Callbacks, RunContext
from cnnlab.errors import RunError
from cnnlab.storage.run_folder import RunFolder
from cnnlab.tuning.search import execute_search, tuning_folder

TRUNK = ["conv(4, 3)", "relu", "globalpool", "flatten", "dense(classes)"]


@pytest.fixture
def trunk(recipe: Callable[..., Recipe], trained: Callable[..., RunFolder], tmp_path: Path) -> RunFolder:
    """The first of the runs that the pattern names."""
    made = trained(recipe(layers=TRUNK, epochs=1))
    return RunFolder(shutil.copytree(made.path, tmp_path / "trunks" / "1-trunk"))


@pytest.fixture
def search(recipe: Callable[..., Recipe], trunk: RunFolder) -> Search:
    """Three trials on the newest trunk."""
    tables = recipe(epochs=1, cache="never").to_tables()
    tables["model"] = {"backbone": f"run('{trunk.path.parent}/*-trunk')", "trainable": "none"}
    fields: dict[str, Any] = {"use": {"train.optimizer": "sgd(lr)"}, "sampler": "random", "confirm": 0, "trials": 3}
    return Search(base=Recipe.from_tables(tables), search={"lr": "log(1e-3, 1e-1)"}, **fields)


def trunks_of(runs: Path) -> set[str]:
    """The runs that those of a search began with."""
    found = [Recipe.read(path).model.backbone for path in runs.glob("search-*/recipe.toml")]
    return {Path(backbone.path).name for backbone in found}  # type: ignore[union-attr]


@pytest.mark.full
def test_another_trunk_that_finishes_meanwhile_changes_nothing(
    search: Search, trunk: RunFolder, tmp_path: Path
) -> None:
    def another(_: object) -> None:
        shutil.copytree(trunk.path, trunk.path.with_name("2-trunk"), dirs_exist_ok=True)

    runs = tmp_path / "runs"
    result = execute_search(
        search, "search", RunContext(runs=runs, device="cpu", callbacks=Callbacks(on_trial_end=another))
    )
    assert [trial.status for trial in result.trials] == ["finished"] * 3
    assert trunks_of(runs) == {"1-trunk"}
    more = search.model_copy(update={"trials": 4, "confirm": 2})
    assert execute_search(more, "search", RunContext(runs=runs, device="cpu")).chosen_from == 4
    assert trunks_of(runs) == {"1-trunk"}
    best = Recipe.read(tuning_folder(runs, "search") / "best.toml").model.backbone
    assert Path(best.path).name == "1-trunk"  # type: ignore[union-attr]


@pytest.mark.full
def test_a_trunk_that_is_gone_is_an_error_of_the_trial(search: Search, trunk: RunFolder, tmp_path: Path) -> None:
    def gone(_: object) -> None:
        shutil.rmtree(trunk.path, ignore_errors=True)

    runs = tmp_path / "runs"
    result = execute_search(
        search, "search", RunContext(runs=runs, device="cpu", callbacks=Callbacks(on_trial_end=gone))
    )
    assert [trial.status for trial in result.trials] == ["finished", "failed", "failed"]
    assert "there is no run" in result.trials[1].message
    with pytest.raises(RunError, match="there is no run"):
        execute_search(search, "search", RunContext(runs=runs, device="cpu"))
