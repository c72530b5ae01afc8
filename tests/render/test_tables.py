"""Text tables: heads by their signs, columns left out."""

from __future__ import annotations

import csv
import io

from cnnlab.render.tables import Column, TextTable, parse_columns

TABLE = TextTable.from_rows(["name", "`layer", "#size"], [["conv1", "conv(8, 3)", "30"], ["sum", "", "30"]], total=True)


def test_signs_of_titles_say_what_a_column_holds() -> None:
    assert parse_columns("name", "`layer", "#size") == (
        Column("name"),
        Column("layer", code=True),
        Column("size", number=True),
    )
    assert TABLE.columns == parse_columns("name", "`layer", "#size")
    assert TABLE.rows == (("conv1", "conv(8, 3)", "30"), ("sum", "", "30"))


def test_columns_can_be_left_out() -> None:
    smaller = TABLE.drop_columns(["layer", "no such column"])
    assert [column.title for column in smaller.columns] == ["name", "size"]
    assert smaller.rows == (("conv1", "30"), ("sum", "30"))
    assert smaller.total
    assert TABLE.drop_columns([]) == TABLE


def test_csv_has_plain_numbers_and_quotes_text() -> None:
    table = TextTable.from_rows(("name", "#parameters", "#loss"), [('a, "b"', "390,410", "–"), ("c", "5", "0.25")])
    assert list(csv.reader(io.StringIO(table.to_csv()))) == [
        ["name", "parameters", "loss"],
        ['a, "b"', "390410", ""],
        ["c", "5", "0.25"],
    ]


def test_no_text_of_a_csv_is_a_formula() -> None:
    table = TextTable.from_rows(("name", "#change"), [("=cmd()", "+1,200"), ("@here", "-3"), ("plain", "4")])
    assert table.to_csv().splitlines() == ["name,change", "'=cmd(),+1200", "'@here,-3", "plain,4"]
