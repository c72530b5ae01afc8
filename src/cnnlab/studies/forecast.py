"""The plan of a study as numbers: its runs and time, and the differences that its seeds find."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from math import isfinite
from statistics import fmean
from typing import Any

from cnnlab.config.stopping import is_fraction
from cnnlab.render.formatting import pluralize
from cnnlab.runs.index.run_index import RunIndex
from cnnlab.runs.setup import kept_gflops, training_gflops
from cnnlab.stats.power import detectable_difference, planning_sd, seeds_for_equivalence, seeds_to_detect
from cnnlab.stats.sample import Sample, pooled_sd
from cnnlab.studies.analysis import CollectedResults
from cnnlab.studies.plan import PlannedArm, StudyPlan
from cnnlab.studies.result import ArmPlan, PlanSummary, SeedsNeeded

# The error to plan with where nothing is known of the arms: that of small networks on CIFAR-10.
ASSUMED_ERROR = 0.25
# Differences that people ask for, as fractions; a study's own smallest one stands before them.
USUAL_DIFFERENCES = (0.002, 0.003, 0.005, 0.01)
# For a metric that is no fraction: multiples of the smallest difference of interest.
MULTIPLES = (2, 5)


def forecast(plan: StudyPlan, index: RunIndex, *, measured: bool = True) -> PlanSummary:
    """Summarize the plan of a study that is to run, or to continue.

    The time of a run and the spread between seeds are estimated from finished runs; without any, from the speed of each
    network and from an assumed error.

    Args:
        measured: whether the speeds are measured; otherwise they follow from multiply-adds and a throughput.
    """
    study, collected = plan.study, CollectedResults(plan, index)
    pilot = [sample for arm in plan.arms if not arm.same_as and (sample := collected.arm_record(arm).sample).n]
    trial = f"each network timed on {plan.study_precision.device}, one run at a time"
    if not measured:
        trial = throughput_text(plan.study_precision.device)
    runs_text = f"the {len(collected.finished_runs)} runs made already, and {trial}"
    return plan_summary(
        plan.name,
        [_arm_plan(arm, collected, _time_ratio(plan, collected)) for arm in plan.arms],
        metric=study.metric,
        images=plan.images,
        delta=study.smallest_difference,
        alpha=study.alpha,
        baseline=study.baseline,
        question=study.question,
        pilot=pilot,
        basis=runs_text if collected.finished_runs else trial,
        confirm=study.confirm,
    )


def throughput_text(device: str) -> str:
    """The throughput that a plan estimates times by, and where it comes from."""
    kept = kept_gflops(device)
    source = f"from {pluralize(len(kept), 'kept benchmark')}" if kept else "assumed; --measure times each network"
    return f"{training_gflops(device):.3g} GFLOP/s on {device}, {source}"


def _time_ratio(plan: StudyPlan, collected: CollectedResults) -> float:
    """How much longer the finished runs took than was estimated."""
    runs = [(run.result.seconds, arm.tasks[0].seconds) for arm in plan.arms for run in collected.finished(arm.tasks)]
    known = [(took, estimated) for took, estimated in runs if isfinite(estimated) and estimated]
    return sum(took for took, _ in known) / sum(estimated for _, estimated in known) if known else 1.0


def _arm_plan(arm: PlannedArm, collected: CollectedResults, ratio: float) -> ArmPlan:
    done = [run.result.seconds for run in collected.finished(arm.tasks)]
    return ArmPlan(
        name=arm.name,
        seeds=len(arm.tasks),
        done=len(done),
        seconds=fmean(done) if done else _finite(ratio * arm.tasks[0].seconds),
        same_as=arm.same_as,
    )


def plan_summary(
    name: str,
    arms: Sequence[ArmPlan],
    *,
    metric: str,
    images: int,
    delta: float | None,
    alpha: float = 0.05,
    baseline: str | None = None,
    question: str = "",
    pilot: Sequence[Sample] | None = None,
    basis: str = "",
    confirm: int | None = None,
) -> PlanSummary:
    """Summarize a plan: the cost of a study, and the differences that its seeds find.

    Args:
        arms: one or more, each with its seeds, the runs made already and the seconds of a run.
        metric: part_figure, such as validation_accuracy.
        delta: the smallest difference of interest, in the metric's units; None: none was given for a loss.
        baseline: the arm that the others are compared with; None for values, which are compared with the best.
        pilot: metrics of earlier runs, one sample an arm; their spread counts where it is larger than √(err/2N).
        basis: where the seconds come from.
        confirm: the fresh seeds of a second stage.

    Raises:
        UsageError: a number is out of range.
    """
    own = [arm for arm in arms if not arm.same_as]
    compared = [arm.seeds for arm in own if arm.name != baseline] or [own[0].seeds]
    k, n = max(len(own) - 1, 1), min(compared)
    n_b = next((arm.seeds for arm in own if arm.name == baseline), n)
    sd, reason = estimate_sd(metric, images, pilot or ())
    rules: Any = {"alpha": alpha, "comparisons": k}

    def seeds(plan: Callable[..., int], difference: float | None) -> int | None:
        return None if sd is None or difference is None else plan(sd, difference, **rules)

    differences: tuple[float, ...] = ()
    if delta is not None:
        usual = USUAL_DIFFERENCES if is_fraction(metric) else tuple(delta * factor for factor in MULTIPLES)
        differences = (delta, *(each for each in usual if each > delta * (1 + 1e-9)))
    to_do = [(arm.to_do, arm.seconds) for arm in own if arm.to_do]
    seconds = sum(runs * (math.nan if each is None else each) for runs, each in to_do)
    return PlanSummary(
        name=name,
        question=question,
        arms=tuple(arms),
        baseline=baseline,
        runs=sum(arm.seeds for arm in own),
        done=sum(min(arm.done, arm.seeds) for arm in own),
        to_do=sum(arm.to_do for arm in own),
        seconds=_finite(seconds),
        basis=basis,
        metric=metric,
        images=images,
        sd=sd,
        sd_reason=reason,
        delta=delta,
        alpha=alpha,
        comparisons=k,
        seeds=n,
        baseline_seeds=n_b,
        detectable=_finite(detectable_difference(sd, n, n_b, **rules)) if sd is not None else None,
        needed=tuple(SeedsNeeded(difference=each, seeds=seeds(seeds_to_detect, each)) for each in differences),
        equal=seeds(seeds_for_equivalence, delta),
        confirm=confirm,
    )


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def estimate_sd(metric: str, images: int, pilot: Sequence[Sample]) -> tuple[float | None, str]:
    """The standard deviation between runs to plan with, and how it was estimated."""
    pooled = pooled_sd(pilot)
    pilot_text = f"the pooled standard deviation of {pluralize(sum(sample.n for sample in pilot), 'finished run')}"
    if not is_fraction(metric):
        reason = "unknown: for a loss it is estimated from finished runs only" if pooled is None else pilot_text
        return pooled, f"σ: {reason}."
    means = [sample.mean for sample in pilot if sample.mean is not None]
    error, why = ASSUMED_ERROR, "an assumed error"
    if means:
        error, why = 1 - fmean(means), "the error of finished runs"
    sd = planning_sd(error, images, pooled)
    reason = f"σ = {100 * sd:.2g} points, from √(err/2N) with {100 * error:.3g} % ({why}) and N = {images:,} images"
    return sd, f"{reason}; or {pilot_text}, which is larger." if sd == pooled else f"{reason}."
