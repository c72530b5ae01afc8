"""`cnnlab doctor`: the software and hardware of this machine, and problems with them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnnlab.cli.options import DataFolder, Debug, Json, RunsFolder, handle_errors


def register(app: typer.Typer) -> None:
    app.command()(handle_errors(doctor))


def doctor(
    data: DataFolder = None,
    runs: RunsFolder = Path("runs"),
    retune: Annotated[
        bool,
        typer.Option(
            "--retune",
            help="Forget the precision and memory format that were the fastest for each network, for example if the "
            "machine was busy when they were measured: the next training measures them again.",
        ),
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show versions, devices, memory, folders and the data on disk. Exit code 1 if something is wrong."""
    from cnnlab.api.doctor import run_doctor
    from cnnlab.cli.output.console import show, show_json

    report = run_doctor(runs, data, retune=retune)
    if json:
        show_json(report.model_dump())
    else:
        width = max(len(finding.name) for finding in report.findings)
        for finding in report.findings:
            show(f"{'✓' if finding.ok else '✗'} {finding.name:<{width}}  {finding.value}")
            if finding.next_step:
                show(f"  {'':<{width}}  next: {finding.next_step}")
    if not all(finding.ok for finding in report.findings):
        raise typer.Exit(1)
