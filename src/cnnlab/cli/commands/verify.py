"""`cnnlab verify`: judge published claims by runs, or recompute the figures of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnnlab.cli.options import DataFolder, Debug, Device, Json, RunsFolder, find_run, handle_errors
from cnnlab.cli.output.documents import Format, OutputFormat, choose_format, show_output
from cnnlab.errors import UsageError

Subjects = Annotated[
    list[Path],
    typer.Argument(metavar="FILE|RUN", help="A recipe, a study (its file or folder), or run folders."),
]
Recompute = Annotated[
    bool,
    typer.Option(
        "--recompute",
        help="Compute every figure of the runs again from their weights and data; exit 1 if one does not hold.",
    ),
]
# Columns that a narrow terminal leaves out, in this order.
OPTIONAL_COLUMNS = ("source", "95 % interval", "why")


def register(app: typer.Typer) -> None:
    app.command("verify")(handle_errors(verify_claims))


def verify_claims(
    subjects: Subjects,
    recompute: Recompute = False,
    device: Device = "auto",
    data: DataFolder = None,
    runs: RunsFolder = Path("runs"),
    json: Json = False,
    format_: Format = "text",
    debug: Debug = False,
) -> None:
    """Judge published claims by runs; or, with --recompute, compare the figures of runs with their own weights.

    A recipe's claims are judged by all its finished runs in --runs, a study's by its result there.
    """
    output_format = choose_format(json, format_)
    if recompute:
        _verify_runs(subjects, data, device, output_format)
        return
    from cnnlab.api.verify import verify

    show_output(verify([find_run(path) for path in subjects], runs=runs), output_format, OPTIONAL_COLUMNS)


def _verify_runs(paths: list[Path], data: Path | None, device: str, output_format: OutputFormat) -> None:
    from cnnlab.api.recompute import recompute
    from cnnlab.cli.output.console import progress_reporter

    if any(path.suffix == ".toml" for path in paths):
        raise UsageError(
            "--recompute takes runs",
            where="FILE|RUN",
            allowed="run folders, or a folder of them",
            next_step="leave --recompute out to judge the claims of a file",
        )
    with progress_reporter() as shown:
        result = recompute([find_run(path) for path in paths], data=data, device=device, callbacks=shown.callbacks())
    show_output(result, output_format, extra={"holds": result.all_match})
    if not result.all_match:
        raise typer.Exit(1)
