"""The test-set ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cnnlab.config.recipe import Recipe
from cnnlab.data.dataset import open_dataset
from cnnlab.storage import test_ledger
from cnnlab.storage.test_ledger import openings, record_opening


def test_openings_are_told_by_test_set_oldest_first(tmp_path: Path) -> None:
    for run, test_set in (("a", "x"), ("b", "y"), ("c", "x")):
        record_opening(tmp_path, run, test_set, "test command")
    assert [opening.run for opening in openings(tmp_path, "x")] == ["a", "c"]
    assert openings(tmp_path, "z") == []
    assert openings(tmp_path / "absent", "x") == []


def test_a_torn_last_line_is_left_out_and_swallows_nothing(tmp_path: Path) -> None:
    record_opening(tmp_path, "a", "x", "end")
    path = tmp_path / test_ledger.LEDGER
    path.write_bytes(path.read_bytes() + '{"run": "é'.encode()[:-1])
    assert [opening.run for opening in openings(tmp_path, "x")] == ["a"]
    record_opening(tmp_path, "b", "x", "end")
    assert [opening.run for opening in openings(tmp_path, "x")] == ["a", "b"]


def test_a_test_set_is_named_by_its_images_and_classes(recipe: Callable[..., Recipe], colours: Path) -> None:
    def name(seed: int = 0, **fields: object) -> str:
        return open_dataset(recipe(**fields).data, seed=seed).test_set_id()

    same = {name(), name(seed=5), name(validation=0.1), name(limit=10), name(augment=["flip(0.5)"])}
    same.add(name(source=str(colours / ".." / "colours")))
    assert len(same) == 1
    assert len(same | {name(test=0.5), name(classes=["red", "blue"])}) == 3
