"""A run, a study or a search and then its report: what `train`, `run_study` and `tune` of `cnnlab` do."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

from cnnlab.atomic_io import atomic_write
from cnnlab.config.recipe import Recipe
from cnnlab.config.search import Search
from cnnlab.config.study import Study
from cnnlab.data.dataset_cache import DatasetCache
from cnnlab.data.sources.base import ProgressCallback, no_progress
from cnnlab.distributed import is_main_process
from cnnlab.errors import RunError
from cnnlab.interpret.activations.feature_maps import example_activations
from cnnlab.interpret.activations.feature_maps_view import ActivationMaps
from cnnlab.interpret.weights.compute import first_convolution
from cnnlab.reports.run.contents import ConfusionMatrix, RunView
from cnnlab.reports.run.page import render_run
from cnnlab.reports.study.answer import StudyPlanView, StudyView
from cnnlab.reports.study.page import render_study
from cnnlab.reports.tuning.answer import TuningView
from cnnlab.reports.tuning.page import render_tuning
from cnnlab.reports.verification.result import VerifiedRuns
from cnnlab.runs.callbacks import NO_CALLBACKS, RunCallbacks
from cnnlab.runs.claims import judge_claims
from cnnlab.runs.run import run
from cnnlab.runs.verify.recompute import find_runs, verify_run
from cnnlab.storage.run_folder import RunFolder
from cnnlab.storage.test_ledger import openings
from cnnlab.studies.folder import read_result, read_shifted_example, read_study_precision, study_folder, study_name
from cnnlab.studies.forecast import forecast
from cnnlab.studies.plan import make_plan
from cnnlab.studies.preregistration import check_study_name
from cnnlab.studies.runner import NO_STUDY_CALLBACKS as UNHEARD
from cnnlab.studies.runner import StudyCallbacks
from cnnlab.studies.study import execute_study
from cnnlab.studies.worker_pool import Executor, in_process
from cnnlab.tuning.search import NO_SEARCH_CALLBACKS, SearchCallbacks, execute_search, read_tuning, tuning_folder


def train(
    recipe: Recipe | str | Path,
    *,
    name: str = "",
    runs: str | Path = "runs",
    data: str | Path | None = None,
    device: str = "auto",
    callbacks: RunCallbacks = NO_CALLBACKS,
) -> RunFolder:
    """Train a recipe and write its report; in several processes where torchrun started them.

    Args:
        recipe: a recipe, or the path of its file.
        name: what the run is called beside its time; by default the file's name.
        runs: the folder in which the run folder is made.
        data: where catalogue data lives; by default the cache folder.
        device: auto, cpu, cuda or mps.
        callbacks: whoever wants to see the run while it goes on.

    Returns:
        The run folder; `result()` has the figures, and `report.html` lies in it.

    Raises:
        SpecError, SourceError, DownloadError: before a folder is made.
        RunError: the run folder can't be written to.
    """
    known = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe)
    called = name or ("run" if isinstance(recipe, Recipe) else Path(recipe).stem)
    root = Path(data) if data is not None else None
    folder = run(known, name=called, runs=Path(runs), root=root, device=device, callbacks=callbacks)
    if is_main_process():
        write_report(folder, callbacks.log)
    return folder


def recompute(
    runs: str | Path | Iterable[str | Path],
    *,
    data: str | Path | None = None,
    device: str = "auto",
    progress: ProgressCallback = no_progress,
) -> VerifiedRuns:
    """Recalculate runs, one's own or other people's: every figure that they report, from weights and data.

    Tables, split, normalisation, learning curve, predictions and figures are found again and held to what the folder
    says. Nothing in a run is changed; where it reports test figures, the look at its test set is a line in the ledger.

    Args:
        runs: run folders, folders of run folders, which need not be whole, or the folder of a study.
        data: where catalogue data lives; by default the cache folder.
        device: auto, cpu, cuda or mps.
        progress: is told how many runs are done.

    Raises:
        RunError: there is no run.
        UsageError: an unknown device.
    """
    given = [Path(runs)] if isinstance(runs, str | Path) else [Path(path) for path in runs]
    found: dict[Path, None] = {}
    for path in given:
        within = find_runs(path) or _runs_of_study(path)
        if not within:
            raise RunError("there is no run here", where=str(path), next_step="'cnnlab runs' lists the runs")
        found |= dict.fromkeys(inner.resolve() for inner in within)
    root, done = Path(data) if data is not None else None, []
    for number, path in enumerate(found):
        progress("recalculating", number, len(found), "runs")
        done.append(verify_run(path, root=root, device=device, progress=progress))
    progress("recalculating", len(found), len(found), "runs")
    return VerifiedRuns(runs=tuple(done))


def _runs_of_study(folder: Path) -> list[Path]:
    """The runs of a study, where the folder is one's."""
    if not (folder / "study.toml").is_file():
        return []
    result, runs = read_result(folder), folder.resolve().parents[1]
    confirmed = result.confirmation
    records = [seed for arm in result.arms for seed in arm.seeds]
    records += [*confirmed.runs, *confirmed.baseline_runs] if confirmed is not None else []
    return sorted({runs / record.run for record in records if record.run})


