"""The initial weights are shown only where they are known to be the run's."""

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


def test_initial_weights_with_the_runs_digest_are_verified(own: RunFolder) -> None:
    start = initial_network(own)
    assert start.status == "checked"
    assert torch.equal(start.network.conv1.weight, plan_run_network(own).build(0, "cpu").conv1.weight)
    result = inspect_weights(own.path)
    assert result.filters.before is not None
    assert "verified by the SHA-256" in result.document().lines[0]


@pytest.mark.parametrize(("digest", "why"), [(None, "no initial_weights.json"), ("{", "initial_weights.json")])
def test_initial_weights_without_a_digest_are_not_verified(own: RunFolder, digest: str | None, why: str) -> None:
    (own.path / "initial_weights.json").unlink()
    if digest:
        (own.path / "initial_weights.json").write_text(digest)
    result = inspect_weights(own.path)
    assert (result.filters.initial_weights, result.filters.before is not None) == ("unchecked", True)
    assert "not verified" in result.document().lines[0]
    assert why in result.document().lines[0]


def test_other_weights_than_the_runs_are_not_shown(own: RunFolder) -> None:
    edit(own, "recipe.toml", "seed = 0", "seed = 1")
    result = inspect_weights(own.path)
    assert (result.filters.initial_weights, result.filters.before, result.measures.change) == ("other", None, None)
    (note,) = result.document().lines
    assert note.startswith("Initial weights: not available: ")
    assert f"another version of torch (the run's is {torch.__version__}, this is {torch.__version__})" in note
    assert "before training" not in json.dumps([text.get_text() for text in result.figures()["filters"].figure.texts])
    messages: list[str] = []
    assert loaded_initial_network(own, messages.append) is None
    assert len(messages) == 1
    assert messages[0].startswith("! the initial weights of")
