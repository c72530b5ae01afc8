"""`cnnlab runs`: the runs of a folder, listed and sorted, or set beside what was published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnlab.cli.options import Debug, Json, RunsFolder, guarded
from cnnlab.cli.output.documents import Form, Latex, Markdown, show_answer
from cnnlab.errors import UsageError, nearest

if TYPE_CHECKING:
    from cnnlab.render.tables import TextTable
    from cnnlab.runs.index.summary import Summary

Sort = Annotated[str, typer.Option(metavar="COLUMN", help="name, test, validation, parameters, seconds or epochs.")]
Reverse = Annotated[bool, typer.Option("--reverse", help="The other way round.")]
Claims = Annotated[
    bool, typer.Option("--claims", help="Seeds of one recipe together, and published figures beside measured ones.")
]
Recipes = Annotated[
    Path | None,
    typer.Option(
        "--recipes", help="With --claims: where the trained recipes lie; else cnnlab's own.", show_default=False
    ),
]
# What a narrow terminal goes without, the first to go first.
SPARE = ("precision", "images/s", "95 % interval", "trained on", "seeds", "interval or range")

# Of more runs than these a table is not fitted to the terminal, which takes a millisecond a row.
MOST_FOLDED = 200


def register(app: typer.Typer) -> None:
    app.command("runs")(guarded(list_runs))


def list_runs(
    runs: RunsFolder = Path("runs"),
    sort: Sort = "name",
    reverse: Reverse = False,
    claims: Claims = False,
    recipes: Recipes = None,
    json: Json = False,
    markdown: Markdown = False,
    latex: Latex = False,
    debug: Debug = False,
) -> None:
    """List runs with their figures: the newest last, or the best first; or set them beside published ones."""
    form = Form(json=json, markdown=markdown, latex=latex)
    if not claims:
        if recipes is not None:
            raise UsageError("a list of runs needs no recipes", where="--recipes", next_step="add --claims")
        _show_list(runs, sort, reverse, form)
    elif sort == "name" and not reverse:
        _show_claims(runs, recipes, form)
    else:
        raise UsageError("claims stand by recipe", where="--claims", next_step="leave --sort and --reverse out")


def _show_list(runs: Path, sort: str, reverse: bool, form: Form) -> None:
    from cnnlab.cli.output.console import show, show_json, write
    from cnnlab.cli.output.text_tables import drawn, plain
    from cnnlab.render.document import Sheet
    from cnnlab.runs.index.summary import SORTS, sort_runs, summaries

    if sort not in SORTS:
        raise UsageError(
            f"unknown column '{sort}'", where="--sort", allowed=", ".join(SORTS), next_step=nearest(sort, SORTS)
        )
    found = sort_runs(summaries(runs), sort, reverse)
    if form.json:
        show_json([summary.model_dump() for summary in found])
    elif form.markdown or form.latex:
        sheet = Sheet("Runs", tables=(("", _table(found)),))
        write(sheet.to_markdown() if form.markdown else sheet.to_latex())
    elif len(found) > MOST_FOLDED:
        write(f"{plain(_table(found))}\n")
    elif found:
        show(drawn(_table(found)))
    else:
        show(_no_runs(runs))


def _show_claims(runs: Path, recipes: Path | None, form: Form) -> None:
    from cnnlab.cli.output.console import show
    from cnnlab.reports.runs_table import results

    if recipes is not None and not recipes.is_dir():
        raise UsageError(
            "there is no such folder",
            where="--recipes",
            received=str(recipes),
            allowed="a folder of recipes",
            next_step="leave it out for the recipes that come with cnnlab",
        )
    found = results(runs, recipes)
    if found.experiments or found.left_out or form.json:
        show_answer(found, form, SPARE)
    else:
        show(_no_runs(runs))


def _no_runs(runs: Path) -> str:
    return f"no runs in {runs}; 'cnnlab train RECIPE' makes one"


def _table(found: list[Summary]) -> TextTable:
    from cnnlab.render import formatting
    from cnnlab.render.tables import Column, TextTable

    def cell(value: float | None, number: formatting.Number) -> str:
        return formatting.NONE if value is None else number(value)

    rows = [
        (
            run.run,
            run.status,
            run.source,
            cell(run.parameters, formatting.count),
            cell(run.epochs, formatting.epoch),
            cell(run.validation, formatting.fraction),
            cell(run.test, formatting.fraction),
            cell(run.seconds, formatting.duration),
        )
        for run in found
    ]
    numbers = ("parameters", "epochs", "validation", "test", "time")
    columns = (Column("run"), Column("status"), Column("data"), *(Column(name, number=True) for name in numbers))
    return TextTable(columns, tuple(rows))
