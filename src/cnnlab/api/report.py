"""Write the report of a run, a study or a search."""

from __future__ import annotations

import shlex
from pathlib import Path

from cnnlab.atomic_io import atomic_write
from cnnlab.context import NO_CALLBACKS, Callbacks, LogFn, RunContext
from cnnlab.errors import RunError
from cnnlab.interpret.activations.feature_maps import inspect_activations
from cnnlab.interpret.activations.result import ActivationMaps
from cnnlab.interpret.layer_index import CONVOLUTIONS
from cnnlab.interpret.loaded_model import LoadedModel, load_target
from cnnlab.interpret.weights.compute import first_convolution
from cnnlab.reports.run.contents import ConfusionMatrix, RunView
from cnnlab.reports.run.page import render_run
from cnnlab.reports.study.page import render_study
from cnnlab.reports.tuning.page import render_tuning
from cnnlab.runs.claims import ClaimRun, judge_claims
from cnnlab.storage.run_folder import RunFolder
from cnnlab.storage.test_ledger import openings
from cnnlab.studies.folder import read_result, read_shifted_example
from cnnlab.studies.result import StudyResult
from cnnlab.tuning.result import TuningResult
from cnnlab.tuning.search import read_tuning


def write_report(folder: RunFolder, log: LogFn = NO_CALLBACKS.log) -> Path:
    """Write the report of a finished run and log its path.

    Raises:
        RunError: the run has not finished.
    """
    return _write_page(folder.path, render_run(make_run_view(folder, log)))


def make_run_view(folder: RunFolder, log: LogFn = NO_CALLBACKS.log) -> RunView:
    """Collect what a run's page shows; errors as in `write_report`."""
    result, data = folder.result(), folder.data()
    if result is None:
        step = f"finish it: cnnlab train --resume {folder.path}"
        raise RunError("this run has not finished", where=str(folder.path), next_step=step)
    model = None
    if result.train is not None:
        model = load_target(folder, None, RunContext(device="cpu", callbacks=Callbacks(log=log)))
    return RunView(
        name=folder.name,
        recipe=folder.recipe(),
        table=folder.table(),
        data=data,
        environment=folder.environment(),
        precision_config=folder.precision_config(),
        epochs=tuple(folder.epochs()),
        result=result,
        claims=judge_claims(folder.recipe().claims, [ClaimRun(result, folder.epochs)], data),
        openings=tuple(openings(folder.path.parent, data.test_set)),
        weights=None if model is None else first_convolution(model, log),
        activations=None if model is None else _activations(model, log),
        confusion=_confusion_matrix(folder),
        loaded=folder.loaded_weights(),
        features=folder.features(),
        provenance=folder.provenance(),
    )


def _activations(model: LoadedModel, log: LogFn) -> ActivationMaps | None:
    """Compute the feature maps of the first and last convolution for the example that the run keeps.

    Returns:
        None without a convolution or an example; if the example is damaged, the reason is logged.
    """
    try:
        example = model.example()
    except RunError as error:
        problem = error.problems[0]
        log(f"! the page shows no activations: {problem.where}: {problem.what}")
        return None
    has_maps = any(row.kind in CONVOLUTIONS for row in model.layers)
    return inspect_activations(model, example) if example is not None and has_maps else None


def _confusion_matrix(folder: RunFolder) -> ConfusionMatrix | None:
    for split in ("test", "validation"):
        predictions = folder.predictions(split)
        if predictions is not None:
            return ConfusionMatrix(split, predictions.confusion())
    return None


def write_study_report(folder: Path, result: StudyResult | None = None) -> Path:
    """Write a study's report and return its path.

    Args:
        folder: the study's folder.
        result: of the study; None: read it from the folder.

    Raises:
        RunError: the study has no result.
    """
    result, toml = result or read_result(folder), (folder / "study.toml").read_text(encoding="utf-8")
    command, example = _rerun_command("study", folder, "study.toml"), read_shifted_example(folder, result)
    return _write_page(folder, render_study(result, study_toml=toml, command=command, example=example))


def write_tuning_report(folder: Path, result: TuningResult | None = None) -> Path:
    """Write a search's report and return its path; arguments and errors as in `write_study_report`."""
    result, toml = result or read_tuning(folder), (folder / "search.toml").read_text(encoding="utf-8")
    command = _rerun_command("tune", folder, "search.toml")
    train_best = shlex.join(["cnnlab", "train", f"{_relative_path(folder)}/best.toml"])
    return _write_page(folder, render_tuning(result, search_toml=toml, command=command, train=train_best))


def _write_page(folder: Path, page: str) -> Path:
    path = folder / "report.html"
    atomic_write(path, page.encode("utf-8"))
    return path


def _rerun_command(command: str, folder: Path, file: str) -> str:
    """The command that runs a study or a search again from the folder above its runs folder."""
    runs = folder.resolve().parents[1].name
    return shlex.join(["cnnlab", command, f"{_relative_path(folder)}/{file}", "--name", folder.name, "--runs", runs])


def _relative_path(folder: Path) -> str:
    """A folder's path relative to the folder above its runs folder."""
    return "/".join(folder.resolve().parts[-3:])
