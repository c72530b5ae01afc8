"""Summaries of the runs of a folder. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cnnlab.errors import CnnlabError
from cnnlab.records import Record
from cnnlab.runs.index.run_index import RunIndex
from cnnlab.storage.run_folder import RunFolder, list_runs


class RunSummary(Record):
    """One run; figures are None if it has not finished or did not evaluate them."""

    run: str
    status: str
    source: str
    parameters: int | None = None
    epochs: float | None = None
    validation: float | None = None
    test: float | None = None
    seconds: float | None = None
    seed: int | None = None


# The sort key of each column: accuracies in descending order, others in ascending order; None: no figure.
SORT_KEYS: dict[str, Callable[[RunSummary], Any]] = {
    "name": lambda run: run.run,
    "test": lambda run: None if run.test is None else -run.test,
    "validation": lambda run: None if run.validation is None else -run.validation,
    "parameters": lambda run: run.parameters,
    "seconds": lambda run: run.seconds,
    "epochs": lambda run: run.epochs,
}


def summarize_runs(
    runs: Path, progress: Callable[[str, int, int, str], None] | None = None, *, chosen: Iterable[Path] = ()
) -> list[RunSummary]:
    """Summarize the runs of a folder, by name, and so by time; `progress` is called for each.

    Args:
        chosen: paths of run folders, or of folders that hold runs; these are summarized instead.
    """
    paths = list(chosen)
    folders, summaries = RunIndex.of_paths(paths).folders if paths else list_runs(runs), list[RunSummary]()
    for number, folder in enumerate(folders, 1):
        summaries.append(_summarize_run(folder))
        if progress is not None:
            progress("reading runs", number, len(folders), "runs")
    return summaries


def sort_runs(found: Iterable[RunSummary], column: str, reverse: bool = False) -> list[RunSummary]:
    """Sort runs by one of `SORT_KEYS`; runs without the figure are last, also in reverse."""
    runs, figure = list(found), SORT_KEYS[column]
    known = sorted((run for run in runs if figure(run) is not None), key=figure, reverse=reverse)
    return [*known, *(run for run in runs if figure(run) is None)]


def _summarize_run(folder: RunFolder) -> RunSummary:
    try:
        recipe, result = folder.recipe(), folder.result()
    except CnnlabError as error:
        return RunSummary(run=folder.name, status=f"damaged: {error.problems[0].what}", source="")
    if result is None:
        return RunSummary(run=folder.name, status="unfinished", source=recipe.data.source, seed=recipe.train.seed)
    return RunSummary(
        run=folder.name,
        status=result.status,
        source=recipe.data.source,
        parameters=result.parameters,
        epochs=result.epochs,
        validation=result.validation.accuracy if result.validation else None,
        test=result.test.accuracy if result.test else None,
        seconds=result.seconds,
        seed=recipe.train.seed,
    )
