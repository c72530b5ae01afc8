"""How a worked answer leaves a command: a sheet in the terminal, or as JSON, Markdown, LaTeX or SVG on stdout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnnlab.errors import UsageError

if TYPE_CHECKING:
    from cnnlab.render.document import Answer, Sheet

Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown.")]
Latex = Annotated[bool, typer.Option("--latex", help="Print LaTeX (amsmath, booktabs).")]
Svg = Annotated[bool, typer.Option("--svg", help="Print the picture as SVG: … --svg > picture.svg")]


@dataclass(frozen=True)
class Form:
    """The form that a person asked for; at most one.

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


def show_answer(answer: Answer, form: Form, spare: Sequence[str] = (), extra: dict[str, Any] | None = None) -> None:
    """Print an answer in the form that was asked for.

    Args:
        spare: columns that a narrow terminal goes without.
        extra: fields beside the answer's own in its JSON.
    """
    from cnnlab.cli.output.console import show_json, write

    if form.json:
        show_json({**json.loads(answer.to_json()), **(extra or {})})
    elif form.svg:
        write(f"{answer.svg()}\n")  # type: ignore[attr-defined]
    elif form.markdown:
        write(answer.sheet().to_markdown())
    elif form.latex:
        write(answer.sheet().to_latex())
    else:
        show_sheet(answer.sheet(), spare)


def show_sheet(sheet: Sheet, spare: Sequence[str] = ()) -> None:
    """Print a sheet in the terminal."""
    from rich.padding import Padding
    from rich.text import Text

    from cnnlab.cli.output.console import console, show
    from cnnlab.cli.output.text_tables import drawn, left_out

    show(Text(sheet.title, style="bold"))
    for line in sheet.lines:
        show(Text(line) if isinstance(line, str) else Padding(Text(line.text, style="cyan"), (0, 0, 0, 4)))
    for title, table in sheet.tables:
        # A title that is wider than its table would be folded to the width of the columns.
        alone = console().measure(drawn(table, "", spare)).maximum < len(title)
        if alone:
            show(Text(title, style="bold"))
        show(drawn(table, "" if alone else title, spare))
        if missing := left_out(table, spare):
            show(
                Text(f"Left out for want of width: {', '.join(missing)}. --markdown and --json have all.", style="dim")
            )
    for note in sheet.notes:
        show(Text(note))
