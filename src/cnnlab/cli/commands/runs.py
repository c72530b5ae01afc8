"""`cnnlab runs`: list and sort runs, or compare them with published figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cnnlab.cli.options import Debug, Json, RunsFolder, find_run, handle_errors
from cnnlab.cli.output.documents import FormatOrCsv, OutputFormat, choose_format, show_output
from cnnlab.errors import UsageError, did_you_mean

Chosen = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[RUN]...", help="Run folders, or folders of runs; by default all of --runs."),
]
TableName = Annotated[
    Literal["list", "final"],
    typer.Option("--table", help="final: train, validation and test loss and accuracy of each finished run."),
]
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
    chosen: Chosen = None,
    runs: RunsFolder = Path("runs"),
    table: TableName = "list",
    sort: Sort = "name",
    reverse: Reverse = False,
    claims: Claims = False,
    recipes: Recipes = None,
    json: Json = False,
    format_: FormatOrCsv = "text",
    debug: Debug = False,
) -> None:
    """List runs with their figures, newest last or sorted; or compare them with published figures."""
    output_format = choose_format(json, format_)
    paths = [find_run(path) for path in chosen or ()]
    if recipes is not None and not claims:
        raise UsageError("a list of runs needs no recipes", where="--recipes", next_step="add --claims")
    if (claims or table == "final") and (sort != "name" or reverse):
        what, where = ("claims", "--claims") if claims else ("final figures", "--table final")
        raise UsageError(f"{what} stand by recipe", where=where, next_step="leave --sort and --reverse out")
    if claims and (table == "final" or output_format == "csv"):
        given = "--table final" if table == "final" else "--format csv"
        raise UsageError(
            "claims have tables of their own",
            where="--claims",
            received=f"--claims {given}",
            next_step=f"leave --claims or {given} out",
        )
    if claims:
        _show_claims(runs, paths, recipes, output_format)
    elif table == "final":
        _show_final(runs, paths, output_format)
    else:
        _show_list(runs, paths, sort, reverse, output_format)


def _show_final(runs: Path, chosen: list[Path], output_format: OutputFormat) -> None:
    from cnnlab.cli.output.console import show
    from cnnlab.reports.runs_table import collect_final_table

    result = collect_final_table(runs, chosen)
    if result.runs or result.left_out or output_format != "text":
        show_output(result, output_format)
    else:
        show(_no_runs_message(runs))


def _show_list(runs: Path, chosen: list[Path], sort: str, reverse: bool, output_format: OutputFormat) -> None:
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
        result = sort_runs(summarize_runs(runs, progress, chosen=chosen), sort, reverse)
    if output_format == "json":
        show_json([summary.model_dump() for summary in result])
    elif result or output_format != "text":
        show_output(RunList(runs=tuple(result)), output_format)
    else:
        show(_no_runs_message(runs))


def _show_claims(runs: Path, chosen: list[Path], recipes: Path | None, output_format: OutputFormat) -> None:
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
    result = collect_results(runs, recipes, chosen)
    if result.experiments or result.left_out or output_format == "json":
        show_output(result, output_format, OPTIONAL_COLUMNS)
    else:
        show(_no_runs_message(runs))


def _no_runs_message(runs: Path) -> str:
    return f"no runs in {runs}; 'cnnlab train RECIPE' makes one"
