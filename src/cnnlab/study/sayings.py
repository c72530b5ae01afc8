"""What documents say of arms in words, judged by the arms' runs. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnnlab.spec.published import AGAINST_ALL, Saying
from cnnlab.spec.study import Study
from cnnlab.statistics.ablation import ablate
from cnnlab.statistics.comparison import Comparison, compare
from cnnlab.statistics.samples import Sample
from cnnlab.study.results import Answer, SayingRecord

# What a verdict on (arm, other arm) makes of a word; a verdict that is not here leaves it open.
JUDGED: dict[str, dict[str, Answer]] = {
    "better": {"better": "holds", "worse": "contradicted", "practically equal": "contradicted"},
    "worse": {"worse": "holds", "better": "contradicted", "practically equal": "contradicted"},
    "equal": {"practically equal": "holds", "better": "contradicted", "worse": "contradicted"},
}
OPEN: Answer = "not enough evidence"


def judge_sayings(
    study: Study, samples: Mapping[str, Sample], same: Mapping[str, str], data: str
) -> tuple[SayingRecord, ...]:
    """An answer to each saying of a study.

    Args:
        samples: of each arm that counts.
        same: arms that are another one under a second name.
        data: what the study ran on; a saying that was published for other data says so in its reason.
    """
    return tuple(_judged(study, saying, samples, same, data) for saying in study.says)


def _judged(
    study: Study, saying: Saying, samples: Mapping[str, Sample], same: Mapping[str, str], data: str
) -> SayingRecord:
    arm = same.get(saying.arm, saying.arm)
    if saying.published in AGAINST_ALL:
        than = "all others"
        answer, reason = _against_all(study, arm, samples, seen="worse" if saying.published == "best" else "better")
    else:
        than = saying.than or study.baseline or ""
        answer, reason = _against_one(study, saying.published, arm, same.get(than, than), samples)
    if saying.data is not None and saying.data != data:
        reason += f" (here on {data}; published for {saying.data})"
    return SayingRecord(
        arm=saying.arm,
        than=than,
        published=saying.published,
        answer=answer,
        reason=reason,
        source=saying.source,
        note=saying.note,
    )


def _against_one(study: Study, word: str, arm: str, than: str, samples: Mapping[str, Sample]) -> tuple[Answer, str]:
    if arm == than:
        return "contradicted" if word != "equal" else "holds", "the two are one experiment"
    ours, theirs = samples[arm], samples[than]
    found = compare(ours, theirs, **_rules(study))
    return JUDGED[word].get(found.verdict, OPEN), _told(found, study)


def _against_all(study: Study, arm: str, samples: Mapping[str, Sample], seen: str) -> tuple[Answer, str]:
    """Best is what makes each other arm worse, for all of them together; one that is not worse contradicts it.

    Args:
        seen: what the others must be, seen from the arm.
    """
    others = [sample for name, sample in samples.items() if name != arm]
    found = ablate(samples[arm], others, **_rules(study)).comparisons
    against = [one for one in found if JUDGED[seen].get(one.verdict) == "contradicted"]
    held = [one for one in found if JUDGED[seen].get(one.verdict) == "holds"]
    if against:
        return "contradicted", "; ".join(f"'{one.a}' is {one.verdict}" for one in against)
    if len(held) == len(found):
        return "holds", f"each of the {len(found)} others is {seen}"
    return OPEN, f"{len(held)} of the {len(found)} others are {seen}: {_names(found, held)} undecided"


def _names(found: Sequence[Comparison], held: Sequence[Comparison]) -> str:
    return ", ".join(f"'{one.a}'" for one in found if one not in held)


def _rules(study: Study) -> dict[str, Any]:
    return {
        "delta": study.smallest_difference,
        "alpha": study.alpha,
        "higher_is_better": study.higher_is_better,
        "accuracy": study.figure == "accuracy",
    }


def _told(found: Comparison, study: Study) -> str:
    if found.difference is None:
        return found.verdict
    scale, unit = (100, " points") if study.figure != "loss" else (1, "")
    words = f"{found.verdict}: {scale * found.difference:+.2f}{unit}"
    if found.low is not None and found.high is not None:
        words += f" ({scale * found.low:+.2f} to {scale * found.high:+.2f})"
    return words
