"""The one judge of published claims. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

from cnnlab.config.arms import file_name
from cnnlab.config.claims import Claim, parse_claim_metric
from cnnlab.config.stopping import is_fraction
from cnnlab.config.study import Study
from cnnlab.data.sources.releases import CATALOGUE
from cnnlab.records import ClaimRecord, DataRecord, EpochRecord, RunResult, Score, Verdict
from cnnlab.render.formatting import format_count, format_loss, pluralize
from cnnlab.stats.claim_test import FEWEST_IMAGES, ReproductionTest, reproduction_test
from cnnlab.stats.sample import MIN_RUNS

# What an arm must be, against each arm that a word compares it with.
EXPECTED = {
    "better": "better",
    "best": "better",
    "worse": "worse",
    "worst": "worse",
    "equal": "practically equal",
}
DECIDED = ("better", "worse", "practically equal")


class ClaimRun(NamedTuple):
    """A run that measures claims: its result, and its learning curve, which is read for claims of an epoch."""

    result: RunResult
    epochs: Callable[[], Iterable[EpochRecord]]


class ArmDifference(NamedTuple):
    """An arm against another one (or a network under a shift against itself): arm − other, and the verdict on the arm.

    `verdict` is one of `stats.comparison`; `low` and `high` bound the difference, None without an interval.
    """

    other: str
    verdict: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0


@dataclass(frozen=True)
class Measurements:
    """What runs say of a claim.

    Attributes:
        data: the name of the data that was measured on.
        values: of a number, what each run measured.
        seeds: of these runs, where known.
        images: the number of images that the values are shares of, where known.
        delta: the smallest difference, for a claim that gives none.
        differences: of a word, the arm against each arm that the word compares it with.
        shortened: how the runs are shorter, or on fewer images, than those that the claim is about; "" where they are
            not.
        reason: for the verdict, instead of what the measurements say; why there are none, for example.
    """

    data: str
    values: Sequence[float] = ()
    seeds: Sequence[int] = ()
    images: int | None = None
    delta: float | None = None
    differences: Sequence[ArmDifference] = ()
    shortened: str = ""
    reason: str = ""


def judge_claim(
    claim: Claim, name: str, measured: Measurements, *, of: str = "", than: str = "", shift: str = ""
) -> ClaimRecord:
    """Judge a published claim by measurements.

    A number is *reproduced* or *differs* by `stats.claim_test`, a count is *equal* or *not equal*. A word *holds* where
    the comparison with every arm that it speaks of comes to that verdict, is *contradicted* where one comes to another
    verdict, and else there is *not enough evidence*. What was published for *other data*, or is measured by *shortened*
    runs, is compared and not judged.

    Args:
        name: the metric of the measurements.
        of: the recipe or arm that the claim is about. than, shift: as in `ClaimRecord`.
    """
    is_word = isinstance(claim.published, str)
    judgement = _judge_word(claim, measured) if is_word else _judge_number(claim, name, measured)
    fields = {
        "of": of,
        "name": name,
        "than": than,
        "shift": shift,
        "published": claim.published,
        "data": claim.data or "",
        "source": claim.source,
        "note": claim.note,
    }
    return ClaimRecord.model_validate(fields | judgement)


def judge_claims(
    claims: Mapping[str, Claim],
    runs: Sequence[ClaimRun],
    data: DataRecord,
    *,
    of: str = "",
    seeds: Sequence[int] = (),
    study: Study | None = None,
    shortened: str = "",
) -> tuple[ClaimRecord, ...]:
    """Judge numbers, by metric, by runs of one recipe on the same data.

    Args:
        seeds: of the runs, in their order.
        study: that the runs are of; its smallest difference counts for losses whose claim has none.
        shortened: as in `Measurements`.
    """
    records = []
    for name, claim in claims.items():
        values: list[float | None]
        scores: list[Score | None] = []
        if name == "parameters":
            values = [float(run.result.parameters) for run in runs]
        else:
            scores = [_claim_score(name, run) for run in runs]
            metric = parse_claim_metric(name).metric
            values = [score.metric(metric) if score is not None else None for score in scores]
        measured = Measurements(
            data=named_data(claim, data.source),
            values=[value for value in values if value is not None],
            seeds=[seed for seed, value in zip(seeds, values, strict=False) if value is not None],
            images=next((score.images for score in scores if score is not None), None),
            delta=study_delta(name, study),
            shortened=shortened,
        )
        records.append(judge_claim(claim, name, measured, of=of))
    return tuple(records)


def named_data(claim: Claim, source: str) -> str:
    """The measured data as the claim names its own: by its path or catalogue name, else by its file's name.

    A folder that is called cifar10 is not CIFAR-10.
    """
    return source if claim.data == source or claim.data in CATALOGUE else file_name(source)


def study_delta(name: str, study: Study | None) -> float | None:
    """The smallest difference that a study has for a claim: that of a study of losses, for losses.

    A study's is one of means, which many seeds make certain. No number of them makes one more run certain, so for
    shares that of `stats.claim_test` holds, in a study as without one.
    """
    is_loss = name.endswith("loss") and study is not None and study.split_metric == "loss"
    return study.smallest_difference if study is not None and is_loss else None


def measured_value(name: str, result: RunResult) -> float | None:
    """What a run measured of a metric; None where it did not."""
    if name == "parameters":
        return float(result.parameters)
    split, _, metric = name.partition("_")
    score = _score(split, result)
    return score.metric(metric) if score is not None else None


def difference_text(name: str, difference: float) -> str:
    """By how much a measured number differs from the published one, and to which side."""
    number = format_count if name == "parameters" else format_loss
    return f"ours is {number(abs(difference))} {'higher' if difference > 0 else 'lower'}"


def _judge_number(claim: Claim, name: str, measured: Measurements) -> dict[str, object]:
    _, split, metric = parse_claim_metric(name)
    test = reproduction_test(
        f"{split}_{metric}" if split else name,
        claim.bounds,
        measured.values,
        images=claim.images,
        claim_data=claim.data,
        data=measured.data,
        measured_images=measured.images,
        delta=claim.smallest_difference or measured.delta,
    )
    verdict: Verdict = test.verdict
    if measured.shortened and verdict in ("reproduced", "differs", "not enough evidence"):
        verdict = "shortened"
    return {
        "measured": test.measured,
        "low": test.low,
        "high": test.high,
        "n": test.n,
        "values": [value for value in measured.values if isfinite(value)],
        "seeds": measured.seeds,
        "delta": test.delta,
        "difference": test.difference,
        "verdict": verdict,
        "reason": measured.reason or _number_reason(claim, name, test, verdict, measured),
    }


def _number_reason(claim: Claim, name: str, test: ReproductionTest, verdict: str, measured: Measurements) -> str:
    if test.difference is None:
        return "no run has this figure"
    gap = difference_text(name, test.difference)
    is_range = isinstance(claim.published, tuple)
    reasons = {
        "reproduced": "one more run could lie in the published range"
        if is_range
        else "the published figure lies where one more run would",
        "differs": gap,
        "not equal": gap,
        "not enough evidence": _evidence_needed(test, gap),
        "shortened": measured.shortened,
        "other data": "; ".join(filter(None, (_other_data(claim, measured), measured.shortened))),
    }
    reason = reasons.get(verdict, "")
    if test.unknown_images and verdict == "reproduced":
        reason += "; the number of its images is not published, so its own sampling error is not counted"
    if test.unknown_images and verdict == "differs":
        reason += f", more than the sampling error of {FEWEST_IMAGES:,} images could explain"
    return reason


def _other_data(claim: Claim, measured: Measurements) -> str:
    return f"published for {claim.data}, measured on {file_name(measured.data)}"


def _evidence_needed(test: ReproductionTest, gap: str) -> str:
    """What is missing for a verdict."""
    if test.n < MIN_RUNS or test.low is None or test.high is None or test.measured is None or test.difference is None:
        return f"{pluralize(test.n, 'run')} of {MIN_RUNS}; {gap}"
    if test.unknown_images and not test.low <= test.measured - test.difference <= test.high:
        unknown = "its number of images is not published"
        return f"{gap}; {unknown}, and the sampling error of {FEWEST_IMAGES:,} could explain it"
    half = f"one more run would lie within ±{format_loss((test.high - test.low) / 2)}"
    if test.delta is None:
        return f"{half}; give the claim a smallest_difference to say whether that is close"
    return f"{half}, too wide to show it to be reproduced within ±{test.delta:g}"


def _judge_word(claim: Claim, measured: Measurements) -> dict[str, object]:
    differences, expected = measured.differences, EXPECTED[str(claim.published)]
    against = [each for each in differences if each.verdict in DECIDED and each.verdict != expected]
    undecided = [each for each in differences if each.verdict not in DECIDED]
    verdict: Verdict = "holds"
    if against:
        verdict = "contradicted"
    elif undecided or not differences:
        verdict = "not enough evidence"
    reasons = [measured.reason or _word_reason(differences, against or undecided, expected)]
    if claim.data is not None and claim.data != measured.data:
        verdict = "other data"
        reasons.append(_other_data(claim, measured))
    elif measured.shortened:
        verdict = "shortened"
        reasons.append(measured.shortened)
    only = differences[0] if len(differences) == 1 else None
    return {
        "measured": only.difference if only else None,
        "low": only.low if only else None,
        "high": only.high if only else None,
        "n": min((each.n for each in differences), default=0),
        "verdict": verdict,
        "reason": "; ".join(filter(None, reasons)),
    }


def _word_reason(differences: Sequence[ArmDifference], failing: Sequence[ArmDifference], expected: str) -> str:
    """The verdict on the arm, or which of the other arms keep the word from holding."""
    if len(differences) == 1:
        return differences[0].verdict
    if failing:
        return "; ".join(f"against '{each.other}': {each.verdict}" for each in failing)
    return f"{expected} than each of the {len(differences)} others"


def _claim_score(name: str, run: ClaimRun) -> Score | None:
    """The score of the epoch that a claim's metric is about; None where the run does not have it."""
    epoch, split, metric = parse_claim_metric(name)
    if not epoch:
        return _score(split, run.result)
    if run.result.status == "diverged":
        return None
    curve = list(run.epochs())
    if epoch == "last":
        if curve and curve[-1].epoch == run.result.selected_epoch:
            return _score(split, run.result)
        curve = curve[-1:]
    scores = [score for point in curve if isinstance(score := getattr(point, split), Score)]
    scores = [score for score in scores if isfinite(score.metric(metric))]
    best = max if is_fraction(metric) else min
    return best(scores, key=lambda score: score.metric(metric), default=None)


def _score(split: str, result: RunResult) -> Score | None:
    score = getattr(result, split, None)
    return score if isinstance(score, Score) else None
