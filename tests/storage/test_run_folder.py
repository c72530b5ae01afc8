"""The run folder: names, and reading what is there, damaged or missing."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.errors import RunError
from cnnlab.storage.checkpoints import load_checkpoint
from cnnlab.storage.run_folder import MAX_NAME, Predictions, RunFolder, create_run, list_runs, slug


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("my net, 2nd try", "my-net-2nd-try"),
        ("../../etc/passwd", "etc-passwd"),
        ("网络", "run"),
        ("a" * 300, "a" * MAX_NAME),
    ],
)
def test_a_name_becomes_a_files(name: str, expected: str) -> None:
    assert slug(name) == expected


@given(st.text(max_size=200))
def test_a_slug_is_one_plain_visible_file_name(name: str) -> None:
    found = slug(name)
    assert 0 < len(found) <= MAX_NAME
    assert found.isascii()
    assert Path(found).name == found
    assert not found.startswith((".", "-"))
    assert slug(found) == found


def test_runs_that_start_in_one_second_get_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnlab.storage.run_folder.time.strftime", lambda _: "20260101-000000")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: create_run(tmp_path / "runs", "a net").name, range(8)))
    assert sorted(found) == ["20260101-000000-a-net", *(f"20260101-000000-a-net-{number}" for number in range(2, 9))]


def test_a_folder_that_may_not_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(RunError, match=r"a run folder can't be made: Permission denied\n  next: .* --runs"):
        create_run(tmp_path, "x")


def test_a_runs_folder_that_is_a_dangling_link_is_said(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(tmp_path / "gone" / "runs")
    with pytest.raises(RunError, match="a run folder can't be made"):
        create_run(tmp_path / "runs", "x")


def test_runs_are_listed_by_time_and_other_folders_left_out(tmp_path: Path) -> None:
    for name in ("2-b", "1-a", "3-c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.toml").touch()
    (tmp_path / "other").mkdir()
    assert [run.name for run in list_runs(tmp_path)] == ["1-a", "2-b", "3-c"]
    assert list_runs(tmp_path / "absent") == []


PIECES: list[tuple[str, Callable[[RunFolder], object]]] = [
    ("environment.json", RunFolder.environment),
    ("data.json", RunFolder.data),
    ("layers.json", RunFolder.table),
    ("precision.json", RunFolder.precision_config),
]


@pytest.mark.parametrize(("name", "read"), PIECES)
def test_a_missing_piece_is_named(own: RunFolder, name: str, read: Callable[[RunFolder], object]) -> None:
    (own.path / name).unlink()
    with pytest.raises(RunError, match=f"this run has no {name}\n  next:     train it again"):
        read(own)


@pytest.mark.parametrize(
    ("name", "read"), [*PIECES, ("result.json", RunFolder.result), ("initial_weights.json", RunFolder.initial_weights)]
)
@pytest.mark.parametrize("content", [b"{}", b"\xff{"])
def test_a_damaged_piece_is_named(
    own: RunFolder, name: str, read: Callable[[RunFolder], object], content: bytes
) -> None:
    (own.path / name).write_bytes(content)
    with pytest.raises(RunError) as caught:
        read(own)
    (problem,) = caught.value.problems
    assert problem.where == str(own.path / name)
    assert (problem.what.startswith(f"{name} is damaged: ")) or name == "precision.json"
    assert problem.next_step == "train it again"


def test_a_torn_last_line_of_the_learning_curve_is_left_out(own: RunFolder) -> None:
    whole = own.epochs()
    path = own.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert own.epochs() == whole[:-1]
    path.write_bytes(b"")
    assert own.epochs() == []
    path.unlink()
    assert own.epochs() == []


def test_a_damaged_line_within_the_learning_curve_is_an_error(own: RunFolder) -> None:
    path = own.path / "metrics.jsonl"
    path.write_bytes(b"{\n" + path.read_bytes())
    with pytest.raises(RunError, match=r"metrics\.jsonl: metrics\.jsonl is damaged: "):
        own.epochs()


def test_points_past_an_epoch_are_forgotten(own: RunFolder) -> None:
    whole = own.epochs()
    own.truncate_after(2)
    assert own.epochs() == [record for record in whole if record.epoch <= 2]


def test_predictions_come_back_and_are_counted(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    logits = np.array([[2, 1, 0], [0, 1, 0], [3, 0, 0], [0, 0, 1]], np.float32)
    folder.write_predictions("test", Predictions(np.array([0, 1, 1, 2]), logits))
    found = folder.predictions("test")
    assert np.array_equal(found.logits, logits)
    assert found.confusion().tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert folder.predictions("train") is None


def test_logits_that_are_no_numbers_name_no_class() -> None:
    logits = np.array([[2, 1], [np.nan, 1], [0, np.inf], [0, 1]], np.float32)
    found = Predictions(np.array([0, 0, 1, 0]), logits)
    assert found.is_finite().tolist() == [True, False, False, True]
    assert found.correct().tolist() == [True, False, False, False]
    assert found.confusion().tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04"])
def test_damaged_predictions_are_named(own: RunFolder, content: bytes) -> None:
    (own.path / "predictions-test.npz").write_bytes(content)
    with pytest.raises(RunError, match=r"predictions-test\.npz: these predictions can't be read: "):
        own.predictions("test")


def test_a_run_has_its_name_and_parent_from_wherever_it_is_opened(
    own: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own.path)
    assert RunFolder.open(".") == own
    monkeypatch.chdir(own.path.parent)
    assert RunFolder.open(own.name) == own
    assert create_run(Path(), "x").path.parent == own.path.parent


# What files, and keys in them, were called in an earlier version: file → (older file, {key: older key}).
OLDER = {
    "precision.json": ("way.json", {}),
    "initial_weights.json": ("start.json", {}),
    "layers.json": ("layers.json", {"unfreeze_at": "begins"}),
    "data.json": ("data.json", {"splits": "parts"}),
    "example.json": ("example.json", {"split": "part"}),
    "last.json": (
        "last.json",
        {"best_tracker": "chooser", "early_stopping": "stopper", "num_bad_validations": "waited"},
    ),
}


def test_a_run_of_an_earlier_version_is_read(finished: RunFolder, own: RunFolder) -> None:
    for name, (older, keys) in OLDER.items():
        text = (own.path / name).read_text(encoding="utf-8")
        for key, old in keys.items():
            assert f'"{key}"' in text
            text = text.replace(f'"{key}"', f'"{old}"')
        (own.path / name).unlink()
        (own.path / older).write_text(text, encoding="utf-8")
    read: list[Callable[[RunFolder], object]] = [
        RunFolder.precision_config,
        RunFolder.initial_weights,
        RunFolder.table,
        RunFolder.data,
        lambda folder: load_checkpoint(folder.path, "last", print)[1],
    ]
    for each in read:
        assert each(own) == each(finished)
    example, known = own.example(), finished.example()
    assert example is not None
    assert known is not None
    assert example[0] == known[0]
