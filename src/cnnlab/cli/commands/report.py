"""`cnnlab report`: write the report of a run, study or search again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnnlab.cli.options import Debug, Json, find_run, handle_errors

RunOrStudy = Annotated[
    Path, typer.Argument(metavar="RUN", help="The folder of a run, a study or a search.", show_default=False)
]


def register(app: typer.Typer) -> None:
    app.command()(handle_errors(report))


def report(run: RunOrStudy, json: Json = False, debug: Debug = False) -> None:
    """Write report.html of a run, a study or a search again from its folder."""
    from cnnlab.storage.run_folder import RunFolder

    folder = find_run(run)
    is_study, is_search = ((folder / name).is_file() for name in ("study.toml", "search.toml"))
    known = None if is_study or is_search else RunFolder.open(folder)
    from cnnlab.api.report import write_report, write_study_report, write_tuning_report
    from cnnlab.cli.output.console import log, show, show_json

    if known is not None:
        path = write_report(known, log)
    else:
        path = write_study_report(folder) if is_study else write_tuning_report(folder)
    if json:
        show_json({"report": str(path)})
    else:
        show(f"report: {path}")
