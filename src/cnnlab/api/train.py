"""Train a recipe, resume a run, or open its test set, and write the report."""

from __future__ import annotations

from pathlib import Path

from cnnlab.config.recipe import Recipe
from cnnlab.context import NO_CALLBACKS, Callbacks, RunContext
from cnnlab.distributed import is_main_process
from cnnlab.runs import final_evaluation
from cnnlab.runs import run as runs_run
from cnnlab.storage.run_folder import RunFolder


def train(
    recipe: Recipe | str | Path,
    *,
    name: str = "",
    file: str | Path | None = None,
    runs: str | Path = "runs",
    data: str | Path | None = None,
    device: str = "auto",
    callbacks: Callbacks = NO_CALLBACKS,
) -> RunFolder:
    """Train a recipe and write its report; under torchrun, in several processes.

    Args:
        recipe: a recipe, or the path of its file.
        name: the name of the run, beside its time; by default the file's name.
        file: that the recipe was read from, if `recipe` is not its path; kept in the run's provenance.
        runs: the folder in which the run folder is made.
        data: the folder of catalogue data; by default the cache folder.
        device: auto, cpu, cuda or mps.
        callbacks: called during the training.

    Returns:
        The run folder; `result()` has the figures, and `report.html` is in it.

    Raises:
        SpecError, SourceError, DownloadError: before a folder is made.
        RunError: the run folder can't be written to.
    """
    known = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe)
    path = file if isinstance(recipe, Recipe) else recipe
    file = Path(path) if path is not None else None
    name = name or (file.stem if file is not None else "run")
    context = RunContext.of(data, device, callbacks, runs)
    return _write_report(runs_run.run(known, context, name=name, file=file), callbacks)


def resume(
    run: str | Path,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    callbacks: Callbacks = NO_CALLBACKS,
) -> RunFolder:
    """Resume an interrupted run from the end of its last whole epoch, and write its report.

    Args:
        run: the run folder.
        data, device, callbacks: as in `train`.

    Raises:
        RunError: there is no such run, it has finished, or its files or data have changed.
    """
    context = RunContext.of(data, device, callbacks)
    return _write_report(runs_run.resume_run(Path(run), context), callbacks)


def open_test(
    run: str | Path,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    callbacks: Callbacks = NO_CALLBACKS,
) -> RunFolder:
    """Evaluate a finished run on its test set, record that in the ledger, and write its report.

    Args:
        run: the run folder.
        data, device, callbacks: as in `train`.

    Raises:
        RunError: the run has not finished, its data has no test split, or its weights are not those of its figures.
    """
    final_evaluation.open_test(Path(run), RunContext.of(data, device, callbacks))
    return _write_report(RunFolder.open(run), callbacks)


def _write_report(folder: RunFolder, callbacks: Callbacks) -> RunFolder:
    if is_main_process():
        from cnnlab.api.report import write_report  # Matplotlib is loaded after the training

        write_report(folder, callbacks.log)
    return folder