def write_report(folder: RunFolder, log: Callable[[str], None] = NO_CALLBACKS.log) -> Path:
    """Write a finished run's report anew, and say where it is.

    Raises:
        RunError: the run has not finished.
    """
    path = folder.path / "report.html"
    atomic_write(path, render_run(make_run_view(folder, log)).encode("utf-8"))
    return path


def run_study(
    study: Study | str | Path,
    *,
    name: str = "",
    runs: str | Path = "runs",
    data: str | Path | None = None,
    device: str = "auto",
    executor: Executor = in_process,
    any_code: bool = False,
    callbacks: StudyCallbacks = UNHEARD,
    file: Path | None = None,
) -> StudyView:
    """Carry out a study and write its report; what was done before is not done again.

    Args:
        study: a study, or the path of its file.
        name: what it is called; by default the file's name. Its folder is `runs`/studies/`name`.
        runs: the folder in which run folders are made.
        data: where catalogue data lives; by default the cache folder.
        device: auto, cpu, cuda or mps.
        executor: who carries the runs out: `cnnlab.studies.worker_pool.processes(2)` does two side by side.
        any_code: also take finished runs that another version of cnnlab's code made.
        callbacks: whoever wants to see the study while it goes on.
        file: that a study which is given as an object was read from; a study of its name from another one is refused.

    Returns:
        An answer that a notebook shows; `result` has the records, and `report.html` lies in the study's folder.

    Raises:
        SpecError, SourceError, DownloadError: before anything is run.
        RunError: another study has this name, or the runs folder can't be written to.
    """
    known = study if isinstance(study, Study) else Study.read(study)
    called = name or ("study" if isinstance(study, Study) else Path(study).stem)
    root = Path(data) if data is not None else None
    result = execute_study(
        known,
        called,
        runs=Path(runs),
        root=root,
        device=device,
        executor=executor,
        any_code=any_code,
        callbacks=callbacks,
        file=file if isinstance(study, Study) else Path(study),
    )
    write_study_report(study_folder(Path(runs), result.study))
    return StudyView(result)


def plan_study(
    study: Study | str | Path,
    *,
    name: str = "",
    runs: str | Path = "runs",
    data: str | Path | None = None,
    device: str = "auto",
    any_code: bool = False,
    progress: ProgressCallback = no_progress,
    file: Path | None = None,
) -> StudyPlanView:
    """What `run_study` would do: runs, time, and the differences that its seeds can find. Nothing is trained.

    Args and errors: those of `run_study`.
    """
    known = study if isinstance(study, Study) else Study.read(study)
    called = name or ("study" if isinstance(study, Study) else Path(study).stem)
    root = Path(data) if data is not None else None
    folder, shelf = study_folder(Path(runs), study_name(called)), DatasetCache(root, progress, download=False)
    check_study_name(folder, known, file if isinstance(study, Study) else Path(study))
    plan = make_plan(
        known, called, device=device, saved_precision=read_study_precision(folder), dataset_cache=shelf, quick=True
    )
    return StudyPlanView(forecast(plan, Path(runs), any_code))


def write_study_report(folder: Path) -> Path:
    """Write a study's report anew from what its folder holds, and say where it is.

    Raises:
        RunError: the study has no result.
    """
    path = folder / "report.html"
    result, toml = read_result(folder), (folder / "study.toml").read_text(encoding="utf-8")
    command = _rerun_command("study", folder, "study.toml")
    page = render_study(result, study_toml=toml, command=command, example=read_shifted_example(folder, result))
    atomic_write(path, page.encode("utf-8"))
    return path


