from __future__ import annotations

from typing import Any

import pytest

from cnnlab.config.recipe import Recipe
from cnnlab.config.study import Study
from cnnlab.stats.ablation import Ablation, analyze_ablation
from cnnlab.stats.comparison import compare
from cnnlab.stats.sample import Sample
from cnnlab.studies.claims import judge_ordinal_claims

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


def against_baseline(study: Study, known: dict[str, Sample]) -> Ablation:
    others = [arm for name, arm in known.items() if name != study.baseline]
    higher = study.higher_is_better
    return analyze_ablation(
        known["middle"], others, delta=study.smallest_difference, higher_is_better=higher, accuracy=higher
    )


def answer(published: str, arm: str, than: str | None = None, **fields: Any) -> tuple[str, str]:
    """The answer to one saying and its reason."""
    found = fields.pop("samples", samples())
    same = fields.pop("same", {})
    metric, shortened = fields.pop("metric", "validation_accuracy"), fields.pop("shortened", ())
    arms = {name: {"train.epochs": number + 1} for number, name in enumerate(LEVELS)}
    delta = fields.pop("smallest_difference", 0.01)
    saying = {"arm": arm, "published": published, **({"than": than} if than else {}), **fields}
    given = {"says": [saying], "smallest_difference": delta, "baseline": "middle"}
    study = Study(base=BASE, arms=arms, metric=metric, shortened=shortened, **given)
    [record] = judge_ordinal_claims(study, found, same, against_baseline(study, found), "shapes")
    return record.verdict, record.reason


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
    assert reason == "2 of the 3 others are worse: 'low' undecided"


def test_one_experiment_under_two_names_is_no_better_than_itself() -> None:
    known = {name: arm for name, arm in samples().items() if name != "twin"}
    assert answer("better", "twin", samples=known, same={"twin": "middle"})[0] == "contradicted"
    assert answer("equal", "twin", samples=known, same={"twin": "middle"})[0] == "holds"


def test_a_loss_is_better_where_it_is_lower() -> None:
    assert answer("better", "low", "high", metric="validation_loss")[0] == "holds"
    assert answer("best", "low", metric="validation_loss")[0] == "holds"


def test_what_is_said_of_other_data_is_compared_and_not_judged() -> None:
    found, reason = answer("better", "high", "low", data="cifar10")
    assert found == "other data"
    assert reason.startswith("better: +20.00 points (+19.8")
    assert reason.endswith("(on shapes; published for cifar10)")


def test_what_is_said_is_not_judged_by_a_study_that_was_made_smaller_by_hand() -> None:
    found, reason = answer("better", "high", "low", shortened=("train.epochs",))
    assert found == "shortened"
    assert reason.endswith("(with train.epochs set by hand)")


def test_many_arms_make_a_saying_harder_to_hold() -> None:
    """A difference that holds alone, and not among all arms: the table and the saying agree."""
    gap = {"middle": 0.70, "high": 0.7022}
    alone = samples(**gap)
    known = {**alone, **{f"other {number}": samples(x=0.7)["x"] for number in range(15)}}
    assert compare(alone["high"], alone["middle"], delta=0.0001).verdict == "better"
    fields = {"smallest_difference": 0.0001}
    assert answer("better", "high", samples=alone, **fields)[0] == "holds"
    assert answer("better", "high", samples=known, **fields)[0] == "not enough evidence"


def test_the_only_arm_is_not_the_best_of_any() -> None:
    known = {"middle": samples()["middle"]}
    assert answer("best", "twin", samples=known, same={"twin": "middle"})[0] == "not enough evidence"


def test_a_saying_of_the_baseline_is_read_from_the_other_side() -> None:
    assert answer("worse", "middle", "high")[0] == "holds"
    assert answer("better", "middle", "high")[0] == "contradicted"
    assert answer("equal", "middle", "twin")[0] == "holds"
