"""Summaries of the runs of a folder, cached in the folder. No torch."""

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
# The files that a summary is read from; a folder with the first of them is a run.
RECORD_FILES = ("recipe.toml", "result.json")
# Two changes of a file within this time may leave the same stamp.
SETTLED_NS = 2 * 10**9
DAMAGED = "damaged: "


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


def summarize_runs(runs: Path, progress: Callable[[str, int, int, str], None] | None = None) -> list[RunSummary]:
    """Summarize every run in a folder, by name, and so by time.

    Summaries are cached in the folder's `.summaries.json` with the stamps of the files that they are read from; runs
    whose files have changed are read again, with calls of `progress`. The cache may be deleted, unreadable or not
    writable.
    """
    kept: dict[str, _Entry] = _read_cache(runs / SUMMARIES_FILE)
    found: dict[str, _Entry] = {}
    now = time.time_ns()
    names = sorted(_subfolders(runs))
    for number, name in enumerate(names, 1):
        stamps = tuple(_stamp(f"{runs}/{name}/{record}") for record in RECORD_FILES)
        if stamps[0] is None:
            continue  # no run
        entry = kept.get(name)
        if entry is None or entry.stamps != stamps:
            # The stamps are taken before reading: a file that changes meanwhile has other stamps.
            entry = _Entry(stamps=stamps, summary=_summarize_run(runs / name))
            if progress is not None:
                progress("reading runs", number, len(names), "runs")
        found[name] = entry
    lasting = {name: entry for name, entry in found.items() if entry is kept.get(name) or entry.is_settled(now)}
    if lasting != kept:
        with suppress(CnnlabError):  # the folder may be read-only
            atomic_write(runs / SUMMARIES_FILE, _File(runs=lasting).to_json().encode("utf-8"))
    return [entry.summary for entry in found.values()]


def sort_runs(found: Iterable[RunSummary], column: str, reverse: bool = False) -> list[RunSummary]:
    """Sort runs by one of `SORT_KEYS`; runs without the figure are last, also in reverse."""
    runs, figure = list(found), SORT_KEYS[column]
    known = sorted((run for run in runs if figure(run) is not None), key=figure, reverse=reverse)
    return [*known, *(run for run in runs if figure(run) is None)]


def _summarize_run(path: Path) -> RunSummary:
    # This import takes longer than reading thousands of cached summaries.
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
    """A summary, with the stamps of the files that it was read from."""

    stamps: tuple[tuple[int, ...] | None, ...]
    summary: RunSummary

    def is_settled(self, now: int) -> bool:
        """Whether later changes of the files show in their stamps; a damaged run may be readable by other versions."""
        times = [stamp[0] for stamp in self.stamps if stamp is not None]
        return now - max(times) > SETTLED_NS and not self.summary.status.startswith(DAMAGED)


class _File(Record):
    """The cache file: summaries by the names of run folders."""

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
    """The change and modification times, size and inode of a file; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 (creating 20,000 Paths takes longer than the calls)
    except OSError:
        return None
    return (found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino)
