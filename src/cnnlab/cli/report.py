"""`cnnlab report`: the page of a run or a study, written anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnnlab.cli.options import Debug, Json, find_run, guarded

RunOrStudy = Annotated[
    Path, typer.Argument(metavar="RUN", help="The folder of a run, a study or a search.", show_default=False)
]


def register(app: typer.Typer) -> None:
    app.command()(guarded(report))


def report(run: RunOrStudy, json: Json = False, debug: Debug = False) -> None:
    """Write the report.html of a run, a study or a search anew, from what its folder holds."""
    from cnnlab.api import write_report, write_study_report, write_tuning_report
    from cnnlab.cli.console import say, show, show_json
    from cnnlab.runs.folder import RunFolder

    folder = find_run(run)
    if (folder / "study.toml").is_file():
        path = write_study_report(folder)
    elif (folder / "search.toml").is_file():
        path = write_tuning_report(folder)
    else:
        path = write_report(RunFolder.open(folder), say)
    if json:
        show_json({"report": str(path)})
    else:
        show(f"report: {path}")
