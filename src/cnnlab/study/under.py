"""What documents say of networks under shifts, judged by an arm's networks. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cnnlab.config.claims import Under
from cnnlab.config.corruptions import read_shift
from cnnlab.config.study import Study
from cnnlab.runs.robustness.result import Shifted, ShiftRow
from cnnlab.stats.claim_test import judge
from cnnlab.study.results import Answer, UnderRecord
from cnnlab.study.sayings import JUDGED, OPEN

# Verdicts that a run on fewer images than were published for can't give.
JUDGED_FIGURES = ("reproduced", "differs", "not enough evidence")


def judge_under(
    study: Study, shifted: Shifted | None, data: str, same: Mapping[str, str] | None = None
) -> tuple[UnderRecord, ...]:
    """An answer to each thing that is published of networks under a shift.

    A word is answered by the verdict on the arm's networks against the images as they are, which holds for all shifts
    of the arm together; a figure by the prediction interval of one more network.

    Args:
        shifted: None where the networks have not been tested yet, which leaves all answers open.
        data: what the study ran on.
        same: arms that are another one under a second name.
    """
    return tuple(_judged(study, shifted, data, same or {}))


def _judged(study: Study, shifted: Shifted | None, data: str, same: Mapping[str, str]) -> Iterator[UnderRecord]:
    groups = shifted.groups if shifted is not None else ()
    rows = {(group.name, row.call): row for group in groups for row in group.rows}
    for said in study.under:
        arm = said.arm or study.baseline or ""
        shift = read_shift(said.shift)
        row = rows.get((same.get(arm, arm), str(shift.as_call())))
        answer: str = OPEN
        reason = "no network of this arm was tested under it"
        if row is not None and shifted is not None:
            found = _word if isinstance(said.published, str) else _figure
            answer, reason = found(study, said, row, shifted, data)
        elif shifted is None:
            reason = "the networks have not been tested under shifts yet"
        yield UnderRecord.model_validate(
            {
                "arm": arm,
                "shift": shift.title,
                "published": said.published if isinstance(said.published, str) else f"{said.published:g}",
                "answer": answer,
                "reason": reason,
                "source": said.source,
                "note": said.note,
            }
        )


def _word(study: Study, said: Under, row: ShiftRow, _shifted: Shifted, data: str) -> tuple[str, str]:
    effect = row.effect
    answer: Answer = JUDGED[str(said.published)].get(effect.verdict, OPEN)
    reason: str = effect.verdict
    if effect.difference is not None and effect.low is not None and effect.high is not None:
        span = f"{100 * effect.low:+.1f} to {100 * effect.high:+.1f}"
        reason += f": {100 * effect.difference:+.1f} points ({span})".replace("-", "\N{MINUS SIGN}")
    if said.data is not None and said.data != data:
        return "other data", f"{reason} (on {data}; published for {said.data})"
    if study.shortened:
        return "shortened", f"{reason} (with {', '.join(study.shortened)} set by hand)"
    return answer, reason


def _figure(study: Study, said: Under, row: ShiftRow, shifted: Shifted, data: str) -> tuple[str, str]:
    found = judge(
        "test_accuracy",
        float(said.published),
        row.values,
        images=said.images,
        claim_data=said.data,
        data=data,
        measured_images=shifted.images,
    )
    reason = f"{row.accuracy:.3f}"
    if found.low is not None and found.high is not None:
        reason += f"; one more network: {found.low:.3f} to {found.high:.3f}"
    shortened = bool(study.shortened) and found.verdict in JUDGED_FIGURES
    return ("shortened" if shortened else found.verdict), reason
