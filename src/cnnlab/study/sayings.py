"""What documents say of arms in words, judged by the arms' runs. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnlab.config.claims import AGAINST_ALL, Saying
from cnnlab.config.study import Study
from cnnlab.stats.ablation import Ablation, ablate
from cnnlab.stats.comparison import Comparison, compare
from cnnlab.stats.sample import Sample
from cnnlab.stats.welch import family_level
from cnnlab.study.results import Answer, SayingRecord

# What a verdict on (arm, other arm) makes of a word; a verdict that is not here leaves it open.
JUDGED: dict[str, dict[str, Answer]] = {
    "better": {"better": "holds", "worse": "contradicted", "practically equal": "contradicted"},
    "worse": {"worse": "holds", "better": "contradicted", "practically equal": "contradicted"},
    "equal": {"practically equal": "holds", "better": "contradicted", "worse": "contradicted"},
}
OPPOSITE = {"better": "worse", "worse": "better", "equal": "equal"}
OPEN: Answer = "not enough evidence"


def judge_sayings(
    study: Study, samples: Mapping[str, Sample], same: Mapping[str, str], ablation: Ablation | None, data: str
) -> tuple[SayingRecord, ...]:
    """An answer to each saying of a study.

    What is said against the baseline is answered by the verdicts of the ablation, which hold for all arms together;
    the other pairs share alpha between them. Published for other data, or held against shortened runs, a saying is
    compared and not judged: its reason tells what the runs say.

    Args:
        samples: of each arm that counts.
        same: arms that are another one under a second name.
        ablation: of the arms against the baseline, where there is one.
        data: what the study ran on.
    """
    judge = _Judge(study, samples, ablation, _pairs(study, same))
    return tuple(_judged(study, saying, judge, same, data) for saying in study.says)


def _judged(study: Study, saying: Saying, judge: _Judge, same: Mapping[str, str], data: str) -> SayingRecord:
    arm = same.get(saying.arm, saying.arm)
    if saying.published in AGAINST_ALL:
        than = "all others"
        answer, reason = judge.against_all(arm, seen="worse" if saying.published == "best" else "better")
    else:
        than = saying.than or study.baseline or ""
        answer, reason = judge.against_one(saying.published, arm, same.get(than, than))
    if saying.data is not None and saying.data != data:
        answer, reason = "other data", f"{reason} (on {data}; published for {saying.data})"
    elif study.shortened:
        answer, reason = "shortened", f"{reason} (with {', '.join(study.shortened)} set by hand)"
    return SayingRecord(
        arm=saying.arm,
        than=than,
        published=saying.published,
        answer=answer,
        reason=reason,
        source=saying.source,
        note=saying.note,
    )


def _pairs(study: Study, same: Mapping[str, str]) -> int:
    """How many sayings compare two arms neither of which is the baseline."""
    base = study.baseline
    pairs = [(same.get(one.arm, one.arm), same.get(one.than or "", one.than)) for one in study.says]
    return sum(than not in (None, base) and arm != base for arm, than in pairs)


class _Judge:
    """Answers what is said of arms, from their runs."""

    def __init__(self, study: Study, samples: Mapping[str, Sample], ablation: Ablation | None, pairs: int) -> None:
        self.study, self.samples, self.pairs = study, samples, pairs
        self.by_arm = {one.a: one for one in ablation.comparisons} if ablation is not None else {}

    def against_one(self, word: str, arm: str, than: str) -> tuple[Answer, str]:
        """What the runs make of "arm is better (worse, equal) than"."""
        base = self.study.baseline
        if arm == than:
            return "contradicted" if word != "equal" else "holds", "the two are one experiment"
        if than == base and arm in self.by_arm:
            return JUDGED[word].get(self.by_arm[arm].verdict, OPEN), _told(self.by_arm[arm], self.study)
        if arm == base and than in self.by_arm:
            found = self.by_arm[than]
            return JUDGED[OPPOSITE[word]].get(found.verdict, OPEN), f"'{than}' is {_told(found, self.study)}"
        rules, first, second = _rules(self.study), self.samples[arm], self.samples[than]
        rules["alpha"] = family_level(rules["alpha"], max(self.pairs, 1), first.n, second.n)
        found = compare(first, second, **rules)
        return JUDGED[word].get(found.verdict, OPEN), _told(found, self.study)

    def against_all(self, arm: str, seen: str) -> tuple[Answer, str]:
        """Best is what makes each other arm worse, for all of them together; one that is not worse contradicts it.

        Args:
            seen: what the others must be, seen from the arm.
        """
        others = [sample for name, sample in self.samples.items() if name != arm]
        if not others:
            return OPEN, "there is no other arm"
        found = ablate(self.samples[arm], others, **_rules(self.study)).comparisons
        against = [one for one in found if JUDGED[seen].get(one.verdict) == "contradicted"]
        held = [one for one in found if JUDGED[seen].get(one.verdict) == "holds"]
        if against:
            return "contradicted", "; ".join(f"'{one.a}' is {one.verdict}" for one in against)
        if len(held) == len(found):
            return "holds", f"each of the {len(found)} others is {seen}"
        missing = ", ".join(f"'{one.a}'" for one in found if one not in held)
        return OPEN, f"{len(held)} of the {len(found)} others are {seen}: {missing} undecided"


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
    return words.replace("-", "\N{MINUS SIGN}")
