"""What a study will cost and what its seeds can find, before it runs: plain numbers in, a record out. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite, sqrt

from cnnlab.records import Record
from cnnlab.render.formatting import pluralize
from cnnlab.render.result import Result
from cnnlab.stats.power import detectable_difference, planning_sd, seeds_for_equivalence, seeds_to_detect
from cnnlab.stats.sample import Sample

# The error to plan with where nothing is known of the arms: that of small networks on CIFAR-10.
ASSUMED_ERROR = 0.25
# Differences that people ask for, as fractions; a study's own smallest one stands before them.
USUAL_DIFFERENCES = (0.002, 0.003, 0.005, 0.01)
# For a metric that is no fraction: multiples of the smallest difference of interest.
MULTIPLES = (2, 5)


class ArmPlan(Record):
    """One arm: how many seeds, how many of its runs are made already, and the seconds that one takes, where known.

    An arm that is the same experiment as another names that in `same_as`: its runs are not made again.
    """

    name: str
    seeds: int
    done: int = 0
    seconds: float | None = None
    same_as: str = ""

    @property
    def to_do(self) -> int:
        """Runs still to make."""
        return 0 if self.same_as else max(self.seeds - self.done, 0)


class Power(Record):
    """A figure for each of two questions, found in 80 % or in 90 % of studies; None where it can't be had.

    Attributes:
        two_80, two_90: of two arms alone, at alpha. family_80, family_90: of one arm of the family, at alpha/k.
    """

    two_80: float | None
    two_90: float | None
    family_80: float | None
    family_90: float | None


class SeedsNeeded(Record):
    """The seeds an arm that it takes to find a true difference, in the metric's units."""

    difference: float
    seeds: Power


class PlanSummary(Result):
    """A study before it runs.

    Attributes:
        baseline: the arm that the others are compared with; None in a sweep.
        runs, done, to_do: of all arms, equal ones counted once.
        seconds: expected for the runs to do, one after the other; None where the speed of an arm is not known.
        basis: where the seconds come from.
        images: how many the metric is measured on.
        sd: the spread between runs to plan with, in the metric's units, and `sd_reason`, why; None: nothing to plan by.
        comparisons: k, the size of the family: arms against the baseline, or values against the best.
        seeds, baseline_seeds: of the smallest arm, and of what it is compared with.
        detectable: the smallest true difference that these seeds find.
        needed: the seeds it takes, for the study's smallest difference and for usual ones.
        equal: the seeds an arm that it takes to show that arms without a difference lie within ±delta.
        confirm: the fresh seeds of the winner and the baseline in a second stage, which opens the test set; None: there
            is none.
    """

    name: str
    question: str
    arms: tuple[ArmPlan, ...]
    baseline: str | None
    runs: int
    done: int
    to_do: int
    seconds: float | None
    basis: str
    metric: str
    images: int
    sd: float | None
    sd_reason: str
    delta: float | None
    alpha: float
    comparisons: int
    seeds: int
    baseline_seeds: int
    detectable: Power
    needed: tuple[SeedsNeeded, ...]
    equal: Power
    confirm: int | None = None


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
    """What a study will cost, and what its seeds can find.

    Args:
        arms: one or more, each with its seeds, the runs made already and the seconds of a run.
        metric: part_figure, such as validation_accuracy.
        delta: the smallest difference of interest, in the metric's units; None: none was given for a loss.
        baseline: the arm that the others are compared with; None for values, which are compared with the best.
        expected_accuracy: of a typical arm, a fraction; None: that of the pilot, or else an assumption.
        pilot: figures of runs made before, an arm each: they tell the spread where it is larger than √(err/2N).
        basis: a few words on where the seconds come from.
        confirm: the fresh seeds of a second stage.

    Raises:
        UsageError: a number that can't be.
    """
    own = [arm for arm in arms if not arm.same_as]
    compared = [arm.seeds for arm in own if arm.name != baseline] or [own[0].seeds]
    k, n = max(len(own) - 1, 1), min(compared)
    n_b = next((arm.seeds for arm in own if arm.name == baseline), n)
    sd, reason = estimate_sd(metric, images, expected_accuracy, pilot or ())
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
        detectable=_detectable_differences(sd, n, n_b, alpha, k),
        needed=tuple(SeedsNeeded(difference=each, seeds=_seeds_needed(sd, each, alpha, k)) for each in differences),
        equal=_seeds_for_equivalence(sd, delta, alpha, k),
        confirm=confirm,
    )