def tune(
    search: Search | str | Path,
    *,
    name: str = "",
    runs: str | Path = "runs",
    data: str | Path | None = None,
    device: str = "auto",
    jobs: int = 1,
    storage: str | None = None,
    callbacks: SearchCallbacks = NO_SEARCH_CALLBACKS,
) -> TuningView:
    """Carry out a search and write its report; trials that were made before count. It needs Optuna.

    Args:
        search: a search, or the path of its file.
        name: what it is called; by default the file's name. Its folder is `runs`/tuning/`name`.
        runs: the folder in which run folders are made.
        data: where catalogue data lives; by default the cache folder.
        device: auto, cpu, cuda or mps.
        jobs: so many trials side by side.
        storage: an Optuna storage URL; by default a SQLite file in the search's folder.
        callbacks: whoever wants to see the search while it goes on.

    Returns:
        An answer that a notebook shows; `result` has the records, and `report.html` lies in the search's folder.

    Raises:
        UsageError: Optuna is not installed, the storage can't be opened, or it has trials of another search.
        SpecError, SourceError, DownloadError: before anything is run.
        RunError: the runs folder can't be written to, or every trial failed.
    """
    known = search if isinstance(search, Search) else Search.read(search)
    called = name or ("search" if isinstance(search, Search) else Path(search).stem)
    root = Path(data) if data is not None else None
    result = execute_search(
        known,
        called,
        runs=Path(runs),
        root=root,
        device=device,
        jobs=jobs,
        storage=storage,
        callbacks=callbacks,
    )
    write_tuning_report(tuning_folder(Path(runs), result.study))
    return TuningView(result)


def write_tuning_report(folder: Path) -> Path:
    """Write a search's report anew from what its folder holds, and say where it is.

    Raises:
        RunError: the search has no result.
    """
    path = folder / "report.html"
    result, toml = read_tuning(folder), (folder / "search.toml").read_text(encoding="utf-8")
    command = _rerun_command("tune", folder, "search.toml")
    train_best = shlex.join(["cnnlab", "train", f"{_relative_folder(folder)}/best.toml"])
    atomic_write(path, render_tuning(result, search_toml=toml, command=command, train=train_best).encode("utf-8"))
    return path


def make_run_view(folder: RunFolder, log: Callable[[str], None] = NO_CALLBACKS.log) -> RunView:
    """All that a run's page shows; errors as `write_report`."""
    result, data = folder.result(), folder.data()
    if result is None:
        step = f"finish it: cnnlab train --resume {folder.path}"
        raise RunError("this run has not finished", where=str(folder.path), next_step=step)
    return RunView(
        name=folder.name,
        recipe=folder.recipe(),
        table=folder.table(),
        data=data,
        environment=folder.environment(),
        precision_config=folder.precision_config(),
        epochs=tuple(folder.epochs()),
        result=result,
        claims=judge_claims(folder.recipe(), [result], data),
        openings=tuple(openings(folder.path.parent, data.test_set)),
        filters=first_convolution(folder, log) if result.train is not None else None,
        activations=_activations(folder, log) if result.train is not None else None,
        confusion=_confusion_matrix(folder),
        loaded=folder.loaded_weights(),
        features=folder.features(),
    )


def _rerun_command(command: str, folder: Path, file: str) -> str:
    """The command that does a study or a search again, given beside its runs folder."""
    runs = folder.resolve().parents[1].name
    return shlex.join(["cnnlab", command, f"{_relative_folder(folder)}/{file}", "--name", folder.name, "--runs", runs])


def _relative_folder(folder: Path) -> str:
    """A folder within its runs folder, seen from beside that."""
    return "/".join(folder.resolve().parts[-3:])


def _activations(folder: RunFolder, log: Callable[[str], None]) -> ActivationMaps | None:
    """What is made of the kept image; one that can't be used is told, and costs nothing but its section."""
    try:
        folder.example()
    except RunError as error:
        problem = error.problems[0]
        log(f"! the page shows no activations: {problem.where}: {problem.what}")
        return None
    return example_activations(folder, NO_CALLBACKS.log)


def _confusion_matrix(folder: RunFolder) -> ConfusionMatrix | None:
    for part in ("test", "validation"):
        predictions = folder.predictions(part)
        if predictions is not None:
            return ConfusionMatrix(part, predictions.confusion())
    return None
