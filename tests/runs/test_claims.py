"""The judge of claims: numbers by `stats.claim_test`, words by comparisons."""

from __future__ import annotations

from math import nan

import pytest

from cnnlab.config.claims import Claim
from cnnlab.records import DataRecord, EpochRecord, RunResult, Score, StepMeans
from cnnlab.runs.claims import ArmDifference, ClaimRun, Measurements, judge_claim, judge_claims

RUNS = (0.741, 0.748, 0.744, 0.739, 0.751)


@pytest.mark.parametrize(
    ("published", "shortened", "verdict", "reason"),
    [
        (0.9, "", "differs", "ours is 0.1554 lower"),
        (0.745, "", "not enough evidence", "one more run would lie within ±0.0150, too wide to show it to be"),
        (0.9, "5 of 10 epochs", "shortened", "5 of 10 epochs"),
    ],
)
def test_a_number_has_a_verdict_and_its_reason(published: float, shortened: str, verdict: str, reason: str) -> None:
    measured = Measurements("cifar10", RUNS, seeds=range(5), shortened=shortened)
    found = judge_claim(Claim(published=published), "test_accuracy", measured, of="lenet")
    assert (found.of, found.verdict, found.n, found.seeds) == ("lenet", verdict, 5, (0, 1, 2, 3, 4))
    assert found.reason.startswith(reason)
    assert found.difference == pytest.approx(0.7446 - published)


def test_what_is_not_judged_is_still_compared() -> None:
    found = judge_claim(Claim(published=0.9, data="mnist"), "test_accuracy", Measurements("cifar10", RUNS))
    assert (found.verdict, found.reason) == ("other data", "published for mnist, measured on cifar10")
    assert found.measured == pytest.approx(0.7446)
    missing = judge_claim(Claim(published=0.9), "test_accuracy", Measurements("cifar10"))
    assert (missing.verdict, missing.measured) == ("not measured", None)


def _score(accuracy: float, loss: float) -> Score:
    metrics = {"top5": 1.0, "balanced_accuracy": accuracy, "macro_f1": accuracy}
    return Score(images=40, loss=loss, accuracy=accuracy, per_class=(), **metrics)


def _point(epoch: int, validation: Score) -> EpochRecord:
    means = StepMeans(images=9, loss=0.1, accuracy=0.9)
    fields = {"learning_rate": 0.1, "seconds": 1.0, "images_per_second": 9.0}
    return EpochRecord(epoch=epoch, step=epoch, train=means, validation=validation, test=None, **fields)


def test_a_figure_is_of_the_epoch_that_the_claim_names() -> None:
    curve = [_point(1, _score(0.5, 0.7)), _point(2, _score(0.8, 0.9)), _point(3, _score(0.6, 0.8))]
    shared = {"run": "a", "status": "finished", "parameters": 9, "epochs": 3, "seconds": 1.0, "images_per_second": 9.0}
    result = RunResult(selected_epoch=2, train=_score(0.9, 0.1), validation=curve[1].validation, test=None, **shared)
    names = {
        "validation_accuracy": 0.8,
        "best_validation_accuracy": 0.8,
        "best_validation_loss": 0.7,
        "last_validation_accuracy": 0.6,
        "last_validation_loss": 0.8,
        "train_accuracy": 0.9,
        "last_train_accuracy": None,  # of the last epoch's weights, which are not those that were evaluated
        "last_test_accuracy": None,
    }

    def measured(result: RunResult) -> dict[str, float | None]:
        claims = {name: Claim(published=0.5) for name in names}
        data = DataRecord.model_construct(source="shapes")
        found = judge_claims(claims, [ClaimRun(result, lambda: curve)], data)
        return {record.name: record.measured for record in found}

    assert measured(result) == names
    assert measured(result.model_copy(update={"selected_epoch": 3.0}))["last_train_accuracy"] == 0.9
    curve.insert(0, _point(0, _score(nan, nan)))
    assert measured(result)["best_validation_loss"] == 0.7
    diverged = result.model_copy(update={"status": "diverged", "train": None, "validation": None})
    assert set(measured(diverged).values()) == {None}


def test_an_unknown_number_of_images_is_told() -> None:
    claim = Claim(published=0.745, smallest_difference=0.02)
    known = judge_claim(claim, "test_accuracy", Measurements("cifar10", RUNS, images=10_000))
    assert known.verdict == "reproduced"
    assert known.reason.endswith("its own sampling error is not counted")
    far = judge_claim(Claim(published=0.765), "validation_accuracy", Measurements("cifar10", RUNS, images=5_000))
    assert (far.verdict, "the sampling error of 1,000 could explain it" in far.reason) == (
        "not enough evidence",
        True,
    )
    beyond = judge_claim(Claim(published=0.9), "validation_accuracy", Measurements("cifar10", RUNS, images=5_000))
    assert (beyond.verdict, beyond.reason) == (
        "differs",
        "ours is 0.1554 lower, more than the sampling error of 1,000 images could explain",
    )
    images = claim.model_copy(update={"images": 10_000})
    assert "sampling" not in judge_claim(images, "test_accuracy", Measurements("cifar10", RUNS, images=10_000)).reason


@pytest.mark.parametrize(
    ("published", "verdicts", "verdict"),
    [
        ("better", ["better"], "holds"),
        ("better", ["practically equal"], "contradicted"),
        ("better", ["undecided"], "not enough evidence"),
        ("better", ["no verdict"], "not enough evidence"),
        ("equal", ["practically equal"], "holds"),
        ("equal", ["worse"], "contradicted"),
        ("worst", ["worse", "worse"], "holds"),
        ("worst", ["worse", "undecided"], "not enough evidence"),
        ("worst", ["undecided", "better"], "contradicted"),
        ("best", [], "not enough evidence"),
    ],
)
def test_a_word_holds_where_every_comparison_does(published: str, verdicts: list[str], verdict: str) -> None:
    differences = [ArmDifference(f"arm {number}", each, 0.1, 0.05, 0.15, 6) for number, each in enumerate(verdicts)]
    found = judge_claim(Claim(published=published), "test_accuracy", Measurements("shapes", differences=differences))
    assert found.verdict == verdict
    bounds = (0.1, 0.05, 0.15, 6) if len(verdicts) == 1 else (None, None, None, 6 if verdicts else 0)
    assert (found.measured, found.low, found.high, found.n) == bounds
