"""`cnnlab test`: evaluate a trained run on its test set, and record the opening in the ledger."""

from __future__ import annotations

import typer

from cnnlab.cli.options import DataFolder, Debug, Device, Json, RunPath, find_run, handle_errors


def register(app: typer.Typer) -> None:
    app.command("test")(handle_errors(open_test_set))


def open_test_set(
    run: RunPath, device: Device = "auto", data: DataFolder = None, json: Json = False, debug: Debug = False
) -> None:
    """Evaluate a trained run on its test set; the evaluation is recorded in the ledger and the report."""
    from cnnlab.storage.run_folder import RunFolder

    folder = RunFolder.open(find_run(run))
    from cnnlab.api.train import open_test
    from cnnlab.cli.commands.train import show_result
    from cnnlab.cli.output.console import progress_reporter
    from cnnlab.cli.output.progress_bars import RunProgressBar
    from cnnlab.storage.test_ledger import openings

    with progress_reporter() as shown:
        callbacks = RunProgressBar(shown).callbacks()
        open_test(folder.path, data=data, device=device, callbacks=callbacks)
        times = len(openings(folder.path.parent, folder.data().test_set))
        callbacks.log(f"this test set has been opened {times} times, by all runs in {folder.path.parent}")
    show_result(folder, json)
