"""`cnnlab runs`: the runs of a folder, listed and sorted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnlab.cli.options import Debug, Json, RunsFolder, guarded
from cnnlab.errors import UsageError, nearest

if TYPE_CHECKING:
    from cnnlab.paper.tables import TextTable
    from cnnlab.runs.summary import Summary

Sort = Annotated[str, typer.Option(metavar="COLUMN", help="name, test, validation, parameters, seconds or epochs.")]
Reverse = Annotated[bool, typer.Option("--reverse", help="The other way round.")]


def register(app: typer.Typer) -> None:
    app.command("runs")(guarded(list_runs))


def list_runs(
    runs: RunsFolder = Path("runs"),
    sort: Sort = "name",
    reverse: Reverse = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List runs with their figures; the newest last, or sorted by a column, the best first."""
    from cnnlab.cli.console import show, show_json
    from cnnlab.cli.terminal import drawn
    from cnnlab.runs.summary import SORTS, sort_runs, summaries

    if sort not in SORTS:
        raise UsageError(
            f"unknown column '{sort}'", where="--sort", allowed=", ".join(SORTS), next_step=nearest(sort, SORTS)
        )
    found = sort_runs(summaries(runs), sort, reverse)
    if json:
        show_json([summary.model_dump() for summary in found])
    elif found:
        show(drawn(_table(found)))
    else:
        show(f"no runs in {runs}; 'cnnlab train RECIPE' makes one")


def _table(found: list[Summary]) -> TextTable:
    from cnnlab.paper import words
    from cnnlab.paper.tables import Column, TextTable

    def cell(value: float | None, number: words.Number) -> str:
        return words.NONE if value is None else number(value)

    rows = [
        (
            run.run,
            run.status,
            run.source,
            cell(run.parameters, words.count),
            cell(run.epochs, words.epoch),
            cell(run.validation, words.fraction),
            cell(run.test, words.fraction),
            cell(run.seconds, words.duration),
        )
        for run in found
    ]
    numbers = ("parameters", "epochs", "validation", "test", "time")
    columns = (Column("run"), Column("status"), Column("data"), *(Column(name, number=True) for name in numbers))
    return TextTable(columns, tuple(rows))
