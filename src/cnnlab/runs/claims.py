"""The one judge of published claims. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

from cnnlab.config.arms import file_name
from cnnlab.config.claims import Claim
from cnnlab.config.study import Study
from cnnlab.data.sources.releases import CATALOGUE
from cnnlab.records import ClaimRecord, DataRecord, RunResult, Score, Verdict
from cnnlab.render.formatting import format_count, format_loss, pluralize
from cnnlab.stats.claim_test import ReproductionTest, reproduction_test
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
    results: Sequence[RunResult],
    data: DataRecord,
    *,
    of: str = "",
    seeds: Sequence[int] = (),
    study: Study | None = None,
    shortened: str = "",
) -> tuple[ClaimRecord, ...]:
    """Judge numbers, by metric, by runs of one recipe on the same data.

    Args:
        seeds: of the runs, in the order of the results.
        study: that the runs are of; its smallest difference counts for losses whose claim has none.
        shortened: as in `Measurements`.
    """
    records = []
    for name, claim in claims.items():
        values = [measured_value(name, result) for result in results]
        scores = [score for result in results if (score := _score(name, result)) is not None]
        measured = Measurements(
            data=named_data(claim, data.source),
            values=[value for value in values if value is not None],
            seeds=[seed for seed, value in zip(seeds, values, strict=False) if value is not None],
            images=scores[0].images if scores else None,
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
    score = _score(name, result)
    return score.metric(name.partition("_")[2]) if score is not None else None


def difference_text(name: str, difference: float) -> str:
    """By how much a measured number differs from the published one, and to which side."""
    number = format_count if name == "parameters" else format_loss
    return f"ours is {number(abs(difference))} {'higher' if difference > 0 else 'lower'}"


def _judge_number(claim: Claim, name: str, measured: Measurements) -> dict[str, object]:
    published = float(claim.published)
    test = reproduction_test(
        name,
        published,
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
    difference = None if test.measured is None else test.measured - published
    return {
        "measured": test.measured,
        "low": test.low,
        "high": test.high,
        "n": test.n,
        "values": [value for value in measured.values if isfinite(value)],
        "seeds": measured.seeds,
        "delta": test.delta,
        "difference": difference,
        "verdict": verdict,
        "reason": measured.reason or _number_reason(claim, name, test, verdict, measured),
    }


def _number_reason(claim: Claim, name: str, test: ReproductionTest, verdict: str, measured: Measurements) -> str:
    if test.measured is None:
        return "no run has this figure"
    gap = difference_text(name, test.measured - float(claim.published))
    reasons = {
        "reproduced": "the published figure lies where one more run would",
        "differs": gap,
        "not equal": gap,
        "not enough evidence": _evidence_needed(test, gap),
        "shortened": measured.shortened,
        "other data": "; ".join(filter(None, (_other_data(claim, measured), measured.shortened))),
    }
    return reasons.get(verdict, "")


def _other_data(claim: Claim, measured: Measurements) -> str:
    return f"published for {claim.data}, measured on {file_name(measured.data)}"


def _evidence_needed(test: ReproductionTest, gap: str) -> str:
    """What is missing for a verdict."""
    if test.n < MIN_RUNS or test.low is None or test.high is None:
        return f"{pluralize(test.n, 'run')} of {MIN_RUNS}; {gap}"
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


def _score(name: str, result: RunResult) -> Score | None:
    score = getattr(result, name.partition("_")[0], None)
    return score if isinstance(score, Score) else None
