"""What the commands print, and where."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cnnlab.cli.output import console
from cnnlab.cli.output.console import ProgressReporter, SafeConsole, log, progress_reporter, show, show_error, show_json
from cnnlab.errors import Problem, SpecError


def test_json_has_no_numbers_that_json_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"loss": float("nan"), "deep": [{"high": float("inf")}, -float("inf")], "text": "NaN", "fine": 1e300})
    printed = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert printed == {"loss": None, "deep": [{"high": None}, None], "text": "NaN", "fine": 1e300}


def test_several_problems_are_counted_and_each_told(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(
        SpecError.from_problems([Problem("one [bold]thing[/bold]", "a.b", "x", "y", "z"), Problem("another", "c")])
    )
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
    with progress_reporter() as shown:
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
    shown = ProgressReporter(None)
    for done in (0, 20, 0, 20):
        shown("decoding", done, 20, "images")
    assert [line.split(", ")[-1] for line in capsys.readouterr().err.splitlines()] == ["10 images/s", "20 images/s"]


def test_the_speed_of_a_resumed_run_does_not_count_what_was_done_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 10.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    shown = ProgressReporter(None)
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


# What a terminal may obey: an escape sequence, C1's CSI, a bell, and marks that turn the direction of writing.
ORDERS = "\x1b\x9b\a\x7f\u202e\u2067\u200f"
NAME = f"cat{ORDERS}[31m"


def test_names_give_a_terminal_no_orders(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(NAME, title=NAME)
    table.add_row(NAME)
    show(NAME, Text(NAME), table)
    log(NAME)
    show_error(SpecError(f"no {NAME}", where=NAME, received=NAME))
    ProgressReporter(None)(NAME, 1, 1, "images", NAME)
    shown = capsys.readouterr()
    assert "cat" in shown.out
    assert "[31m" in shown.err
    assert not set(ORDERS) & set(shown.out + shown.err)
    show_json({NAME: "é"})
    printed = capsys.readouterr().out
    assert not set(ORDERS) & set(printed)
    assert "é" in printed
    assert json.loads(printed) == {NAME: "é"}


def test_on_a_terminal_styles_and_bars_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    made = SafeConsole(file=io.StringIO(), force_terminal=True, width=60, color_system="standard")
    monkeypatch.setattr(console, "console", lambda *, stderr: made if stderr else None)
    show_error(SpecError(f"no {NAME}"))
    with progress_reporter() as shown:
        shown(f"reading {NAME}", 1, 2, "images")
        shown.log(NAME)
    printed = made.file.getvalue()
    assert "\x1b[1;31m" in printed
    assert "reading cat" in printed
    assert "\x1b[31m" not in printed.replace("\x1b[31m✗", "")
    assert not set(ORDERS[1:]) & set(printed)
