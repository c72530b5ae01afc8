"""The runs of a folder at a glance."""

from __future__ import annotations

import shutil
from unittest.mock import Mock, call

import pytest

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


def test_reading_has_progress_and_without_runs_none(own: RunFolder) -> None:
    progress = Mock()
    summarize_runs(own.path.parent, progress)
    assert progress.mock_calls == [call("reading runs", 1, 1, "runs")]
    assert summarize_runs(own.path.parent / "nowhere") == []


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
