"""One process at the trials of a search: it asks for one, carries its runs out, and tells what came of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cnnlab.config.search import Search
from cnnlab.data.dataset_cache import Shelf
from cnnlab.errors import RunError, SpecError
from cnnlab.records import EpochRecord, Result, Score
from cnnlab.runs.callbacks import nothing
from cnnlab.storage.run_folder import RunFolder
from cnnlab.studies.plan import Task, make_plan
from cnnlab.studies.tasks import Outcome, Place, StopRunError, carry_out, find_run
from cnnlab.studies.worker_pool import PATIENCE_S
from cnnlab.tuning.result import TrialRecord
from cnnlab.tuning.trials import Asked, Ended, Trials


@dataclass(frozen=True)
class Job:
    """All that a process needs to know to work on a search; it can be sent to another one.

    `search` is as it was asked for, and `fixed` as its runs are made: with one way of computing and one backbone.
    """

    search: Search
    fixed: Search
    name: str
    folder: Path
    storage: str | None
    place: Place


@dataclass(frozen=True)
class Seen:
    """Whoever wants to see trials go on: told a trial's number, its images so far and a word; and how it ended."""

    heard: Callable[[int, int, str], None] = nothing
    ended: Callable[[TrialRecord], None] = nothing


def try_all(trials: Trials, job: Job, shelf: Shelf, seen: Seen) -> None:
    """Make trials until all are made or the budget is spent; those of other processes are waited for."""

    def go_on() -> bool:
        return not job.search.budget.spent(*trials.spent())

    while True:
        asked = trials.ask(go_on)
        if asked is None and not trials.others_work():
            return
        if asked is None:
            time.sleep(PATIENCE_S)
            continue
        ended = _Trial(asked, job, shelf, seen.heard).carried_out()
        trials.tell(asked, ended)
        seen.ended(next(record for record in trials.records() if record.number == asked.number))


def arm_name(number: int) -> str:
    """What a trial is called among the arms of a study, and in the names of its run folders."""
    return f"trial {number}"


class _Trial:
    """One trial on its way: the runs of its seeds, one after another."""

    def __init__(self, asked: Asked, job: Job, shelf: Shelf, heard: Callable[[int, int, str], None]) -> None:
        self.asked, self.place, self.shelf, self.heard = asked, job.place, shelf, heard
        self.search, self.name = job.fixed, job.name
        self.ended = Ended("finished")

    def carried_out(self) -> Ended:
        """Do its runs; the first that does not finish ends the trial."""
        changes, arm = self.search.changes(self.asked.values), arm_name(self.asked.number)
        try:
            study = self.search.study({arm: changes})
            plan = make_plan(study, self.name, device=self.place.device, shelf=self.shelf)
        except (SpecError, RunError) as error:  # the run that it begins with may be gone
            self.ended.status, self.ended.message = "failed", error.problems[0].what
            return self.ended
        recipe, values = plan.arms[-1].recipe, []
        self.ended.code = plan.arms[-1].tasks[0].id.rpartition("-")[2]
        self.epochs, self.points = recipe.train.epochs, recipe.train.validations_per_epoch
        for turn, task in enumerate(plan.arms[-1].tasks):
            value = self._run(turn, task)
            if value is None:
                return self.ended
            values.append(value)
        self.ended.value = sum(values) / len(values)
        return self.ended

    def _run(self, turn: int, task: Task) -> float | None:
        """Carry one run out; its figure, or None where that ends the trial, and why is kept."""
        before = find_run(self.place.runs, task.id)
        images = turn * task.images
        try:
            self._replay(turn, before)
            outcome = self._carry(turn, task, images)
        except StopRunError as stop:
            outcome = Outcome(id=task.id, status="stopped", message=str(stop))
        folder = find_run(self.place.runs, task.id)
        result = folder.result() if folder is not None else None
        if folder is not None:
            self._count(folder, result, found=outcome.status == "found")
        self.ended.message = outcome.message
        if outcome.status == "stopped":
            self.ended.status = "pruned"
        elif outcome.status == "failed" or result is None:
            self.ended.status = "failed"
        else:
            return self._figure(result)
        return None

    def _carry(self, turn: int, task: Task, images: int) -> Outcome:
        """The run, or that of another process that is at the same one."""
        while True:
            outcome = carry_out(
                task,
                self.place,
                self.shelf,
                lambda done, words: self.heard(self.asked.number, images + done, words),
                lambda record: self._point(turn, record),
            )
            if outcome.status != "busy":
                return outcome
            time.sleep(PATIENCE_S)

    def _figure(self, result: Result) -> float | None:
        score = getattr(result, self.search.part)
        value = score.metric(self.search.figure) if result.status != "diverged" and score is not None else math.nan
        if math.isfinite(value):
            return float(value)
        self.ended.status, self.ended.message = "diverged", result.message
        return None

    def _replay(self, turn: int, folder: RunFolder | None) -> None:
        """Report the points of a run that was made, or begun, before; one that has finished is not ended early."""
        for record in folder.epochs() if folder is not None else ():
            self._point(turn, record, may_stop=folder is not None and folder.result() is None)

    def _point(self, turn: int, record: EpochRecord, may_stop: bool = True) -> None:
        value = _measured(record, self.search)
        if value is None or not math.isfinite(value):
            return
        self.ended.last = value
        self.asked.report(value, turn * self.epochs * self.points + round(record.epoch * self.points))
        # After the last epoch nothing is left to save.
        if may_stop and record.epoch < self.epochs and self.asked.should_stop():
            raise StopRunError(f"ended after epoch {record.epoch:g}: it promised less than others at that point")

    def _count(self, folder: RunFolder, result: Result | None, found: bool) -> None:
        """What a run took; one that was there already took nothing."""
        ended, records = self.ended, folder.epochs()
        ended.runs.append(folder.name)
        ended.epochs += records[-1].epoch if records else 0.0
        ended.found = found and (ended.found or len(ended.runs) == 1)
        if not found:
            ended.seconds += result.seconds if result is not None else sum(record.seconds for record in records)
            ended.images += sum(record.train.images for record in records)


def _measured(record: EpochRecord, search: Search) -> float | None:
    """The metric at a point of the learning curve, where it is measured there."""
    score = getattr(record, search.part)
    if isinstance(score, Score):
        return score.metric(search.figure)
    found = getattr(score, search.figure, None)
    return None if found is None else float(found)
