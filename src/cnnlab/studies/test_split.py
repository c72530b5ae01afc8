"""Evaluates a study's runs on the test set: once for all of them, recorded before the first image is read."""

from __future__ import annotations

from collections.abc import Sequence

from cnnlab.context import Callbacks
from cnnlab.errors import CnnlabError
from cnnlab.render.formatting import pluralize
from cnnlab.runs.final_evaluation import open_test
from cnnlab.storage.test_ledger import openings, record_opening
from cnnlab.studies.plan import StudyTask
from cnnlab.studies.result import UNTESTED, StudyResult
from cnnlab.studies.runner import StudyRunner
from cnnlab.studies.tasks import exclusive


def evaluate_all_arms(runner: StudyRunner, result: StudyResult) -> StudyResult:
    """Evaluate the runs of all arms on the test set, when every choice has been made, to judge published figures.

    On failure the result is returned with a note that gives the reason.
    """
    reason = "" if result.complete else "runs are missing"
    if not runner.plan.test_set:
        reason = "the data has no test split"
    if not reason:
        try:
            open_test_sets(runner, runner.plan.tasks(), "figures of {} runs")
        except (CnnlabError, OSError) as error:
            reason = str(error).partition("\n")[0]
    if not reason:
        opened = pluralize(len(openings(runner.context.runs, runner.plan.test_set)), "time")
        done = "the runs of all arms were evaluated on the test set when all were trained"
        note = f"{done}; it was opened {opened} so far"
        return result.model_copy(update={"tested": True, "notes": (*result.notes, note)})
    note = f"{UNTESTED}: {reason}"
    runner.context.callbacks.log(note)
    return result.model_copy(update={"notes": (*result.notes, note)})


def open_test_sets(runner: StudyRunner, tasks: Sequence[StudyTask], purpose: str) -> None:
    """Evaluate the runs of tasks that have no test figures yet: one opening for all, recorded in the ledger first.

    Args:
        purpose: for the ledger; `{}` stands for the number of runs.

    Raises:
        CnnlabError, OSError: a run could not be evaluated.
    """
    context, plan, results = runner.context, runner.plan, runner.results
    # Another process may run the same study.
    with exclusive(context.runs, f"test-{plan.test_set}", context.callbacks.log):
        results.collect(tasks)
        finished = [run for run in results.finished(tasks) if run.result.train is not None]
        untested = [run.folder for run in finished if run.result.test is None]
        if not untested:
            return
        record_opening(context.runs, f"study {plan.name}", plan.test_set, purpose.format(len(untested)))
        quiet = context.with_callbacks(Callbacks(progress=context.callbacks.progress))
        for folder in untested:
            open_test(folder.path, quiet, already_recorded=True, dataset_factory=plan.dataset_cache.open)
