"""The plan of a study as numbers: its runs and time, and the differences that its seeds find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isfinite, sqrt
from statistics import fmean

from cnnlab.config.study import Study
from cnnlab.render.formatting import pluralize
from cnnlab.runs.index.run_index import RunIndex
from cnnlab.stats.power import detectable_difference, planning_sd, seeds_for_equivalence, seeds_to_detect
from cnnlab.stats.sample import Sample
from cnnlab.studies.analysis import CollectedResults
from cnnlab.studies.plan import PlannedArm, StudyPlan
from cnnlab.studies.result import ArmPlan, PlanSummary, Power, SeedsNeeded

ACCURACY = "accuracy"
# The error to plan with where nothing is known of the arms: that of small networks on CIFAR-10.
ASSUMED_ERROR = 0.25
# Differences that people ask for, as fractions; a study's own smallest one stands before them.
USUAL_DIFFERENCES = (0.002, 0.003, 0.005, 0.01)
# For a metric that is no fraction: multiples of the smallest difference of interest.
MULTIPLES = (2, 5)


def forecast(plan: StudyPlan, index: RunIndex) -> PlanSummary:
    """Summarize the plan of a study that is to run, or to continue.

    The time of a run and the spread between seeds are estimated from finished runs; without any, from the benchmarked
    speed and from published accuracies.
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
    expected_accuracy: float | None = None,
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
        expected_accuracy: of a typical arm, a fraction; None: that of the pilot, or else an assumption.
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
    sd, reason = estimate_sd(metric, images, expected_accuracy, pilot or ())

    def detectable(power: float, size: int) -> float | None:
        found = inf if sd is None else detectable_difference(sd, n, n_b, power=power, alpha=alpha, comparisons=size)
        return found if isfinite(found) else None

    def needed(difference: float) -> Power:
        def seeds(power: float, size: int) -> float | None:
            return None if sd is None else seeds_to_detect(sd, difference, power=power, alpha=alpha, comparisons=size)

        return _power_table(seeds, k)

    def equal(power: float, size: int) -> float | None:
        if sd is None or delta is None:
            return None
        return seeds_for_equivalence(sd, delta, power=power, alpha=alpha, comparisons=size)

    differences: tuple[float, ...] = ()
    if delta is not None:
        usual = USUAL_DIFFERENCES if _is_fraction(metric) else tuple(delta * factor for factor in MULTIPLES)
        differences = (delta, *(each for each in usual if each > delta * (1 + 1e-9)))
    return PlanSummary(
        name=name,
        question=question,
        arms=tuple(arms),
        baseline=baseline,
        runs=sum(arm.seeds for arm in own),
        done=sum(min(arm.done, arm.seeds) for arm in own),
        to_do=sum(arm.to_do for arm in own),
        seconds=_seconds(own),
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
        detectable=_power_table(detectable, k),
        needed=tuple(SeedsNeeded(difference=each, seeds=needed(each)) for each in differences),
        equal=_power_table(equal, k),
        confirm=confirm,
    )


def estimate_sd(
    metric: str, images: int, expected_accuracy: float | None, pilot: Sequence[Sample]
) -> tuple[float | None, str]:
    """The standard deviation between runs to plan with, and how it was estimated."""
    known = [(sample.n - 1, sample.sd) for sample in pilot if sample.sd is not None]
    freedom = sum(each for each, _ in known)
    pooled = sqrt(sum(each * sd**2 for each, sd in known) / freedom) if freedom else None
    pilot_text = f"the pooled standard deviation of {pluralize(sum(sample.n for sample in pilot), 'finished run')}"
    if not _is_fraction(metric):
        if pooled is None:
            return None, "σ is unknown: for a loss it is estimated from finished runs only."
        return pooled, f"σ = {pooled:.3g}, {pilot_text}."
    means = [sample.mean for sample in pilot if sample.mean is not None]
    if expected_accuracy is not None:
        error, why = 1 - expected_accuracy, "the expected error"
    elif means:
        error, why = 1 - sum(means) / len(means), "the error of finished runs"
    else:
        error, why = ASSUMED_ERROR, "an assumed error"
    formula = planning_sd(error, images)
    formula_text = f"√(err/2N) = {100 * formula:.2g} points, with {100 * error:.3g} % ({why}) and N = {images:,} images"
    if pooled is None:
        return formula, f"σ = {formula_text}."
    sd = planning_sd(error, images, pooled)
    if sd > formula:
        return sd, f"σ = {100 * sd:.2g} points, {pilot_text}; it is larger than {formula_text}."
    return sd, f"σ = {formula_text}; {pilot_text} is {100 * pooled:.2g} points."


def _is_fraction(metric: str) -> bool:
    return not metric.endswith("loss")


def _seconds(arms: Sequence[ArmPlan]) -> float | None:
    """The time of all runs still to make; None where the speed of one of them is not known."""
    total = 0.0
    for arm in arms:
        if arm.to_do:
            if arm.seconds is None or not isfinite(arm.seconds):
                return None
            total += arm.to_do * arm.seconds
    return total


def _power_table(value: Callable[[float, int], float | None], comparisons: int) -> Power:
    """A value at a power of 80 % and 90 %, for two arms alone and for one of the family."""
    return Power(
        two_80=value(0.8, 1),
        two_90=value(0.9, 1),
        family_80=value(0.8, comparisons),
        family_90=value(0.9, comparisons),
    )
