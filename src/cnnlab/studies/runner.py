"""Run the tasks of a study until they are done or the budget is spent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cnnlab.atomic_io import atomic_write
from cnnlab.context import RunContext
from cnnlab.runs.index.run_index import RunIndex
from cnnlab.studies.analysis import CollectedResults
from cnnlab.studies.plan import StudyPlan, StudyTask
from cnnlab.studies.worker_pool import Executor


@dataclass
class StudyRunner:
    """A running study: its results so far, and why it could not be confirmed."""

    plan: StudyPlan
    context: RunContext
    executor: Executor
    folder: Path
    index: RunIndex
    budget_exhausted: bool = False
    untested_reason: str = ""

    @cached_property
    def results(self) -> CollectedResults:
        """The finished runs, earlier ones too."""
        return CollectedResults(self.plan, self.index)

    def has_budget(self) -> bool:
        """Whether the budget is not spent, by all finished runs."""
        runs = [run.result for run in self.results.finished_runs.values()]
        images = sum(round(run.seconds * run.images_per_second) for run in runs)
        return not self.plan.study.budget.is_exhausted(images, sum(run.seconds for run in runs))


def run_tasks(runner: StudyRunner, tasks: Sequence[StudyTask]) -> bool:
    """Run the tasks that are not done, until the budget is spent; return whether all are done."""
    context, callbacks, results = runner.context, runner.context.callbacks, runner.results
    results.collect(tasks)
    by_id = {task.id: task for task in tasks}
    missing = [task for task in tasks if task.id not in results.finished_runs]
    callbacks.on_stage_start(runner.plan, tasks, missing)
    datasets, on_progress = runner.plan.dataset_cache, callbacks.on_task_progress
    with closing(runner.executor(missing, context, datasets, on_progress, runner.has_budget)) as outcomes:
        for result in outcomes:
            if result.status == "failed":
                results.failures[result.id] = result.message
            else:
                results.collect([by_id[result.id]])
            callbacks.on_task_end(by_id[result.id], result)
    results.collect(missing)
    done = len(results.finished(tasks)) == len(tasks)
    runner.budget_exhausted = not done and not runner.has_budget()
    atomic_write(runner.folder / "failures.json", json.dumps(results.failures, indent=2).encode())
    return done
