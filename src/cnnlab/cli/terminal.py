"""Text tables as a terminal shows them."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from cnnlab.report.tables import TextTable


def drawn(table: TextTable, title: str = "") -> Table:
    """A rich table of a text table; a person's words are never read as markup."""
    made = Table(title=Text(title) if title else None, title_justify="left", box=SIMPLE_HEAD, show_footer=table.total)
    *_, last = table.rows if table.rows else ((),)
    for number, column in enumerate(table.columns):
        footer = Text(last[number]) if table.total else ""
        justify = "right" if column.number else "left"
        made.add_column(column.title, footer=footer, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in table.rows[:-1] if table.total else table.rows:
        made.add_row(*map(Text, row))
    return made
