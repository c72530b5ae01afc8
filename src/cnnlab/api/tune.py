"""Run a hyperparameter search, and write its report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cnnlab.api.report import write_tuning_report
from cnnlab.config.search import Search
from cnnlab.context import NO_CALLBACKS, Callbacks, RunContext
from cnnlab.data.dataset_cache import DatasetCache
from cnnlab.reports.tuning import view as view
from cnnlab.tuning.plan import plan_search, summarize_tuning_plan
from cnnlab.tuning.result import TuningPlanSummary, TuningResult
from cnnlab.tuning.search import execute_search, tuning_folder


def tune(
    search: Search | str | Path,
    *,
    name: str = "",
    runs: str | Path = "runs",
    data: str | Path | None = None,
    device: str = "auto",
    jobs: int = 1,
    storage: str | None = None,
    callbacks: Callbacks = NO_CALLBACKS,
) -> TuningResult:
    """Run a search and write its report; finished trials are not repeated. It needs Optuna.

    Args:
        search: a search, or the path of its file.
        name: by default the file's name. Its folder is `runs`/tuning/`name`.
        runs: the folder of run folders.
        data: where catalogue data lives; by default the cache folder.
        device: auto, cpu, cuda or mps.
        jobs: the number of trials at a time.
        storage: an Optuna storage URL; by default a SQLite file in the search's folder.
        callbacks: called for progress.

    Returns:
        The result, which a notebook shows; `report.html` is in the search's folder.

    Raises:
        UsageError: Optuna is not installed, the storage can't be opened, or it has trials of another search.
        SpecError, SourceError, DownloadError: before anything is run.
        RunError: the runs folder can't be written to, or every trial failed.
    """
    known, called = Search.open(search, name)
    result = execute_search(known, called, RunContext.of(data, device, callbacks, runs), jobs=jobs, storage=storage)
    write_tuning_report(tuning_folder(Path(runs), result.study), result)
    return result


def plan_tuning(
    search: Search | str | Path,
    *,
    name: str = "",
    runs: str | Path = "runs",
    data: str | Path | None = None,
    device: str = "auto",
    callbacks: Callbacks = NO_CALLBACKS,
    measure: bool = False,
) -> TuningPlanSummary:
    """Plan a search: its runs, their time, and the difference that its confirmation finds. Nothing is trained.

    Other arguments and errors are those of `tune`.

    Args:
        measure: benchmark the extreme values; else times are estimated from multiply-adds and kept benchmarks.
    """
    known, called = Search.open(search, name)
    context = replace(RunContext.of(data, device, callbacks, runs), download=False)
    planned = plan_search(known, called, context, DatasetCache(context), quick=not measure)
    return summarize_tuning_plan(planned, measured=measure)
