"""The objective of a search: the runs of one trial, one for each seed, pruned by their validations."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cnnlab.config.search import ParameterValues, Search
from cnnlab.context import Callbacks, RunContext
from cnnlab.data.dataset_cache import DatasetCache
from cnnlab.errors import RunError, SpecError
from cnnlab.records import EpochRecord, RunResult
from cnnlab.storage.run_folder import RunFolder
from cnnlab.studies.analysis import metric_at
from cnnlab.studies.plan import StudyTask, make_plan
from cnnlab.studies.tasks import StopRunError, TaskResult, find_run, run_task
from cnnlab.studies.worker_pool import (
    POLL_INTERVAL_S,
    ProcessPool,
    Send,
    WorkerDeath,
    throttle,
    worker_context,
    worker_datasets,
)
from cnnlab.tuning.result import TrialRecord
from cnnlab.tuning.trials import Objective, TrialOutcome, TrialStore

if TYPE_CHECKING:
    import optuna

# Workers that die in a row without one finished trial: the trials are not the reason.
MAX_DEATHS = 3


@dataclass(frozen=True)
class SearchJob:
    """All that a process needs to run a trial of a search; it can be sent to another process.

    `search` is as it was given; `resolved_search` names the precision and the backbone of all runs.
    """

    search: Search
    resolved_search: Search
    name: str
    folder: Path
    storage: str | None
    context: RunContext


def run_trials(trials: TrialStore, job: SearchJob, dataset_cache: DatasetCache, jobs: int = 1) -> None:
    """Run trials until all have ended or the budget is spent, in this process or in `jobs` processes.

    Raises:
        RunError: the processes die, whatever they run.
    """
    on_end = job.context.callbacks.on_trial_end
    if jobs > 1:
        for record in _run_in_processes(job, jobs):
            on_end(record)
    # After the workers: wait for trials of other commands, and continue those that lost their process.
    trials.run_all(_objective(job, dataset_cache), on_end)


def _objective(job: SearchJob, dataset_cache: DatasetCache) -> Objective:
    return lambda trial, values: _TrialRun(job, trial, dataset_cache).evaluate(values)


def _run_in_processes(job: SearchJob, count: int) -> Iterator[TrialRecord]:
    """Run trials in processes until none is left to start; their records, as they end."""
    on_progress = job.context.callbacks.on_trial_progress
    deaths = 0
    pending = [replace(job, context=worker_context(job.context, count))]
    with ProcessPool[SearchJob, TrialRecord | None](_run_trial_in_worker, count) as pool:
        for _, record in pool.run(lambda: next(iter(pending), None), lambda _, progress: on_progress(*progress)):
            if isinstance(record, WorkerDeath):
                deaths += 1
                if deaths == MAX_DEATHS:
                    raise RunError(f"{deaths} jobs in a row: {record}", next_step="run fewer at a time: --jobs 1")
            elif record is None:
                pending.clear()
            else:
                deaths = 0
                yield record


def _run_trial_in_worker(job: SearchJob, send: Send) -> TrialRecord | None:
    dataset_cache = worker_datasets(job.context)
    callbacks = Callbacks(on_trial_progress=throttle(lambda *progress: send(progress)))
    job = replace(job, context=job.context.with_callbacks(callbacks))
    with closing(TrialStore(job.search, job.name, job.folder, job.storage)) as trials:
        return trials.run_next(_objective(job, dataset_cache))


def arm_name(number: int) -> str:
    """The name of a trial among the arms of a study, and in the names of its run folders."""
    return f"trial {number}"


class _TrialRun:
    """A running trial."""

    def __init__(self, job: SearchJob, trial: optuna.Trial, dataset_cache: DatasetCache) -> None:
        self.search, self.name, self.trial = job.resolved_search, job.name, trial
        self.context, self.dataset_cache = job.context, dataset_cache
        self.outcome = TrialOutcome("finished")
        self.reported_steps: set[int] = set()

    def evaluate(self, values: ParameterValues) -> TrialOutcome:
        """Make its runs; the first that does not finish ends the trial."""
        arm = arm_name(self.trial.number)
        try:
            study = self.search.study({arm: self.search.changes(values)})
            plan = make_plan(study, self.name, self.context, dataset_cache=self.dataset_cache)
        except (SpecError, RunError) as error:  # the run that it starts from may be gone
            self.outcome.status, self.outcome.message = "failed", error.problems[0].what
            return self.outcome
        recipe, metrics = plan.arms[-1].recipe, []
        self.outcome.code = plan.arms[-1].tasks[0].id.rpartition("-")[2]
        self.epochs, self.validations_per_epoch = recipe.train.epochs, recipe.train.validations_per_epoch
        for turn, task in enumerate(plan.arms[-1].tasks):
            value = self._run_seed(turn, task)
            if value is None:
                return self.outcome
            metrics.append(value)
        self.outcome.value = sum(metrics) / len(metrics)
        return self.outcome

    def _run_seed(self, turn: int, task: StudyTask) -> float | None:
        """Make one run and return its metric; None where the trial ends with it, for the reason in the outcome."""
        before = find_run(self.context.runs, task.id)
        images = turn * task.images
        try:
            self._replay_curve(turn, before)
            outcome = self._run_task(turn, task, images)
        except StopRunError as stop:
            outcome = TaskResult(id=task.id, status="stopped", message=str(stop))
        folder = find_run(self.context.runs, task.id)
        result = folder.result() if folder is not None else None
        if folder is not None:
            self._add_cost(folder, result, found=outcome.status == "found")
        self.outcome.message = outcome.message
        if outcome.status == "stopped":
            self.outcome.status = "pruned"
        elif outcome.status == "failed" or result is None:
            self.outcome.status = "failed"
        else:
            return self._final_value(result)
        return None

    def _run_task(self, turn: int, task: StudyTask, images: int) -> TaskResult:
        """Make the run, or wait for another process that makes it."""
        while True:
            outcome = run_task(
                task,
                self.context,
                self.dataset_cache,
                lambda done, text: self.context.callbacks.on_trial_progress(self.trial.number, images + done, text),
                lambda record: self._on_validation(turn, record),
            )
            if outcome.status != "busy":
                return outcome
            time.sleep(POLL_INTERVAL_S)

    def _final_value(self, result: RunResult) -> float | None:
        score = getattr(result, self.search.split)
        value = (
            score.metric(self.search.split_metric) if result.status != "diverged" and score is not None else math.nan
        )
        if math.isfinite(value):
            return float(value)
        self.outcome.status, self.outcome.message = "diverged", result.message
        return None

    def _replay_curve(self, turn: int, folder: RunFolder | None) -> None:
        """Report the validations of a run that was made or started before; a finished one is not pruned."""
        for record in folder.epochs() if folder is not None else ():
            self._on_validation(turn, record, may_stop=folder is not None and folder.result() is None)

    def _on_validation(self, turn: int, record: EpochRecord, may_stop: bool = True) -> None:
        value = metric_at(record, self.search)
        if value is None or not math.isfinite(value):
            return
        self.outcome.last = value
        step = round((turn * self.epochs + record.epoch) * self.validations_per_epoch)
        if step not in self.reported_steps:
            self.reported_steps.add(step)
            self.trial.report(value, step)
        # After the last epoch nothing is left to save.
        if may_stop and record.epoch < self.epochs and self.trial.should_prune():
            raise StopRunError(f"ended after epoch {record.epoch:g}: other trials were better at that point")

    def _add_cost(self, folder: RunFolder, result: RunResult | None, found: bool) -> None:
        """Add the cost of a run; one that was there already cost nothing."""
        outcome, records = self.outcome, folder.epochs()
        outcome.runs.append(folder.name)
        outcome.epochs += records[-1].epoch if records else 0.0
        outcome.found = found and (outcome.found or len(outcome.runs) == 1)
        if not found:
            outcome.seconds += result.seconds if result is not None else sum(record.seconds for record in records)
            outcome.images += sum(record.train.images for record in records)
