"""What a plan and the runs that are there already say of a study's cost and of what it can find."""

from __future__ import annotations

from math import isfinite
from statistics import fmean

from cnnlab.config.study import Study
from cnnlab.runs.index.run_index import RunIndex
from cnnlab.studies.analysis import CollectedResults
from cnnlab.studies.plan import PlannedArm, StudyPlan
from cnnlab.studies.plan_summary import ArmPlan, PlanSummary, plan_summary

ACCURACY = "accuracy"


def forecast(plan: StudyPlan, index: RunIndex) -> PlanSummary:
    """The study before it runs, or before it goes on.

    Runs that were made tell how long the others take, and how much seeds differ; without any, the speed that the plan
    has found and published figures do.
    """
    study, collected = plan.study, CollectedResults(plan, index, {})
    ratio = _time_ratio(plan, collected)
    pilot = [sample for arm in plan.arms if not arm.same_as and (sample := collected.arm_record(arm).sample).n]
    trial = f"each network timed on {plan.study_precision.device}, one run at a time"
    runs_text = f"the {len(collected.finished_runs)} runs made already, and each network timed"
    return plan_summary(
        plan.name,
        [_arm_plan(arm, collected, ratio) for arm in plan.arms],
        metric=study.metric,
        images=plan.images,
        delta=study.smallest_difference,
        alpha=study.alpha,
        baseline=study.baseline,
        question=study.question,
        expected_accuracy=None if pilot else _published_accuracy(study),
        pilot=pilot,
        basis=runs_text if collected.finished_runs else trial,
        confirm=study.confirm,
    )


def _arm_plan(arm: PlannedArm, collected: CollectedResults, ratio: float) -> ArmPlan:
    done = [collected.finished_runs[task.id].result.seconds for task in arm.tasks if task.id in collected.finished_runs]
    expected = arm.tasks[0].seconds * ratio
    return ArmPlan(
        name=arm.name,
        seeds=len(arm.tasks),
        done=len(done),
        seconds=fmean(done) if done else expected if isfinite(expected) else None,
        same_as=arm.same_as,
    )


def _time_ratio(plan: StudyPlan, collected: CollectedResults) -> float:
    """How much longer the finished runs took than their benchmarks estimated."""
    pairs = [
        (collected.finished_runs[task.id].result.seconds, task.seconds)
        for arm in plan.arms
        for task in arm.tasks
        if task.id in collected.finished_runs and isfinite(task.seconds) and task.seconds
    ]
    return sum(took for took, _ in pairs) / sum(estimated for _, estimated in pairs) if pairs else 1.0


def _published_accuracy(study: Study) -> float | None:
    """The published accuracy of the arms, or of the base: on the study's split, else on the test split."""
    if study.split_metric != ACCURACY:
        return None
    for name in (study.metric, f"test_{study.split_metric}"):
        claims = [claim for claim in study.claims if claim.kind == "numeric" and claim.metric == name]
        claims += [study.base.claims[name]] if name in study.base.claims else []
        published = [float(claim.published) for claim in claims]
        if published:
            return fmean(published)
    return None
