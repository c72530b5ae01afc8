"""Text tables in the terminal."""

from __future__ import annotations

import pytest
from rich.console import Console

from cnnlab.cli.output.text_tables import hidden_columns, rich_table
from cnnlab.render.tables import TextTable


@pytest.mark.parametrize("rows", [[], [["a", "1"], ["", "22"]]])
@pytest.mark.parametrize("titles", [["", "#long title"], ["name", "#"], ["", ""]])
@pytest.mark.parametrize("width", [4, 80])
def test_a_column_may_have_no_title(
    titles: list[str], rows: list[list[str]], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnlab.cli.output.text_tables.console", lambda: Console(width=width))
    made = rich_table(TextTable.from_rows(titles, rows), optional_columns=("long title",))
    console = Console(width=80)
    with console.capture() as shown:
        console.print(made)
    kept = (
        [row[0] for row in rows] if width < 10 and "#long title" in titles else [cell for row in rows for cell in row]
    )
    assert [cell for cell in shown.get().split() if cell in ("a", "1", "22")] == [cell for cell in kept if cell]


def test_columns_that_a_narrow_terminal_goes_without_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    table = TextTable.from_rows(["name", "formula", "#jump"], [["conv1", "5·5·3·32 + 32", "1"]])
    for width, missing in ((80, []), (26, ["jump"]), (10, ["jump", "formula"])):
        monkeypatch.setattr("cnnlab.cli.output.text_tables.console", lambda width=width: Console(width=width))
        assert sorted(hidden_columns(table, ["jump", "formula"])) == sorted(missing)
