"""The confirmation of a study: the winner and the baseline with fresh seeds, on the test set."""

from __future__ import annotations

from cnnlab.errors import CnnlabError
from cnnlab.stats.sample import best_arm
from cnnlab.storage.test_ledger import openings
from cnnlab.studies.analysis import make_confirmation
from cnnlab.studies.result import UNCONFIRMED, UNTESTED, Confirmation, StudyResult
from cnnlab.studies.runner import StudyRunner, run_tasks
from cnnlab.studies.test_split import open_test_sets


def confirm_winner(runner: StudyRunner, result: StudyResult) -> Confirmation | None:
    """Confirm the arm with the best mean.

    None where there is nothing to confirm, or the confirmation can't be made; the reason is logged, and for the latter
    kept in the runner.
    """
    study = runner.plan.study
    arms = [arm for arm in result.arms if not arm.same_as]
    # The mean of the runs that did not fail is biased.
    failing = [arm.name for arm in arms if arm.sample.failures]
    eligible = [arm for arm in arms if not arm.sample.failures]
    best = best_arm([arm.sample for arm in eligible], higher_is_better=study.higher_is_better)
    reason = ""
    if study.baseline is None:
        reason = "the study has no baseline"
    elif not result.complete:
        reason = "the first stage is not complete"
        if not runner.budget_exhausted:
            runner.untested_reason = f"{UNCONFIRMED}: {reason}"
    elif best is None:
        reason = "no arm has three finished runs and none that failed"
    elif eligible[best].name == study.baseline:
        reason = f"the baseline '{study.baseline}' has the best mean"
    if reason or best is None:
        runner.context.callbacks.log(f"{UNCONFIRMED}: {reason}")
        return None
    if failing:
        runner.context.callbacks.log(f"not eligible, since runs of them failed: {', '.join(failing)}")
    return confirm(runner, eligible[best].name)


def confirm(runner: StudyRunner, name: str) -> Confirmation | None:
    """Run an arm and the baseline with fresh seeds, and open the test set once for all these runs; then compare.

    None where there is no test set, or a run failed or could not be evaluated; the reason is logged and kept in the
    runner.
    """
    plan, study, log = runner.plan, runner.plan.study, runner.context.callbacks.log
    if study.baseline is None or study.confirm is None:
        return None
    if not plan.test_set:
        runner.untested_reason = f"{UNCONFIRMED}: the data has no test split"
        log(runner.untested_reason)
        return None
    arms = {arm.name: arm for arm in plan.with_fresh_seeds((name, study.baseline), study.confirm)}
    winner, baseline = arms[name], arms[study.baseline]
    tasks = [task for pair in zip(winner.tasks, baseline.tasks, strict=True) for task in pair]
    log(f"confirming '{winner.name}' against '{baseline.name}' with {study.confirm} fresh seeds each")
    if not run_tasks(runner, tasks):
        why = "the budget was spent first" if runner.budget_exhausted else "some of its runs are missing"
        log(f"not confirmed: {why}")
        if not runner.budget_exhausted:
            runner.untested_reason = f"{UNCONFIRMED}: {why}"
        return None
    try:
        open_test_sets(runner, tasks, "confirmation with {} runs")
    except (CnnlabError, OSError) as error:
        log(f"not confirmed: {UNTESTED}: {error}")
        runner.untested_reason = (
            f"{UNTESTED}: {error.problems[0] if isinstance(error, CnnlabError) else error}".partition("\n")[0]
        )
        return None
    runner.results.collect(tasks)
    return make_confirmation(runner.results, winner, baseline, len(openings(runner.context.runs, plan.test_set)))
