"""Runs the tasks of a study until they are done or the budget is spent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from cnnlab.atomic_io import atomic_write
from cnnlab.context import RunContext
from cnnlab.runs.index.run_index import FinishedRun, RunIndex
from cnnlab.studies.plan import StudyPlan, StudyTask
from cnnlab.studies.worker_pool import Executor


@dataclass
class StudyRunner:
    """A running study: what failed, whether the budget ended it, and why a test that was asked for was not made."""

    plan: StudyPlan
    context: RunContext
    executor: Executor
    folder: Path
    index: RunIndex
    failures: dict[str, str] = field(default_factory=dict)
    counted_runs: set[str] = field(default_factory=set)
    seconds: float = 0.0
    images: int = 0
    budget_exhausted: bool = False
    untested_reason: str = ""

    def add_cost(self, run: FinishedRun) -> None:
        """Take a run's share of the budget, once; runs that were there already count too."""
        if run.folder.name not in self.counted_runs:
            self.counted_runs.add(run.folder.name)
            self.seconds += run.result.seconds
            self.images += round(run.result.seconds * run.result.images_per_second)

    def has_budget(self) -> bool:
        """Whether the budget lets another run begin."""
        return not self.plan.study.budget.is_exhausted(self.images, self.seconds)


def run_tasks(runner: StudyRunner, tasks: Sequence[StudyTask]) -> bool:
    """Run the tasks that are not done yet, until the budget is spent; whether all of them are done."""
    context, callbacks, index = runner.context, runner.context.callbacks, runner.index
    index.refresh()
    by_id = {task.id: task for task in tasks}
    there = {task.id: found for task in tasks if (found := index.find_finished(task.id)) is not None}
    for found in there.values():
        runner.add_cost(found)
    missing = [task for task in tasks if task.id not in there]
    callbacks.on_stage_start(runner.plan, tasks, missing)
    with closing(runner.executor(missing, context, callbacks.on_task_progress, runner.has_budget)) as outcomes:
        for result in outcomes:
            index.refresh()
            if result.status == "failed":
                runner.failures[result.id] = result.message
            elif (finished := index.find_finished(result.id)) is not None:
                runner.add_cost(finished)
            callbacks.on_task_end(by_id[result.id], result)
    index.refresh()
    done = all(index.find_finished(task.id) is not None for task in missing)
    runner.budget_exhausted = not done and not runner.has_budget()
    atomic_write(runner.folder / "failures.json", json.dumps(runner.failures, indent=2).encode())
    return done
