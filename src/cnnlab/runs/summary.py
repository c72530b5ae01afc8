"""The runs of a folder at a glance. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cnnlab.errors import CnnlabError
from cnnlab.records import Record
from cnnlab.runs.folder import RunFolder, list_runs


class Summary(Record):
    """One run; figures are None where it has not finished or did not look."""

    run: str
    status: str
    source: str
    parameters: int | None = None
    epochs: float | None = None
    validation: float | None = None
    test: float | None = None
    seconds: float | None = None
    seed: int | None = None


# How each column sorts: accuracies with the best first, the rest with the smallest first; None: there is no figure.
SORTS: dict[str, Callable[[Summary], Any]] = {
    "name": lambda run: run.run,
    "test": lambda run: None if run.test is None else -run.test,
    "validation": lambda run: None if run.validation is None else -run.validation,
    "parameters": lambda run: run.parameters,
    "seconds": lambda run: run.seconds,
    "epochs": lambda run: run.epochs,
}


def summaries(runs: Path) -> list[Summary]:
    """Every run in a folder, by time."""
    return [_summary(folder) for folder in list_runs(runs)]


def sort_runs(found: Iterable[Summary], column: str, reverse: bool = False) -> list[Summary]:
    """Runs sorted by one of `SORTS`; those without the figure stand last, either way round."""
    runs, figure = list(found), SORTS[column]
    known = sorted((run for run in runs if figure(run) is not None), key=figure, reverse=reverse)
    return [*known, *(run for run in runs if figure(run) is None)]


def _summary(folder: RunFolder) -> Summary:
    try:
        recipe, result = folder.recipe(), folder.result()
    except CnnlabError as error:
        return Summary(run=folder.name, status=f"damaged: {error.problems[0].what}", source="")
    if result is None:
        return Summary(run=folder.name, status="unfinished", source=recipe.data.source, seed=recipe.train.seed)
    return Summary(
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
