"""The judge of claims: numbers by `stats.claim_test`, words by comparisons."""

from __future__ import annotations

import pytest

from cnnlab.config.claims import Claim
from cnnlab.runs.claims import ArmDifference, Measurements, judge_claim

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
