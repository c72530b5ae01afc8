"""`cnnlab test`: the test set of a trained run, opened once more and written down."""

from __future__ import annotations

import typer

from cnnlab.cli.options import DataFolder, Debug, Device, Json, RunPath, guarded


def register(app: typer.Typer) -> None:
    app.command("test")(guarded(open_test_set))


def open_test_set(
    run: RunPath, device: Device = "auto", data: DataFolder = None, json: Json = False, debug: Debug = False
) -> None:
    """Open the test set of a trained run; the opening goes into the ledger and the report."""
    from cnnlab.api import write_report
    from cnnlab.cli.console import progressing
    from cnnlab.cli.train import show_result
    from cnnlab.cli.watching import Watching
    from cnnlab.runs.folder import RunFolder
    from cnnlab.runs.run import open_test

    with progressing() as shown:
        listener = Watching(shown).listener()
        open_test(run, root=data, device=device, listener=listener)
        folder = RunFolder.open(run)
        write_report(folder, listener.say)
    show_result(folder, json)
