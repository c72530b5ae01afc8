"""`cnnlab runs`: list and sort runs, or compare them with published figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnnlab.cli.options import Debug, Json, RunsFolder, handle_errors
from cnnlab.cli.output.documents import Format, OutputFormat, choose_format, show_output
from cnnlab.errors import UsageError, did_you_mean

Sort = Annotated[str, typer.Option(metavar="COLUMN", help="name, test, validation, parameters, seconds or epochs.")]
Reverse = Annotated[bool, typer.Option("--reverse", help="Reverse the order.")]
Claims = Annotated[
    bool, typer.Option("--claims", help="Seeds of one recipe together, and published figures beside measured ones.")
]
Recipes = Annotated[
    Path | None,
    typer.Option(
        "--recipes", help="With --claims: the folder of the recipes; by default those of cnnlab.", show_default=False
    ),
]
# Columns that a narrow terminal leaves out, in this order.
OPTIONAL_COLUMNS = ("precision", "images/s", "95 % interval", "trained on", "seeds", "interval or range")


def register(app: typer.Typer) -> None:
    app.command("runs")(handle_errors(list_runs))


def list_runs(
    runs: RunsFolder = Path("runs"),
    sort: Sort = "name",
    reverse: Reverse = False,
    claims: Claims = False,
    recipes: Recipes = None,
    json: Json = False,
    format_: Format = "text",
    debug: Debug = False,
) -> None:
    """List runs with their figures, newest last or sorted; or compare them with published figures."""
    output_format = choose_format(json, format_)
    if not claims:
        if recipes is not None:
            raise UsageError("a list of runs needs no recipes", where="--recipes", next_step="add --claims")
        _show_list(runs, sort, reverse, output_format)
    elif sort == "name" and not reverse:
        _show_claims(runs, recipes, output_format)
    else:
        raise UsageError("claims stand by recipe", where="--claims", next_step="leave --sort and --reverse out")


def _show_list(runs: Path, sort: str, reverse: bool, output_format: OutputFormat) -> None:
    from cnnlab.cli.output.console import progress_reporter, show, show_json
    from cnnlab.reports.runs_table import RunList
    from cnnlab.runs.index.summary import SORT_KEYS, sort_runs, summarize_runs

    if sort not in SORT_KEYS:
        raise UsageError(
            f"unknown column '{sort}'",
            where="--sort",
            allowed=", ".join(SORT_KEYS),
            next_step=did_you_mean(sort, SORT_KEYS),
        )
    with progress_reporter() as progress:
        result = sort_runs(summarize_runs(runs, progress), sort, reverse)
    if output_format == "json":
        show_json([summary.model_dump() for summary in result])
    elif result or output_format != "text":
        show_output(RunList(runs=tuple(result)), output_format)
    else:
        show(_no_runs_message(runs))


def _show_claims(runs: Path, recipes: Path | None, output_format: OutputFormat) -> None:
    from cnnlab.cli.output.console import show
    from cnnlab.reports.runs_table import collect_results

    if recipes is not None and not recipes.is_dir():
        raise UsageError(
            "there is no such folder",
            where="--recipes",
            received=str(recipes),
            allowed="a folder of recipes",
            next_step="leave it out for the recipes that come with cnnlab",
        )
    result = collect_results(runs, recipes)
    if result.experiments or result.left_out or output_format == "json":
        show_output(result, output_format, OPTIONAL_COLUMNS)
    else:
        show(_no_runs_message(runs))


def _no_runs_message(runs: Path) -> str:
    return f"no runs in {runs}; 'cnnlab train RECIPE' makes one"
