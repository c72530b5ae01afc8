"""An ablation's verdicts: families by statsmodels, and the cross-check."""

from math import nan, sqrt

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from cnnlab.errors import UsageError
from cnnlab.stats.ablation import Ablation, analyze_ablation, baseline_seeds
from cnnlab.stats.comparison import DecisionRules, compare
from cnnlab.stats.sample import Sample
from cnnlab.stats.welch import nominal_level, one_sided_test_size, size_of_test

GAINS = (0.0, -0.001, 0.004, 0.006, -0.008, 0.0)


def sample(draws: np.random.Generator, n: int, mean: float, spread: float = 0.001, name: str = "arm") -> Sample:
    return Sample(name=name, values=tuple(draws.normal(mean, spread, n).tolist()))


def study(seed: int, k: int = 6, n: int = 6, **rules) -> Ablation:
    draws = np.random.Generator(np.random.PCG64(seed))
    baseline = sample(draws, baseline_seeds(n, k), 0.75, name="baseline")
    gains = [GAINS[place % len(GAINS)] for place in range(k)]
    arms = [sample(draws, n, 0.75 + gain, name=f"arm {place}") for place, gain in enumerate(gains)]
    return analyze_ablation(baseline, arms, DecisionRules(0.002, **rules))


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize(
    ("k", "method"), [(1, "holm"), (6, "holm"), pytest.param(20, "holm", marks=pytest.mark.full), (21, "fdr_bh")]
)
def test_verdicts_are_of_two_adjusted_families(k, method, alpha):
    found = study(k, k, alpha=alpha)
    runs = 6, found.baseline.n
    # A single arm is compared as in `compare`.
    before = [size_of_test(each.p, *runs) if k > 1 else each.p for each in found.comparisons]
    before_equal = [one_sided_test_size(each.p_equal, *runs) if k > 1 else each.p_equal for each in found.comparisons]
    differs, p, *_ = multipletests(before, alpha, method)
    equal, p_equal, *_ = multipletests(before_equal, alpha, method)
    for each, adjusted, adjusted_equal in zip(found.comparisons, p, p_equal, strict=True):
        assert each.p_adjusted == pytest.approx(adjusted)
        assert each.p_equal_adjusted == pytest.approx(adjusted_equal)
    direction = ["better" if each.difference > 0 else "worse" for each in found.comparisons]
    expected = [
        "practically equal" if same else way if other else "undecided"
        for same, other, way in zip(equal, differs, direction, strict=True)
    ]
    assert [each.verdict for each in found.comparisons] == expected
    assert len(set(expected)) > 1 or k == 1
    assert found.screening == (k > 20)
    assert (found.dunnett is None) == (k > 20)


def test_each_arm_stands_against_the_baseline():
    found = study(1)
    for arm, each in zip(found.arms, found.comparisons, strict=True):
        alone = compare(arm, found.baseline, DecisionRules(0.002))
        assert (each.a, each.b) == (arm.name, "baseline")
        for name in ("difference", "p", "p_equal", "superiority", "error_change", "n_a", "n_b"):
            assert getattr(each, name) == getattr(alone, name)


def test_intervals_hold_all_at_once():
    found = study(2)
    for arm, each in zip(found.arms, found.comparisons, strict=True):
        means = CompareMeans(DescrStatsW(arm.values), DescrStatsW(found.baseline.values))
        assert (each.low, each.high) == pytest.approx(
            means.tconfint_diff(nominal_level(0.05 / 6, 6, 15), usevar="unequal")
        )
        assert each.level == pytest.approx(1 - 0.05 / 6)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in (1, 2))])
@pytest.mark.parametrize("k", [6, 25])
def test_equivalence_is_read_from_the_interval_at_its_own_level(seed, k):
    found = study(seed, k).comparisons
    assert {each.verdict for each in found} > {"practically equal"}
    for each in found:
        inside = -each.delta < each.equal_low and each.equal_high < each.delta
        assert inside == (each.p_equal_adjusted < 0.05)


def test_planning_is_at_the_familys_level():
    draws = np.random.Generator(np.random.PCG64(4))
    arms = [sample(draws, 6, 0.75, 0.01) for _ in range(8)]
    found = analyze_ablation(arms[0], arms[1:], DecisionRules(0.002)).comparisons[0]
    alone = compare(arms[1], arms[0], DecisionRules(0.002))
    assert found.verdict == alone.verdict == "undecided"
    assert found.needed >= compare(arms[1], arms[0], DecisionRules(0.002, 0.05 / 7)).needed > alone.needed


def test_an_arm_that_failed_still_counts_in_the_family():
    whole = study(3)
    failed = Sample(name="failed", values=(nan,) * 6)
    found = analyze_ablation(whole.baseline, [*whole.arms[:-1], failed], DecisionRules(0.002))
    assert (found.comparisons[-1].verdict, found.comparisons[-1].p_adjusted) == ("no verdict", None)
    others = [size_of_test(each.p, 6, 15) for each in found.comparisons[:-1]]
    expected = multipletests([*others, 1.0], method="holm")[1][:-1]
    assert [each.p_adjusted for each in found.comparisons[:-1]] == pytest.approx(expected)
    assert found.dunnett is None


def test_few_runs_of_an_arm_or_of_the_baseline_give_no_verdict():
    whole = study(3)
    few = Sample(name="few", values=whole.arms[3].values[:4])
    found = analyze_ablation(whole.baseline, [*whole.arms, few], DecisionRules(0.002))
    assert found.comparisons[-1].verdict == "no verdict"
    assert found.comparisons[3].verdict == "better"
    of_few = analyze_ablation(few, whole.arms, DecisionRules(0.002))
    assert {each.verdict for each in of_few.comparisons} == {"no verdict"}


def test_lower_is_better_for_a_loss():
    higher, lower = study(1), study(1, higher_is_better=False, accuracy=False)
    mirror = {"better": "worse", "worse": "better"}
    for one, other in zip(higher.comparisons, lower.comparisons, strict=True):
        assert other.verdict == mirror.get(one.verdict, one.verdict)


def test_identical_arms_without_spread():
    same = Sample(name="same", values=(0.75,) * 5)
    found = analyze_ablation(same, [same, same], DecisionRules(0.002))
    assert [each.verdict for each in found.comparisons] == ["practically equal"] * 2
    assert found.dunnett is None


def test_dunnetts_test_is_the_cross_check():
    found = study(5)
    draws = np.random.Generator(np.random.PCG64(0))
    arms = [arm.values for arm in found.arms]
    expected = stats.dunnett(*arms, control=found.baseline.values, random_state=draws).pvalue
    assert found.dunnett == pytest.approx(expected, abs=5e-3)
    assert study(5).dunnett == found.dunnett


@pytest.mark.parametrize(("n", "k", "expected"), [(10, 6, 25), (5, 10, 16), (5, 1, 5), (10, 4, 20), (1, 3, 2)])
def test_the_baseline_gets_more_seeds(n, k, expected):
    assert baseline_seeds(n, k) == expected
    assert expected - 1 < n * sqrt(k) <= expected


def test_a_study_without_arms_or_with_rules_that_can_not_be():
    found = analyze_ablation(study(1).baseline, [], DecisionRules(0.002))
    assert (found.comparisons, found.dunnett, found.screening) == ((), None, False)
    with pytest.raises(UsageError, match="delta: this is no smallest difference of interest"):
        analyze_ablation(found.baseline, [], DecisionRules(0))
