"""One run of a study carried out: found, gone on with, or begun; never done twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import torch

from cnnlab.errors import CnnlabError
from cnnlab.records import Record, StepMeans
from cnnlab.runs.folder import RunFolder
from cnnlab.runs.listener import Listener
from cnnlab.runs.locking import HeldError, locked
from cnnlab.runs.run import resume_run, run
from cnnlab.spec.recipe import Recipe
from cnnlab.study.plan import Task
from cnnlab.study.shelf import Shelf

# A folder beside the runs, with a lock for each run that is being done.
CLAIMS = ".claims"
# (images so far of this run, what is to be said)
Heard: TypeAlias = Callable[[int, str], None]


@dataclass(frozen=True)
class Place:
    """Where a task is carried out: the runs folder, the data, the device, and how many threads compute.

    With `any_code` a finished run of the same work counts that another version of cnnlab made.
    """

    runs: Path
    root: Path | None = None
    device: str = "auto"
    threads: int | None = None
    any_code: bool = False


class Outcome(Record):
    """How a task ended: `failed` means that it has no result, and says why.

    `busy` and `again` are for executors only: another process is at it, or the one that was has died.
    """

    id: str
    status: Literal["done", "found", "busy", "again", "failed"]
    folder: str = ""
    message: str = ""


def carry_out(task: Task, place: Place, shelf: Shelf, heard: Heard) -> Outcome:
    """Do a task unless it is done; one that was cut off is gone on with.

    Whatever goes wrong with one run is its outcome, and no end of the study.
    """
    claim = place.runs / CLAIMS / task.id
    try:
        claim.mkdir(parents=True, exist_ok=True)
        with locked(claim, lambda words: heard(0, words)):
            return _done(task, place, shelf, heard)
    except HeldError:
        return Outcome(id=task.id, status="busy")
    except (CnnlabError, OSError, MemoryError, RuntimeError) as error:
        return Outcome(id=task.id, status="failed", message=_words(error))


def find_run(runs: Path, task: str, any_code: bool = False) -> RunFolder | None:
    """The run with a task's id, finished or not, whatever study made it.

    Args:
        any_code: without one of this code, take a finished one of the same work by another.
    """
    found = [RunFolder(path.parent.resolve()) for path in sorted(runs.glob(f"*-{task}/recipe.toml"))]
    if not found and any_code:
        work = task.rpartition("-")[0]
        others = [RunFolder(path.parent.resolve()) for path in sorted(runs.glob(f"*-{work}-*/result.json"))]
        found = [folder for folder in others if folder.result() is not None]
    return found[0] if found else None


def _done(task: Task, place: Place, shelf: Shelf, heard: Heard) -> Outcome:
    folder = find_run(place.runs, task.id, place.any_code)
    if folder is not None and folder.result() is not None:
        return Outcome(id=task.id, status="found", folder=folder.name)
    if place.threads is not None:
        torch.set_num_threads(place.threads)
    listener = Listener(
        progress=shelf.progress, watch=lambda images, _total, means: heard(images, _figures(means)), say=_quiet
    )
    device, root, opener = place.device, place.root, shelf.open
    if folder is not None:
        folder = resume_run(folder.path, root=root, device=device, listener=listener, opener=opener)
    else:
        recipe, into = Recipe.from_toml(task.recipe), place.runs / task.folder
        folder = run(recipe, into=into, root=root, device=device, listener=listener, opener=opener)
    return Outcome(id=task.id, status="done", folder=folder.name)


def _figures(means: StepMeans | None) -> str:
    return "" if means is None else f"loss {means.loss:.3f}, accuracy {means.accuracy:.3f}"


def _quiet(_: str) -> None:
    """A study tells what its runs came to, not each of their steps."""


def _words(error: BaseException) -> str:
    if isinstance(error, CnnlabError):
        return str(error.problems[0].what)
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
