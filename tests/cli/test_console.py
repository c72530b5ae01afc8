"""What the commands print, and where."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from cnnlab.cli import console
from cnnlab.cli.console import Progressing, progressing, show_error, show_json
from cnnlab.errors import Problem, SpecError


def test_json_has_no_numbers_that_json_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"loss": float("nan"), "deep": [{"high": float("inf")}, -float("inf")], "text": "NaN", "fine": 1e300})
    printed = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert printed == {"loss": None, "deep": [{"high": None}, None], "text": "NaN", "fine": 1e300}


def test_several_problems_are_counted_and_each_told(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(SpecError.together([Problem("one [bold]thing[/bold]", "a.b", "x", "y", "z"), Problem("another", "c")]))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[0] == "2 problems"
    assert "✗ a.b: one [bold]thing[/bold]" in shown.err
    assert "  received: x\n  allowed:  y\n  next:     z\n" in shown.err


def test_without_a_terminal_progress_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 1.0, 6.0, 7.0, 10.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with progressing() as shown:
        for done in (0, 100, 600, 700, 1000):
            shown("training", done, 1000, "images", "loss 1.234")
    assert capsys.readouterr().err.splitlines() == [
        "training: 600 of 1,000 images, 100 images/s, loss 1.234",
        "training: 1,000 of 1,000 images, 100 images/s, loss 1.234",
    ]


def test_the_same_work_on_something_else_begins_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 2.0, 100.0, 101.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    shown = Progressing(None)
    for done in (0, 20, 0, 20):
        shown("decoding", done, 20, "images")
    assert [line.split(", ")[-1] for line in capsys.readouterr().err.splitlines()] == ["10 images/s", "20 images/s"]


def test_the_speed_of_a_resumed_run_does_not_count_what_was_done_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 10.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    shown = Progressing(None)
    for done in (1_000_000, 1_000_500):
        shown("training", done, 1_000_500, "images")
    assert capsys.readouterr().err.endswith(", 50 images/s\n")


def test_a_long_list_of_what_is_allowed_folds_under_its_own_column(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Console(file=io.StringIO(), force_terminal=True, width=30, color_system=None)
    monkeypatch.setattr(console, "console", lambda *, stderr: made if stderr else None)
    show_error(SpecError("wrong", allowed="one, two, three, four, five"))
    assert made.file.getvalue().splitlines() == [
        "✗ wrong",
        "  allowed:  one, two, three,",
        "            four, five",
    ]
