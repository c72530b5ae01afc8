"""`cnnlab report`: a run's page, written anew."""

from __future__ import annotations

import typer

from cnnlab.cli.options import Debug, Json, RunPath, find_run, guarded


def register(app: typer.Typer) -> None:
    app.command()(guarded(report))


def report(run: RunPath, json: Json = False, debug: Debug = False) -> None:
    """Write a run's report.html anew, from what its folder holds."""
    from cnnlab.api import write_report
    from cnnlab.cli.console import say, show, show_json
    from cnnlab.runs.folder import RunFolder

    path = write_report(RunFolder.open(find_run(run)), say)
    if json:
        show_json({"report": str(path)})
    else:
        show(f"report: {path}")
