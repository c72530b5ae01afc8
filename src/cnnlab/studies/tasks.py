"""A task of a study: its run is found, resumed or started, and never trained twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

import torch

from cnnlab.config.recipe import Recipe
from cnnlab.context import Callbacks, RunContext, no_op
from cnnlab.data.dataset_cache import DatasetCache
from cnnlab.errors import CnnlabError, RunError, SourceError
from cnnlab.records import EpochRecord, Record, StepMeans
from cnnlab.runs.run import resume_run, run
from cnnlab.storage.lock import LockedError, locked
from cnnlab.storage.run_folder import RunFolder
from cnnlab.studies.plan import StudyTask, environment_digest, run_id
from cnnlab.training.device import choose_device

# A folder beside the runs, with a lock for each run that is being done.
LOCKS_FOLDER = ".locks"
POLL_INTERVAL_S = 0.2
# (images so far of this run, its metrics as text)
RunProgressFn: TypeAlias = Callable[[int, str], None]
ValidationFn: TypeAlias = Callable[[EpochRecord], None]


class TaskResult(Record):
    """How a task ended.

    `found`: there was a finished run. `stopped`: a callback ended it. `failed`: it has no result, for the reason in
    `message`. `busy`, for executors only: another process runs it.
    """

    id: str
    status: Literal["done", "found", "busy", "stopped", "failed"]
    folder: str = ""
    message: str = ""


class StopRunError(Exception):
    """Raised by a validation callback to end a run, which can be resumed."""


def run_task(
    task: StudyTask,
    context: RunContext,
    dataset_cache: DatasetCache,
    on_progress: RunProgressFn,
    on_validation: ValidationFn = no_op,
) -> TaskResult:
    """Run a task unless it is done; an interrupted run is resumed.

    An error in a run is its result, and does not end the study.

    Args:
        on_validation: called after each validation; it may raise StopRunError.
    """
    claim = context.runs / LOCKS_FOLDER / task.id
    try:
        claim.mkdir(parents=True, exist_ok=True)
        with locked(claim, lambda text: on_progress(0, text)):
            return _run_or_resume(task, context, dataset_cache, on_progress, on_validation)
    except LockedError:
        return TaskResult(id=task.id, status="busy")
    except StopRunError as stop:
        return TaskResult(id=task.id, status="stopped", message=str(stop))
    except Exception as error:
        return TaskResult(id=task.id, status="failed", message=_error_text(error))


def find_run(runs: Path, task: str) -> RunFolder | None:
    """The run of a task, finished or not, of whatever study."""
    paths = sorted(runs.glob(f"*-{task}/recipe.toml"))
    return RunFolder(paths[0].parent.resolve()) if paths else None


@contextmanager
def exclusive(runs: Path, name: str, log: Callable[[str], None]) -> Iterator[None]:
    """Hold a named lock in a folder; other processes wait for it."""
    folder = runs / LOCKS_FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(folder, log))
                break
            except LockedError:
                time.sleep(POLL_INTERVAL_S)
        yield


def _run_or_resume(
    task: StudyTask,
    context: RunContext,
    dataset_cache: DatasetCache,
    on_progress: RunProgressFn,
    on_validation: ValidationFn,
) -> TaskResult:
    folder = find_run(context.runs, task.id)
    if folder is not None and folder.result() is not None:
        return TaskResult(id=task.id, status="found", folder=folder.name)
    if context.threads is not None:
        torch.set_num_threads(context.threads)
    callbacks = Callbacks(
        progress=context.callbacks.progress,
        on_step=lambda images, _total, means: on_progress(images, _format_metrics(means)),
        on_validation=on_validation,
    )
    recipe = Recipe.from_toml(task.recipe)
    _check_as_planned(task, recipe, dataset_cache, context.device)
    own = context.with_callbacks(callbacks)
    if folder is not None:
        folder = resume_run(folder.path, own, dataset_factory=dataset_cache.open)
    else:
        into = _run_path(task, context.runs)
        folder = run(recipe, own, name=task.name, folder_path=into, dataset_factory=dataset_cache.open)
    return TaskResult(id=task.id, status="done", folder=folder.name)


def _check_as_planned(task: StudyTask, recipe: Recipe, dataset_cache: DatasetCache, device: str) -> None:
    """Check that data, code, torch and device are those of the plan, after which the run is named."""
    data = dataset_cache.current_digest(recipe.data, recipe.train.seed)
    own_id = run_id(recipe, data, environment_digest(choose_device(device).type))
    if own_id != task.id:
        same_work = own_id.rpartition("-")[0] == task.id.rpartition("-")[0]
        what = "cnnlab's code, torch or the device" if same_work else "the data or the backbone"
        step = "run the study's command again"
        raise RunError(f"{what} here is not that with which the study was planned", next_step=step)


def _run_path(task: StudyTask, runs: Path) -> Path:
    """The folder for the run; one that a killed process had created is used again."""
    found = [path for path in sorted(runs.glob(f"*-{task.id}")) if path.is_dir()]
    return found[0] if found else runs / task.folder


def _format_metrics(means: StepMeans | None) -> str:
    return "" if means is None else f"loss {means.loss:.3f}, accuracy {means.accuracy:.3f}"


def _error_text(error: BaseException) -> str:
    if isinstance(error, SourceError):  # which image it is
        return str(error.problems[0]).partition("\n")[0]
    if isinstance(error, CnnlabError):
        return str(error.problems[0].what)
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
