"""Tables in the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from cnnlab.cli.output.console import console
from cnnlab.render.tables import TextTable

GAP = 2


def rich_table(table: TextTable, title: str = "", optional_columns: Sequence[str] = ()) -> Table:
    """Return a rich table of a text table; cells are never read as markup.

    Args:
        optional_columns: columns that a narrow terminal leaves out, in this order.
    """
    table = _fit_to_width(table, optional_columns, console().width)
    rich = Table(
        title=Text(title, style="bold") if title else None,
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_footer=table.total,
    )
    *_, last = table.rows if table.rows else ((),)
    for number, column in enumerate(table.columns):
        footer = Text(last[number]) if table.total else ""
        justify: JustifyMethod = "right" if column.number else "left"
        # Numbers are not folded; a heading is at least as wide as its longest word.
        width = max(map(len, column.title.split()), default=0)
        cells = max((len(row[number]) for row in table.rows), default=0)
        rich.add_column(
            # Headings are folded here, since rich would fold the widest cells first.
            textwrap.fill(column.title, max(width, cells, 1)),
            footer=footer,
            justify=justify,
            overflow="fold",
            min_width=width,
            no_wrap=column.number and width == len(column.title),
        )
    for row in table.rows[:-1] if table.total else table.rows:
        rich.add_row(*map(Text, row))
    return rich


def hidden_columns(table: TextTable, optional_columns: Sequence[str]) -> list[str]:
    """Return the titles of the columns that `rich_table` leaves out on this terminal."""
    kept = _fit_to_width(table, optional_columns, console().width).columns
    return [column.title for column in table.columns if column not in kept]


def _fit_to_width(table: TextTable, optional_columns: Sequence[str], width: int) -> TextTable:
    """Return the table without as many optional columns as needed to be no wider than `width`."""
    for title in optional_columns:
        if _width(table) <= width:
            break
        table = table.drop_columns([title])
    return table


def _width(table: TextTable) -> int:
    rows = [*table.rows, tuple(max(column.title.split(), key=len, default="") for column in table.columns)]
    return sum(max(map(len, cells)) + GAP for cells in zip(*rows, strict=True))
