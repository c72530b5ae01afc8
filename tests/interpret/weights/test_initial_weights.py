"""What a run began with is shown only where it is known to be that."""

from __future__ import annotations

import json

import pytest
import torch

from cnnlab.interpret.weights.compute import inspect_weights
from cnnlab.interpret.weights.initial_weights import initial_network, loaded_initial_network
from cnnlab.models.network_plan import plan_run_network
from cnnlab.storage.run_folder import RunFolder


def edit(folder: RunFolder, name: str, old: str, new: str) -> None:
    text = (folder.path / name).read_text()
    assert old in text
    (folder.path / name).write_text(text.replace(old, new))


def test_a_start_with_the_runs_digest_is_shown_and_said(own: RunFolder) -> None:
    start = initial_network(own)
    assert start.status == "checked"
    assert torch.equal(start.network.conv1.weight, plan_run_network(own).build(0, "cpu").conv1.weight)
    found = inspect_weights(own.path)
    assert found.filters.before is not None
    assert any("SHA-256" in said for said in found.findings())


@pytest.mark.parametrize(("digest", "why"), [(None, "wrote no digest of its start"), ("{", "initial_weights.json")])
def test_a_start_whose_digest_is_not_there_is_shown_unchecked(own: RunFolder, digest: str | None, why: str) -> None:
    (own.path / "initial_weights.json").unlink()
    if digest:
        (own.path / "initial_weights.json").write_text(digest)
    found = inspect_weights(own.path)
    assert (found.filters.initial_weights, found.filters.before is not None) == ("unchecked", True)
    assert any(why in said for said in found.findings())


@pytest.mark.parametrize(
    ("name", "old", "new", "why"),
    [
        ("recipe.toml", "seed = 0", "seed = 1", "its recipe.toml, data.json or initial_weights.json was edited"),
        ("environment.json", f'"{torch.__version__}"', '"1.0"', "torch 1.0"),
        ("environment.json", '"code": "', '"code": "0', "other code than the run's"),
        ("initial_weights.json", '"tensors": ', '"tensors": 1', "tensors and now has"),
    ],
)
def test_another_start_is_not_shown_and_why_is_said(own: RunFolder, name: str, old: str, new: str, why: str) -> None:
    start = json.loads((own.path / "initial_weights.json").read_text())
    if name != "recipe.toml":
        (own.path / "initial_weights.json").write_text(json.dumps({**start, "sha256": "0" * 64}, indent=2))
    edit(own, name, old, new)
    found = inspect_weights(own.path)
    assert (found.filters.initial_weights, found.filters.before, found.measures.change) == ("other", None, None)
    (said,) = [said for said in found.findings() if "before training is not shown" in said]
    assert why in said
    assert "before training" not in json.dumps([text.get_text() for text in found.figures()["filters"].figure.texts])
    heard: list[str] = []
    assert loaded_initial_network(own, heard.append) is None
    assert len(heard) == 1
    assert heard[0].startswith("! what the seed of")
