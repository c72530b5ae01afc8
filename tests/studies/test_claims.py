from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cnnlab.config.recipe import Recipe
from cnnlab.config.study import Study
from cnnlab.stats.comparison import DecisionRules, compare
from cnnlab.stats.sample import Sample
from cnnlab.studies.claims import judge_study_claims
from cnnlab.studies.result import ArmRecord, StudyResult

BASE = Recipe.from_tables({"data": {"source": "shapes"}, "model": {"layers": ["flatten", "dense(classes)"]}})
LEVELS = {"low": 0.60, "middle": 0.70, "twin": 0.70, "high": 0.80}
SPREAD = (-0.002, -0.001, 0.0, 0.001, 0.002, 0.0)


def samples(n: int = 6, spread: float = 1.0, **levels: float) -> dict[str, Sample]:
    """Arms whose figures lie around a level, some thousandths apart."""
    known = levels or LEVELS
    return {
        name: Sample(name=name, values=tuple(level + spread * step for step in SPREAD[:n]))
        for name, level in known.items()
    }


def answer(published: str, arm: str, than: str | None = None, **fields: Any) -> tuple[str, str]:
    """The verdict on one word and its reason."""
    found: dict[str, Sample] = fields.pop("samples", samples())
    same: dict[str, str] = fields.pop("same", {})
    metric, shortened = fields.pop("metric", "validation_accuracy"), fields.pop("shortened", ())
    arms = {name: {"train.epochs": number + 1} for number, name in enumerate(LEVELS)}
    delta = fields.pop("smallest_difference", 0.01)
    claim = {"arm": arm, "published": published, **({"than": than} if than else {}), **fields}
    given = {"claims": [claim], "smallest_difference": delta, "baseline": "middle"}
    study = Study(base=BASE, arms=arms, metric=metric, shortened=shortened, **given)
    known = [_arm(name, sample) for name, sample in found.items()]
    known += [_arm(name, found[other], other) for name, other in same.items()]
    [record] = judge_study_claims(study, _result(study, known), Path("nowhere"))
    return record.verdict, record.reason


def _arm(name: str, sample: Sample, same_as: str = "") -> ArmRecord:
    return ArmRecord(
        name=name, changes={}, sweep_value=None, same_as=same_as, parameters=1, seeds=(), sample=sample, train=sample,
        seconds=1.0,
    )  # fmt: skip


def _result(study: Study, arms: list[ArmRecord]) -> StudyResult:
    return StudyResult(
        study="s", question="", metric=study.metric, higher_is_better=study.higher_is_better,
        smallest_difference=study.smallest_difference, alpha=study.alpha, data="shapes", images=9,
        baseline=study.baseline, arms=tuple(arms), ablation=None, curve=None, trials=2, precision="fp32",
        memory_format="contiguous", device="cpu", seconds=1.0, complete=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("published", "arm", "than", "expected"),
    [
        ("better", "high", "low", "holds"),
        ("better", "low", "high", "contradicted"),
        ("better", "twin", "middle", "contradicted"),  # practically equal is not better
        ("worse", "low", "high", "holds"),
        ("worse", "high", None, "contradicted"),  # than the baseline
        ("equal", "twin", "middle", "holds"),
        ("equal", "high", "middle", "contradicted"),
        ("best", "high", None, "holds"),
        ("best", "middle", None, "contradicted"),
        ("worst", "low", None, "holds"),
        ("worst", "high", None, "contradicted"),
    ],
)
def test_words_are_judged_by_the_arms(published: str, arm: str, than: str | None, expected: str) -> None:
    assert answer(published, arm, than)[0] == expected


@pytest.mark.parametrize("published", ["better", "equal", "best"])
def test_few_or_scattered_runs_leave_words_open(published: str) -> None:
    assert answer(published, "high", samples=samples(n=4))[0] == "not enough evidence"
    assert answer(published, "high", samples=samples(spread=100))[0] == "not enough evidence"


def test_best_is_open_while_one_other_is() -> None:
    scattered = {**samples(), "low": samples(spread=200)["low"]}
    found, reason = answer("best", "high", samples=scattered)
    assert found == "not enough evidence"
    assert reason == "against 'low': undecided"
    assert answer("best", "high")[1] == "better than each of the 3 others"
    assert answer("best", "middle")[1] == "against 'twin': practically equal; against 'high': worse"


def test_one_experiment_under_two_names_is_no_better_than_itself() -> None:
    known = {name: arm for name, arm in samples().items() if name != "twin"}
    assert answer("better", "twin", samples=known, same={"twin": "middle"})[0] == "contradicted"
    assert answer("equal", "twin", samples=known, same={"twin": "middle"})[0] == "holds"


def test_a_loss_is_better_where_it_is_lower() -> None:
    assert answer("better", "low", "high", metric="validation_loss")[0] == "holds"
    assert answer("best", "low", metric="validation_loss")[0] == "holds"


def test_a_word_published_for_other_data_is_compared_and_not_judged() -> None:
    found, reason = answer("better", "high", "low", data="cifar10")
    assert found == "other data"
    assert reason == "better; published for cifar10, measured on shapes"


def test_a_word_is_not_judged_by_a_study_that_was_shortened() -> None:
    found, reason = answer("better", "high", "low", shortened=("train.epochs",))
    assert found == "shortened"
    assert reason == "better; shortened by train.epochs"


def test_many_arms_make_a_word_harder_to_hold() -> None:
    """A difference that holds alone, and not among all arms: the table and the word agree."""
    gap = {"middle": 0.70, "high": 0.7022}
    alone = samples(**gap)
    known = {**alone, **{f"other {number}": samples(x=0.7)["x"] for number in range(15)}}
    assert compare(alone["high"], alone["middle"], DecisionRules(0.0001)).verdict == "better"
    fields = {"smallest_difference": 0.0001}
    assert answer("better", "high", samples=alone, **fields)[0] == "holds"
    assert answer("better", "high", samples=known, **fields)[0] == "not enough evidence"


def test_the_only_arm_is_not_the_best_of_any() -> None:
    known = {"middle": samples()["middle"]}
    assert answer("best", "twin", samples=known, same={"twin": "middle"})[0] == "not enough evidence"


def test_a_word_about_the_baseline_is_read_from_the_other_side() -> None:
    assert answer("worse", "middle", "high")[0] == "holds"
    assert answer("better", "middle", "high")[0] == "contradicted"
    assert answer("equal", "middle", "twin")[0] == "holds"
