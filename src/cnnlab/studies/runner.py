"""Run the tasks of a study until they are done or the budget is spent."""

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
    """A running study: its failures, its cost, and why it could not be confirmed."""

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
        """Add a run's cost to the budget used, once; earlier runs count too."""
        if run.folder.name not in self.counted_runs:
            self.counted_runs.add(run.folder.name)
            self.seconds += run.result.seconds
            self.images += round(run.result.seconds * run.result.images_per_second)

    def has_budget(self) -> bool:
        """Whether the budget is not spent."""
        return not self.plan.study.budget.is_exhausted(self.images, self.seconds)


def run_tasks(runner: StudyRunner, tasks: Sequence[StudyTask]) -> bool:
    """Run the tasks that are not done, until the budget is spent; return whether all are done."""
    context, callbacks, index = runner.context, runner.context.callbacks, runner.index
    index.refresh()
    by_id = {task.id: task for task in tasks}
    finished_runs = {task.id: run for task in tasks if (run := index.find_finished(task.id)) is not None}
    for run in finished_runs.values():
        runner.add_cost(run)
    missing = [task for task in tasks if task.id not in finished_runs]
    callbacks.on_stage_start(runner.plan, tasks, missing)
    datasets, on_progress = runner.plan.dataset_cache, callbacks.on_task_progress
    with closing(runner.executor(missing, context, datasets, on_progress, runner.has_budget)) as outcomes:
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
