"""The runs of a folder at a glance. No torch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from cnnlab.atomic_io import atomic_write
from cnnlab.errors import CnnlabError
from cnnlab.records import Record

SUMMARIES_FILE = ".summaries.json"
# What a summary is read from; a folder with the first of them holds a run.
RECORD_FILES = ("recipe.toml", "result.json")
# Two changes in so short a time may leave the same stamp on a file.
SETTLED_NS = 2 * 10**9
DAMAGED = "damaged: "


class RunSummary(Record):
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
SORT_KEYS: dict[str, Callable[[RunSummary], Any]] = {
    "name": lambda run: run.run,
    "test": lambda run: None if run.test is None else -run.test,
    "validation": lambda run: None if run.validation is None else -run.validation,
    "parameters": lambda run: run.parameters,
    "seconds": lambda run: run.seconds,
    "epochs": lambda run: run.epochs,
}


def summarize_runs(runs: Path) -> list[RunSummary]:
    """Every run in a folder, by name, and so by time.

    What was read is kept in the folder's `.summaries.json`, with the stamps of the files that it is from; only runs
    whose files are others are read again. The file may be deleted at any time, and one that can't be read or written
    costs time alone.
    """
    kept: dict[str, _Entry] = _read_cache(runs / SUMMARIES_FILE)
    found: dict[str, _Entry] = {}
    now = time.time_ns()
    for name in sorted(_subfolders(runs)):
        stamps = tuple(_stamp(f"{runs}/{name}/{record}") for record in RECORD_FILES)
        if stamps[0] is None:
            continue  # no run
        entry = kept.get(name)
        if entry is None or entry.stamps != stamps:
            # The stamps were taken first: a file that changes while it is read has others afterwards.
            entry = _Entry(stamps=stamps, summary=_summarize_run(runs / name))
        found[name] = entry
    lasting = {name: entry for name, entry in found.items() if entry is kept.get(name) or entry.is_settled(now)}
    if lasting != kept:
        with suppress(CnnlabError):  # a folder that can't be written to is listed all the same
            atomic_write(runs / SUMMARIES_FILE, _File(runs=lasting).to_json().encode("utf-8"))
    return [entry.summary for entry in found.values()]


def sort_runs(found: Iterable[RunSummary], column: str, reverse: bool = False) -> list[RunSummary]:
    """Runs sorted by one of `SORT_KEYS`; those without the figure stand last, either way round."""
    runs, figure = list(found), SORT_KEYS[column]
    known = sorted((run for run in runs if figure(run) is not None), key=figure, reverse=reverse)
    return [*known, *(run for run in runs if figure(run) is None)]


def _summarize_run(path: Path) -> RunSummary:
    # What reads a run takes longer to load than thousands of kept summaries.
    from cnnlab.storage.run_folder import RunFolder

    folder = RunFolder(path)
    try:
        recipe, result = folder.recipe(), folder.result()
    except CnnlabError as error:
        return RunSummary(run=folder.name, status=f"{DAMAGED}{error.problems[0].what}", source="")
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


class _Entry(Record):
    """A summary, and the stamps of the files that it was read from."""

    stamps: tuple[tuple[int, ...] | None, ...]
    summary: RunSummary

    def is_settled(self, now: int) -> bool:
        """Whether any later change of the files shows in their stamps; a damaged run may be readable to other code."""
        times = [stamp[0] for stamp in self.stamps if stamp is not None]
        return now - max(times) > SETTLED_NS and not self.summary.status.startswith(DAMAGED)


class _File(Record):
    """The summaries of a folder's runs, by the names of their folders."""

    version: Literal[1] = 1
    runs: dict[str, _Entry]


def _read_cache(path: Path) -> dict[str, _Entry]:
    try:
        return _File.from_json(path.read_bytes()).runs
    except (OSError, ValidationError):
        return {}


def _subfolders(runs: Path) -> list[str]:
    try:
        with os.scandir(runs) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except OSError:
        return []


def _stamp(path: str) -> tuple[int, ...] | None:
    """What changes with a file: when it was changed, by the system's clock, and written to, its size, and which it is.

    None where there is no file.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 (a Path for each of 20,000 files takes longer than the look at them)
    except OSError:
        return None
    return (found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino)
