"""Published statements about the arms of a study, and about its networks under shifts, judged by its runs. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cnnlab.config.claims import SUPERLATIVES, OrdinalClaim, ShiftClaim
from cnnlab.config.corruptions import read_corruption
from cnnlab.config.study import Study
from cnnlab.runs.robustness.result import ShiftResult, ShiftRow
from cnnlab.stats.ablation import Ablation, analyze_ablation
from cnnlab.stats.claim_test import judge_claim
from cnnlab.stats.comparison import Comparison, compare
from cnnlab.stats.sample import Sample
from cnnlab.stats.welch import family_level
from cnnlab.studies.result import OrdinalClaimRecord, OrdinalVerdict, ShiftClaimRecord

# What a verdict on (arm, other arm) makes of a word; a verdict that is not here leaves it open.
VERDICTS: dict[str, dict[str, OrdinalVerdict]] = {
    "better": {"better": "holds", "worse": "contradicted", "practically equal": "contradicted"},
    "worse": {"worse": "holds", "better": "contradicted", "practically equal": "contradicted"},
    "equal": {"practically equal": "holds", "better": "contradicted", "worse": "contradicted"},
}
OPPOSITE = {"better": "worse", "worse": "better", "equal": "equal"}
OPEN_VERDICT: OrdinalVerdict = "not enough evidence"


def judge_ordinal_claims(
    study: Study, samples: Mapping[str, Sample], same: Mapping[str, str], ablation: Ablation | None, data: str
) -> tuple[OrdinalClaimRecord, ...]:
    """Judge each ordinal claim of a study.

    Claims against the baseline are judged by the verdicts of the ablation, which hold for all arms together;
    the other pairs share alpha between them. A claim published for other data, or compared
    with shortened runs, is not judged: its reason says what the runs show.

    Args:
        samples: of each arm that counts.
        same: arms that are another one under a second name.
        ablation: of the arms against the baseline, where there is one.
        data: what the study ran on.
    """
    judge = _ClaimJudge(study, samples, ablation, _num_pairs(study, same))
    return tuple(_judge_statement(study, claim, judge, same, data) for claim in study.says)


def _judge_statement(
    study: Study, claim: OrdinalClaim, judge: _ClaimJudge, same: Mapping[str, str], data: str
) -> OrdinalClaimRecord:
    arm = same.get(claim.arm, claim.arm)
    if claim.published in SUPERLATIVES:
        than = "all others"
        verdict, reason = judge.compare_with_all(arm, expected="worse" if claim.published == "best" else "better")
    else:
        than = claim.than or study.baseline or ""
        verdict, reason = judge.compare_with_one(claim.published, arm, same.get(than, than))
    if claim.data is not None and claim.data != data:
        verdict, reason = "other data", f"{reason} (on {data}; published for {claim.data})"
    elif study.shortened:
        verdict, reason = "shortened", f"{reason} (with {', '.join(study.shortened)} set by hand)"
    return OrdinalClaimRecord(
        arm=claim.arm,
        than=than,
        published=claim.published,
        verdict=verdict,
        reason=reason,
        source=claim.source,
        note=claim.note,
    )


def _num_pairs(study: Study, same: Mapping[str, str]) -> int:
    """How many claims compare two arms neither of which is the baseline."""
    base = study.baseline
    pairs = [(same.get(one.arm, one.arm), same.get(one.than or "", one.than)) for one in study.says]
    return sum(than not in (None, base) and arm != base for arm, than in pairs)


class _ClaimJudge:
    """Judges ordinal claims about arms by their runs."""

    def __init__(self, study: Study, samples: Mapping[str, Sample], ablation: Ablation | None, pairs: int) -> None:
        self.study, self.samples, self.pairs = study, samples, pairs
        self.by_arm = {one.a: one for one in ablation.comparisons} if ablation is not None else {}

    def compare_with_one(self, published: str, arm: str, than: str) -> tuple[OrdinalVerdict, str]:
        """What the runs make of "arm is better (worse, equal) than"."""
        base = self.study.baseline
        if arm == than:
            return "contradicted" if published != "equal" else "holds", "the two are one experiment"
        if than == base and arm in self.by_arm:
            return VERDICTS[published].get(self.by_arm[arm].verdict, OPEN_VERDICT), _describe_comparison(
                self.by_arm[arm], self.study
            )
        if arm == base and than in self.by_arm:
            found = self.by_arm[than]
            return VERDICTS[OPPOSITE[published]].get(
                found.verdict, OPEN_VERDICT
            ), f"'{than}' is {_describe_comparison(found, self.study)}"
        rules, first, second = _rules(self.study), self.samples[arm], self.samples[than]
        rules["alpha"] = family_level(rules["alpha"], max(self.pairs, 1), first.n, second.n)
        found = compare(first, second, **rules)
        return VERDICTS[published].get(found.verdict, OPEN_VERDICT), _describe_comparison(found, self.study)

    def compare_with_all(self, arm: str, expected: str) -> tuple[OrdinalVerdict, str]:
        """Best is what makes each other arm worse, for all of them together; one that is not worse contradicts it.

        Args:
            expected: what the others must be, seen from the arm.
        """
        others = [sample for name, sample in self.samples.items() if name != arm]
        if not others:
            return OPEN_VERDICT, "there is no other arm"
        found = analyze_ablation(self.samples[arm], others, **_rules(self.study)).comparisons
        against = [one for one in found if VERDICTS[expected].get(one.verdict) == "contradicted"]
        held = [one for one in found if VERDICTS[expected].get(one.verdict) == "holds"]
        if against:
            return "contradicted", "; ".join(f"'{one.a}' is {one.verdict}" for one in against)
        if len(held) == len(found):
            return "holds", f"each of the {len(found)} others is {expected}"
        missing = ", ".join(f"'{one.a}'" for one in found if one not in held)
        return OPEN_VERDICT, f"{len(held)} of the {len(found)} others are {expected}: {missing} undecided"


def _rules(study: Study) -> dict[str, Any]:
    return {
        "delta": study.smallest_difference,
        "alpha": study.alpha,
        "higher_is_better": study.higher_is_better,
        "accuracy": study.split_metric == "accuracy",
    }


def _describe_comparison(found: Comparison, study: Study) -> str:
    if found.difference is None:
        return found.verdict
    scale, unit = (100, " points") if study.split_metric != "loss" else (1, "")
    text = f"{found.verdict}: {scale * found.difference:+.2f}{unit}"
    if found.low is not None and found.high is not None:
        text += f" ({scale * found.low:+.2f} to {scale * found.high:+.2f})"
    return text.replace("-", "\N{MINUS SIGN}")


# Verdicts that a run on fewer images than were published for can't give.
DECIDED_VERDICTS = ("reproduced", "differs", "not enough evidence")


def judge_shift_claims(
    study: Study, shift_result: ShiftResult | None, data: str, same: Mapping[str, str] | None = None
) -> tuple[ShiftClaimRecord, ...]:
    """Judge each claim that is published of networks under a shift.

    A word is judged by the verdict on the arm's networks against the images as they are, which holds for all shifts
    of the arm together; a figure by the prediction interval of one more network.

    Args:
        shift_result: None where the networks have not been tested yet, which leaves all verdicts open.
        data: what the study ran on.
        same: arms that are another one under a second name.
    """
    return tuple(_judge_shift_claims(study, shift_result, data, same or {}))


def _judge_shift_claims(
    study: Study, shift_result: ShiftResult | None, data: str, same: Mapping[str, str]
) -> Iterator[ShiftClaimRecord]:
    groups = shift_result.groups if shift_result is not None else ()
    rows = {(group.name, row.call): row for group in groups for row in group.rows}
    for claim in study.under:
        arm = claim.arm or study.baseline or ""
        shift = read_corruption(claim.shift)
        row = rows.get((same.get(arm, arm), str(shift.as_call())))
        verdict: str = OPEN_VERDICT
        reason = "no network of this arm was tested under it"
        if row is not None and shift_result is not None:
            found = _judge_ordinal if isinstance(claim.published, str) else _judge_numeric
            verdict, reason = found(study, claim, row, shift_result, data)
        elif shift_result is None:
            reason = "the networks have not been tested under shifts yet"
        yield ShiftClaimRecord.model_validate(
            {
                "arm": arm,
                "shift": shift.title,
                "published": claim.published if isinstance(claim.published, str) else f"{claim.published:g}",
                "verdict": verdict,
                "reason": reason,
                "source": claim.source,
                "note": claim.note,
            }
        )


def _judge_ordinal(
    study: Study, claim: ShiftClaim, row: ShiftRow, _shift_result: ShiftResult, data: str
) -> tuple[str, str]:
    effect = row.effect
    verdict: OrdinalVerdict = VERDICTS[str(claim.published)].get(effect.verdict, OPEN_VERDICT)
    reason: str = effect.verdict
    if effect.difference is not None and effect.low is not None and effect.high is not None:
        span = f"{100 * effect.low:+.1f} to {100 * effect.high:+.1f}"
        reason += f": {100 * effect.difference:+.1f} points ({span})".replace("-", "\N{MINUS SIGN}")
    if claim.data is not None and claim.data != data:
        return "other data", f"{reason} (on {data}; published for {claim.data})"
    if study.shortened:
        return "shortened", f"{reason} (with {', '.join(study.shortened)} set by hand)"
    return verdict, reason


def _judge_numeric(study: Study, claim: ShiftClaim, row: ShiftRow, shifted: ShiftResult, data: str) -> tuple[str, str]:
    found = judge_claim(
        "test_accuracy",
        float(claim.published),
        row.values,
        images=claim.images,
        claim_data=claim.data,
        data=data,
        measured_images=shifted.images,
    )
    reason = f"{row.accuracy:.3f}"
    if found.low is not None and found.high is not None:
        reason += f"; one more network: {found.low:.3f} to {found.high:.3f}"
    shortened = bool(study.shortened) and found.verdict in DECIDED_VERDICTS
    return ("shortened" if shortened else found.verdict), reason
