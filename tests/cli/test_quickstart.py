"""Which data a quick start takes, and what it trains."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnlab.cli.quickstart import choose_source, lenet
from cnnlab.data import catalogue
from cnnlab.spec.recipe import Recipe


def test_the_network_is_the_assignments() -> None:
    published = Recipe.read(Path(__file__).parents[2] / "recipes" / "lenet.toml")
    assert lenet("cifar10").model == published.model
    assert lenet("cifar10").train == published.train


def test_data_at_hand_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        (folder / name).write_bytes(b"")
    source, reason = choose_source(tmp_path)
    assert source == "cifar10"
    assert str(folder) in reason


@pytest.mark.parametrize(
    ("seconds", "source", "words"),
    [
        (None, "shapes", "none of its mirrors answers"),
        (3600.0, "shapes", "would take about 60 minutes"),
        (30.0, "cifar10", "can be downloaded in about 30 s"),
    ],
)
def test_what_is_not_at_hand_is_weighed(
    seconds: float | None, source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CNNLAB_OFFLINE")
    monkeypatch.setattr(catalogue, "download_seconds", lambda _name: seconds)
    chosen, reason = choose_source(tmp_path)
    assert chosen == source
    assert words in reason


def test_offline_says_so(tmp_path: Path) -> None:
    assert choose_source(tmp_path) == ("shapes", "CIFAR-10 is not at hand and CNNLAB_OFFLINE is set")
