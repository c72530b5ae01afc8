"""What a run began with is shown only where it is known to be that."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cnnlab.probe.weights.beginning import loaded_start, start_of
from cnnlab.probe.weights.inspecting import inspect_weights
from cnnlab.runs.folder import RunFolder
from cnnlab.runs.networks import plan_of_run
from cnnlab.runs.run import run
from cnnlab.spec.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="session")
def trained(recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(recipe(epochs=1), name="trained", runs=tmp_path_factory.mktemp("trained"), device="cpu")


@pytest.fixture
def own(trained: RunFolder, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(trained.path, tmp_path / trained.name)))


def edit(folder: RunFolder, name: str, old: str, new: str) -> None:
    text = (folder.path / name).read_text()
    assert old in text
    (folder.path / name).write_text(text.replace(old, new))


def test_a_start_with_the_runs_digest_is_shown_and_said(own: RunFolder) -> None:
    start = start_of(own)
    assert start.begun == "checked"
    assert torch.equal(start.network.conv1.weight, plan_of_run(own).make(0, "cpu").conv1.weight)
    found = inspect_weights(own.path)
    assert found.filters.before is not None
    assert any("its SHA-256 is the one that the run wrote down" in said for said in found.sentences())


def test_a_run_of_an_older_version_is_shown_unchecked(own: RunFolder) -> None:
    (own.path / "start.json").unlink()
    found = inspect_weights(own.path)
    assert (found.filters.begun, found.filters.before is not None) == ("unchecked", True)
    assert any(
        "wrote no digest of its start (start.json), so this is not checked" in said for said in found.sentences()
    )


@pytest.mark.parametrize(
    ("name", "old", "new", "why"),
    [
        ("recipe.toml", "seed = 0", "seed = 1", "its recipe.toml, data.json or start.json was edited"),
        ("recipe.toml", 'init = "default"', 'init = "kaiming"', "was edited"),
        ("environment.json", f'"{torch.__version__}"', '"1.0"', "torch 1.0"),
        ("environment.json", '"code": "', '"code": "0', "other code than the run's"),
        ("start.json", '"tensors": ', '"tensors": 1', "tensors and now has"),
    ],
)
def test_another_start_is_not_shown_and_why_is_said(own: RunFolder, name: str, old: str, new: str, why: str) -> None:
    start = json.loads((own.path / "start.json").read_text())
    if name in ("environment.json", "start.json"):
        (own.path / "start.json").write_text(json.dumps({**start, "sha256": "0" * 64}, indent=2))
    edit(own, name, old, new)
    found = inspect_weights(own.path)
    assert (found.filters.begun, found.filters.before) == ("other", None)
    assert found.measures.change is None
    (said,) = [said for said in found.sentences() if "What was before training is not shown" in said]
    assert "what the seed of" in said
    assert why in said
    assert "before training" not in json.dumps([text.get_text() for text in found.plates()["filters"].figure.texts])
    heard: list[str] = []
    assert loaded_start(own, heard.append) is None
    assert len(heard) == 1
    assert heard[0].startswith("! what the seed of")
