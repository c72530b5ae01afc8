"""One process that runs trials of a search: it asks for one, makes its runs, and tells Optuna the outcome."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

from cnnlab.config.search import Search
from cnnlab.context import RunContext
from cnnlab.data.dataset_cache import DatasetCache
from cnnlab.errors import RunError, SpecError
from cnnlab.records import EpochRecord, RunResult, Score
from cnnlab.storage.run_folder import RunFolder
from cnnlab.studies.plan import StudyTask, make_plan
from cnnlab.studies.tasks import StopRunError, TaskResult, find_run, run_task
from cnnlab.studies.worker_pool import POLL_INTERVAL_S
from cnnlab.tuning.trials import PendingTrial, TrialOutcome, TrialStore


@dataclass(frozen=True)
class SearchJob:
    """All that a process needs to know to work on a search; it can be sent to another one.

    `search` is as it was asked for, and `resolved_search` as its runs are made: with one precision and one
    backbone.
    """

    search: Search
    resolved_search: Search
    name: str
    folder: Path
    storage: str | None
    context: RunContext


def run_trials(trials: TrialStore, job: SearchJob, dataset_cache: DatasetCache) -> None:
    """Make trials until all are made or the budget is spent; those of other processes are waited for."""

    def should_continue() -> bool:
        return not job.search.budget.is_exhausted(*trials.budget_used())

    while True:
        pending = trials.ask(should_continue)
        if pending is None and not trials.others_running():
            return
        if pending is None:
            time.sleep(POLL_INTERVAL_S)
            continue
        outcome = _Objective(pending, job, dataset_cache).evaluate()
        trials.tell(pending, outcome)
        job.context.callbacks.on_trial_end(
            next(record for record in trials.records() if record.number == pending.number)
        )


def arm_name(number: int) -> str:
    """What a trial is called among the arms of a study, and in the names of its run folders."""
    return f"trial {number}"


class _Objective:
    """One running trial: the runs of its seeds, one after another."""

    def __init__(
        self,
        pending: PendingTrial,
        job: SearchJob,
        dataset_cache: DatasetCache,
    ) -> None:
        self.pending, self.context, self.dataset_cache = pending, job.context, dataset_cache
        self.search, self.name = job.resolved_search, job.name
        self.outcome = TrialOutcome("finished")

    def evaluate(self) -> TrialOutcome:
        """Make its runs; the first that does not finish ends the trial."""
        changes, arm = self.search.changes(self.pending.values), arm_name(self.pending.number)
        try:
            study = self.search.study({arm: changes})
            plan = make_plan(study, self.name, self.context, dataset_cache=self.dataset_cache)
        except (SpecError, RunError) as error:  # the run that it starts from may be gone
            self.outcome.status, self.outcome.message = "failed", error.problems[0].what
            return self.outcome
        recipe, values = plan.arms[-1].recipe, []
        self.outcome.code = plan.arms[-1].tasks[0].id.rpartition("-")[2]
        self.epochs, self.validations_per_epoch = recipe.train.epochs, recipe.train.validations_per_epoch
        for turn, task in enumerate(plan.arms[-1].tasks):
            value = self._run_seed(turn, task)
            if value is None:
                return self.outcome
            values.append(value)
        self.outcome.value = sum(values) / len(values)
        return self.outcome

    def _run_seed(self, turn: int, task: StudyTask) -> float | None:
        """Make one run; its metric, or None where that ends the trial, with the reason in the outcome."""
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
        """The run, or that of another process that is at the same one."""
        while True:
            outcome = run_task(
                task,
                self.context,
                self.dataset_cache,
                lambda done, text: self.context.callbacks.on_trial_progress(self.pending.number, images + done, text),
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
        """Report the validations of a run that was made, or started, before; a finished one is not ended early."""
        for record in folder.epochs() if folder is not None else ():
            self._on_validation(turn, record, may_stop=folder is not None and folder.result() is None)

    def _on_validation(self, turn: int, record: EpochRecord, may_stop: bool = True) -> None:
        value = _metric_at(record, self.search)
        if value is None or not math.isfinite(value):
            return
        self.outcome.last = value
        self.pending.report(
            value, turn * self.epochs * self.validations_per_epoch + round(record.epoch * self.validations_per_epoch)
        )
        # After the last epoch nothing is left to save.
        if may_stop and record.epoch < self.epochs and self.pending.should_prune():
            raise StopRunError(f"ended after epoch {record.epoch:g}: it promised less than others at that point")

    def _add_cost(self, folder: RunFolder, result: RunResult | None, found: bool) -> None:
        """What a run took; one that was there already took nothing."""
        outcome, records = self.outcome, folder.epochs()
        outcome.runs.append(folder.name)
        outcome.epochs += records[-1].epoch if records else 0.0
        outcome.found = found and (outcome.found or len(outcome.runs) == 1)
        if not found:
            outcome.seconds += result.seconds if result is not None else sum(record.seconds for record in records)
            outcome.images += sum(record.train.images for record in records)


def _metric_at(record: EpochRecord, search: Search) -> float | None:
    """The metric at a point of the learning curve, where it is measured there."""
    score = getattr(record, search.split)
    if isinstance(score, Score):
        return score.metric(search.split_metric)
    found = getattr(score, search.split_metric, None)
    return None if found is None else float(found)