def estimate_sd(
    metric: str, images: int, expected_accuracy: float | None, pilot: Sequence[Sample]
) -> tuple[float | None, str]:
    """The standard deviation between runs to plan with, and the reason for it in a sentence."""
    known = [(sample.n - 1, sample.sd) for sample in pilot if sample.sd is not None]
    freedom = sum(each for each, _ in known)
    pooled = sqrt(sum(each * sd**2 for each, sd in known) / freedom) if freedom else None
    pilot_text = f"the pooled standard deviation of {pluralize(sum(sample.n for sample in pilot), 'run')} made before"
    if not _is_fraction(metric):
        if pooled is None:
            return None, "No spread to plan with: that of a loss is not known before some runs are made."
        return pooled, f"σ = {pooled:.3g}, {pilot_text}."
    means = [sample.mean for sample in pilot if sample.mean is not None]
    if expected_accuracy is not None:
        error, why = 1 - expected_accuracy, "the error expected"
    elif means:
        error, why = 1 - sum(means) / len(means), "the error of runs made before"
    else:
        error, why = ASSUMED_ERROR, "the error assumed, as nothing is known of these arms"
    formula = planning_sd(error, images)
    formula_text = f"√(err/2N) = {100 * formula:.2g} points, with {100 * error:.3g} % ({why}) and N = {images:,} images"
    if pooled is None:
        return formula, f"σ = {formula_text}; no runs were made before."
    sd = planning_sd(error, images, pooled)
    if sd > formula:
        return sd, f"σ = {100 * sd:.2g} points, {pilot_text}; it is larger than {formula_text}."
    return sd, f"σ = {formula_text}; {pilot_text} is {100 * pooled:.2g} points."


def _is_fraction(metric: str) -> bool:
    return not metric.endswith("loss")


def _seconds(arms: Sequence[ArmPlan]) -> float | None:
    """Of all runs still to make; None where the speed of one of them is not known."""
    total = 0.0
    for arm in arms:
        if arm.to_do:
            if arm.seconds is None or not isfinite(arm.seconds):
                return None
            total += arm.to_do * arm.seconds
    return total


def _detectable_differences(sd: float | None, n: int, n_b: int, alpha: float, k: int) -> Power:
    def detectable(power: float, size: int) -> float | None:
        least = inf if sd is None else detectable_difference(sd, n, n_b, power=power, alpha=alpha, comparisons=size)
        return least if isfinite(least) else None

    return Power(
        two_80=detectable(0.8, 1), two_90=detectable(0.9, 1), family_80=detectable(0.8, k), family_90=detectable(0.9, k)
    )


def _seeds_needed(sd: float | None, difference: float, alpha: float, k: int) -> Power:
    def seeds(power: float, size: int) -> float | None:
        return None if sd is None else seeds_to_detect(sd, difference, power=power, alpha=alpha, comparisons=size)

    return Power(two_80=seeds(0.8, 1), two_90=seeds(0.9, 1), family_80=seeds(0.8, k), family_90=seeds(0.9, k))


def _seeds_for_equivalence(sd: float | None, delta: float | None, alpha: float, k: int) -> Power:
    def seeds(power: float, size: int) -> float | None:
        return (
            None
            if sd is None or delta is None
            else seeds_for_equivalence(sd, delta, power=power, alpha=alpha, comparisons=size)
        )

    return Power(two_80=seeds(0.8, 1), two_90=seeds(0.9, 1), family_80=seeds(0.8, k), family_90=seeds(0.9, k))
