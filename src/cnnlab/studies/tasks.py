"""One run of a study carried out: found, gone on with, or begun; never done twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import torch

from cnnlab.config.arms import file_name
from cnnlab.config.backbones import write_backbone
from cnnlab.config.recipe import Recipe
from cnnlab.data.dataset_cache import Shelf
from cnnlab.errors import CnnlabError, RunError, SourceError
from cnnlab.records import EpochRecord, Record, StepMeans
from cnnlab.runs.callbacks import Listener, nothing
from cnnlab.runs.run import resume_run, run
from cnnlab.storage.lock import HeldError, locked
from cnnlab.storage.run_folder import RunFolder
from cnnlab.studies.plan import Task, maker, run_id
from cnnlab.training.device import choose_device

# A folder beside the runs, with a lock for each run that is being done.
CLAIMS = ".claims"
PATIENCE_S = 0.2
# (images so far of this run, what is to be said)
Heard: TypeAlias = Callable[[int, str], None]
Point: TypeAlias = Callable[[EpochRecord], None]


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
    """How a task ended: `failed` means that it has no result, and says why; `stopped`, that who hears of it ended it.

    `busy` and `again` are for executors only: another process is at it, or the one that was has died.
    """

    id: str
    status: Literal["done", "found", "busy", "again", "stopped", "failed"]
    folder: str = ""
    message: str = ""


class StopRunError(Exception):
    """Raised by who is told of a run's points: the run ends here, and can be gone on with."""


def carry_out(task: Task, place: Place, shelf: Shelf, heard: Heard, point: Point = nothing) -> Outcome:
    """Do a task unless it is done; one that was cut off is gone on with.

    Whatever goes wrong with one run is its outcome, and no end of the study.

    Args:
        point: told of each point of the learning curve that is made; it may raise StopRunError.
    """
    claim = place.runs / CLAIMS / task.id
    try:
        claim.mkdir(parents=True, exist_ok=True)
        with locked(claim, lambda words: heard(0, words)):
            return _done(task, place, shelf, heard, point)
    except HeldError:
        return Outcome(id=task.id, status="busy")
    except StopRunError as stop:
        return Outcome(id=task.id, status="stopped", message=str(stop))
    except Exception as error:
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


@contextmanager
def alone(runs: Path, what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Within it no other process is, on this runs folder, within one of the same name; the others wait."""
    claim = runs / CLAIMS / what
    claim.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(claim, say))
                break
            except HeldError:
                time.sleep(PATIENCE_S)
        yield


def _done(task: Task, place: Place, shelf: Shelf, heard: Heard, point: Point) -> Outcome:
    folder = find_run(place.runs, task.id, place.any_code)
    if folder is not None and folder.result() is not None:
        return Outcome(id=task.id, status="found", folder=folder.name)
    if place.threads is not None:
        torch.set_num_threads(place.threads)
    listener = Listener(
        progress=shelf.progress,
        watch=lambda images, _total, means: heard(images, _figures(means)),
        point=point,
        say=_quiet,
    )
    device, root, opener = place.device, place.root, shelf.open
    recipe = Recipe.from_toml(task.recipe)
    _check_as_planned(task, recipe, shelf, device)
    if folder is not None:
        folder = resume_run(folder.path, root=root, device=device, listener=listener, opener=opener)
    else:
        into = _begun(task, place.runs)
        folder = run(recipe, into=into, root=root, device=device, listener=listener, opener=opener)
    return Outcome(id=task.id, status="done", folder=folder.name)


def _check_as_planned(task: Task, recipe: Recipe, shelf: Shelf, device: str) -> None:
    """A run is filed under what it was planned to be: data, code, torch and device must not have changed since."""
    seed = recipe.train.seed
    data = shelf.facts(recipe.data, seed).digest
    found = run_id(recipe, data, maker(choose_device(device).type))
    if found == task.id:
        return
    other = found.rpartition("-")[0] == task.id.rpartition("-")[0]
    what = f"{file_name(recipe.data.source)} here is not the data"
    if other:
        what = "cnnlab's code, torch or device here is not that"
    elif recipe.model.backbone is not None and data == task.data:
        what = f"the backbone {write_backbone(recipe.model.backbone)} here is not the one"
    raise RunError(f"{what} with which the study was planned", next_step="give the study's command again")


def _begun(task: Task, runs: Path) -> Path:
    """The run's folder; where a process was killed before it wrote its run down, the one that it had made."""
    found = [path for path in sorted(runs.glob(f"*-{task.id}")) if path.is_dir()]
    return found[0] if found else runs / task.folder


def _figures(means: StepMeans | None) -> str:
    return "" if means is None else f"loss {means.loss:.3f}, accuracy {means.accuracy:.3f}"


def _quiet(_: str) -> None:
    """A study tells what its runs came to, not each of their steps."""


def _words(error: BaseException) -> str:
    if isinstance(error, SourceError):  # which image it is
        return str(error.problems[0]).partition("\n")[0]
    if isinstance(error, CnnlabError):
        return str(error.problems[0].what)
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
