"""How a result leaves a command: a document in the terminal, or as JSON, Markdown, LaTeX or SVG on stdout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnnlab.errors import UsageError

if TYPE_CHECKING:
    from cnnlab.render.document import Document, Renderable

Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown.")]
Latex = Annotated[bool, typer.Option("--latex", help="Print LaTeX (amsmath, booktabs).")]
Svg = Annotated[bool, typer.Option("--svg", help="Print the picture as SVG: … --svg > picture.svg")]


@dataclass(frozen=True)
class OutputFormat:
    """The output format that was asked for; at most one.

    Raises:
        UsageError: more than one.
    """

    json: bool = False
    markdown: bool = False
    latex: bool = False
    svg: bool = False

    def __post_init__(self) -> None:
        wanted = [f"--{name}" for name, on in vars(self).items() if on]
        if len(wanted) > 1:
            raise UsageError("an answer has one form", received=" ".join(wanted), next_step=f"keep {wanted[0]} alone")


def show_output(
    result: Renderable,
    output_format: OutputFormat,
    optional_columns: Sequence[str] = (),
    extra: dict[str, Any] | None = None,
) -> None:
    """Print a result in the format that was asked for.

    Args:
        optional_columns: columns that a narrow terminal goes without.
        extra: fields beside the result's own in its JSON.
    """
    from cnnlab.cli.output.console import show_json, write

    if output_format.json:
        show_json({**json.loads(result.to_json()), **(extra or {})})
    elif output_format.svg:
        write(f"{result.svg()}\n")  # type: ignore[attr-defined]
    elif output_format.markdown:
        write(result.document().to_markdown())
    elif output_format.latex:
        write(result.document().to_latex())
    else:
        show_document(result.document(), optional_columns)


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
        # A title that is wider than its table would be folded to the width of the columns.
        alone = console().measure(rich_table(table, "", optional_columns)).maximum < len(title)
        if alone:
            show(Text(title, style="bold"))
        show(rich_table(table, "" if alone else title, optional_columns))
        if missing := hidden_columns(table, optional_columns):
            show(
                Text(f"Left out for want of width: {', '.join(missing)}. --markdown and --json have all.", style="dim")
            )
    for note in document.notes:
        show(Text(note))
