"""Print a result: a document in the terminal, or JSON, Markdown, LaTeX or SVG on stdout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from cnnlab.errors import UsageError

if TYPE_CHECKING:
    from cnnlab.render.document import Document
    from cnnlab.render.result import Result

OutputFormat: TypeAlias = Literal["text", "json", "markdown", "latex", "csv", "svg"]
FORMAT_HELP = "What is printed; LaTeX needs amsmath and booktabs."
Format = Annotated[Literal["text", "json", "markdown", "latex"], typer.Option("--format", help=FORMAT_HELP)]
FormatOrCsv = Annotated[
    Literal["text", "json", "markdown", "latex", "csv"],
    typer.Option("--format", help=f"{FORMAT_HELP} csv is of one table, without its title and notes."),
]
FormatOrSvg = Annotated[
    Literal["text", "json", "markdown", "latex", "svg"],
    typer.Option("--format", help=f"{FORMAT_HELP} svg is the picture."),
]


def choose_format(json: bool, format: OutputFormat) -> OutputFormat:
    """Return the format of `--json` and `--format`.

    Raises:
        UsageError: they ask for different formats.
    """
    if json and format not in ("text", "json"):
        raise UsageError(
            "the output has one format", received=f"--json --format {format}", next_step="leave one of them out"
        )
    return "json" if json else format


def show_output(
    result: Result,
    output_format: OutputFormat,
    optional_columns: Sequence[str] = (),
    extra: dict[str, Any] | None = None,
) -> None:
    """Print a result in a format.

    Args:
        optional_columns: columns that a narrow terminal leaves out, in this order.
        extra: further fields of the JSON.
    """
    from cnnlab.cli.output.console import show_json, write

    if output_format == "json":
        show_json({**json.loads(result.to_json()), **(extra or {})})
    elif output_format == "svg":
        write(f"{result.svg()}\n")
    elif output_format == "markdown":
        write(result.document().to_markdown())
    elif output_format == "latex":
        write(result.document().to_latex())
    elif output_format == "csv":
        write(_to_csv(result.document()))
    else:
        show_document(result.document(), optional_columns)


def _to_csv(document: Document) -> str:
    """Return the one table of a document as CSV: numbers without separators of thousands, missing ones empty.

    Raises:
        UsageError: it has another number of tables.
    """
    from cnnlab.render.formatting import pluralize

    if len(document.tables) != 1:
        raise UsageError(
            "CSV holds one table",
            where="--format csv",
            received=f"'{document.title}', which has {pluralize(len(document.tables), 'table')}",
            allowed="the output of one table, such as that of 'cnnlab runs --table final'",
            next_step="print --format json instead",
        )
    return document.tables[0][1].to_csv()


def show_document(document: Document, optional_columns: Sequence[str] = ()) -> None:
    """Print a document in the terminal."""
    from rich.padding import Padding
    from rich.text import Text

    from cnnlab.cli.output.console import console, show
    from cnnlab.cli.output.text_tables import hidden_columns, rich_table

    show(Text(document.title, style="bold"))
    for line in document.lines:
        show(Text(line) if isinstance(line, str) else Padding(Text(line.text, style="cyan"), (0, 0, 0, 4)))
    for title, table in document.tables:
        # A title wider than its table would be folded to the table's width.
        alone = console().measure(rich_table(table, "", optional_columns)).maximum < len(title)
        if alone:
            show(Text(title, style="bold"))
        show(rich_table(table, "" if alone else title, optional_columns))
        if missing := hidden_columns(table, optional_columns):
            left_out = f"Left out, since the terminal is narrow: {', '.join(missing)}."
            show(Text(f"{left_out} --format markdown and --json have all.", style="dim"))
    for note in document.notes:
        show(Text(note))
