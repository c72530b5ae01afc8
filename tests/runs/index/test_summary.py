"""The runs of a folder at a glance."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock, call

import pytest

from cnnlab.runs.index import summary
from cnnlab.runs.index.summary import SORT_KEYS, RunSummary, sort_runs, summarize_runs
from cnnlab.storage.run_folder import RunFolder


def test_a_finished_an_unfinished_and_a_damaged_run(own: RunFolder) -> None:
    runs, result = own.path.parent, own.result()
    for name in ("x-unfinished", "y-damaged", "z-broken"):
        shutil.copytree(own.path, runs / name)
    (runs / "x-unfinished" / "result.json").unlink()
    (runs / "y-damaged" / "result.json").write_text("{")
    (runs / "z-broken" / "recipe.toml").write_text("[data]\n")
    found = summarize_runs(runs)
    assert found[0] == RunSummary(
        run=own.name,
        status="finished",
        source=own.recipe().data.source,
        parameters=result.parameters,
        epochs=4,
        validation=result.validation.accuracy,
        test=result.test.accuracy,
        seconds=result.seconds,
        seed=0,
    )
    assert found[1] == RunSummary(run="x-unfinished", status="unfinished", source=own.recipe().data.source, seed=0)
    assert found[2].status.startswith("damaged: result.json is damaged: ")
    assert found[3].status.startswith("damaged: ")


def test_only_reading_has_progress(own: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "SETTLED_NS", -1)
    for expected in ([call("reading runs", 1, 1, "runs")], []):
        progress = Mock()
        summarize_runs(own.path.parent, progress)
        assert progress.mock_calls == expected


RUNS = [
    RunSummary(run="a", status="finished", source="s", parameters=3, epochs=5, validation=0.5, test=0.25, seconds=9),
    RunSummary(run="b", status="unfinished", source="s"),
    RunSummary(run="c", status="finished", source="s", parameters=2, epochs=7, validation=0.75, test=0.0, seconds=8),
    RunSummary(run="d", status="finished", source="s", parameters=9, epochs=1, validation=0.25, seconds=7),
]


@pytest.mark.parametrize(
    ("column", "order", "reversed_order"),
    [
        ("name", "abcd", "dcba"),
        ("validation", "cadb", "dacb"),
        ("test", "acbd", "cabd"),
        ("parameters", "cadb", "dacb"),
        ("seconds", "dcab", "acdb"),
        ("epochs", "dacb", "cadb"),
    ],
)
def test_the_best_is_first_and_what_has_no_figure_last(column: str, order: str, reversed_order: str) -> None:
    assert "".join(run.run for run in sort_runs(RUNS, column)) == order
    assert "".join(run.run for run in sort_runs(RUNS, column, reverse=True)) == reversed_order


def test_every_column_can_be_sorted_by() -> None:
    assert all(len(sort_runs(RUNS, column)) == len(RUNS) for column in SORT_KEYS)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs whose records are read; what was just written counts as settled."""
    names: list[str] = []
    whole = summary._summarize_run

    def reading(path: Path) -> RunSummary:
        names.append(path.name)
        return whole(path)

    monkeypatch.setattr(summary, "_summarize_run", reading)
    monkeypatch.setattr(summary, "SETTLED_NS", -1)
    return names


def _replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _renamed(runs: Path) -> None:
    (runs / "b").rename(runs / "z")


def _swapped(runs: Path) -> None:
    for old, new in (("a", "x"), ("b", "a"), ("x", "b")):
        (runs / old).rename(runs / new)


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (lambda _: None, []),
        (lambda runs: _replaced(runs / "b" / "result.json", '"epochs": 4.0', '"epochs": 3.0'), ["b"]),  # as large
        (lambda runs: _replaced(runs / "b" / "recipe.toml", "seed = 0", "seed = 1"), ["b"]),
        (lambda runs: (runs / "b" / "result.json").unlink(), ["b"]),
        (lambda runs: shutil.copy(runs / "a" / "result.json", runs / "cut"), ["cut"]),
        (lambda runs: shutil.copytree(runs / "a", runs / "c"), ["c"]),
        (lambda runs: shutil.rmtree(runs / "b"), []),
        (_renamed, ["z"]),
        (_swapped, ["a", "b"]),
    ],
    ids=["nothing", "edited", "another seed", "unfinished", "finished", "new", "removed", "renamed", "swapped"],
)
def test_only_what_has_changed_is_read_again(
    change: Callable[[Path], object], again: list[str], own: RunFolder, read: list[str]
) -> None:
    runs = own.path.parent
    for name in ("b", "cut"):
        shutil.copytree(own.path, runs / name)
    own.path.rename(runs / "a")
    (runs / "cut" / "result.json").unlink()
    summarize_runs(runs)
    change(runs)
    read.clear()
    found = summarize_runs(runs)
    assert read == again
    (runs / summary.SUMMARIES_FILE).unlink()
    assert found == summarize_runs(runs)  # as without what is kept


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b'{"version": 0, "runs": {}}', b'{"version": 1, "runs": {"a": 3}}']
)
def test_a_broken_file_of_summaries_is_made_anew(content: bytes, own: RunFolder, read: list[str]) -> None:
    found, kept = summarize_runs(own.path.parent), own.path.parent / summary.SUMMARIES_FILE
    whole = kept.read_bytes()
    kept.write_bytes(content)
    assert summarize_runs(own.path.parent) == found
    assert kept.read_bytes() == whole
    assert read == [own.name] * 2


def test_runs_are_listed_where_no_summary_can_be_written_and_none_is_where_no_run_is(own: RunFolder) -> None:
    runs = own.path.parent
    (runs / summary.SUMMARIES_FILE).mkdir()  # as in a folder that may not be written to, which root may
    assert [run.run for run in summarize_runs(runs)] == [own.name]
    assert summarize_runs(runs / own.name) == []
    assert not (own.path / summary.SUMMARIES_FILE).exists()
    assert summarize_runs(runs / "nowhere") == []


def test_what_changed_a_moment_ago_or_is_damaged_is_not_kept(own: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second change within the same tick of the clock would leave the same stamp."""
    runs = own.path.parent
    summarize_runs(runs)
    assert not (runs / summary.SUMMARIES_FILE).exists()
    monkeypatch.setattr(summary, "SETTLED_NS", -1)
    shutil.copytree(own.path, runs / "damaged")
    (runs / "damaged" / "result.json").write_text("{")
    assert len(summarize_runs(runs)) == 2
    assert list(summary._read_cache(runs / summary.SUMMARIES_FILE)) == [own.name]


def _listed(runs: Path) -> list[str]:
    summary.SETTLED_NS = -1
    return [
        run.run
        for _ in range(20)
        for run in summarize_runs(runs)
        if (runs / summary.SUMMARIES_FILE).unlink(missing_ok=True) is None
    ]


@pytest.mark.full
def test_two_processes_at_once(own: RunFolder) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(_listed, [own.path.parent] * 2)
    assert found == [[own.name] * 20] * 2
