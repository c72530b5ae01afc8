"""What a study will cost, and what its seeds can find."""

import numpy as np
import pytest
from statsmodels.stats.power import TTestIndPower

from cnnlab.stats.power import detectable_difference
from cnnlab.stats.sample import Sample, pooled_sd
from cnnlab.studies.forecast import ASSUMED_ERROR, plan_summary
from cnnlab.studies.result import ArmPlan, PlanSummary

# The table of docs and statistics.md: σ in points, and seeds at 80 % for 0.2, 0.3, 0.5 and 1 points.
SEEDS = {
    0.15: (10, 6, 3, 2),
    0.20: (17, 9, 4, 3),
    0.30: (37, 17, 7, 3),
    0.50: (100, 45, 17, 6),
}


def arms(count=2, seeds=5, **fields):
    return [ArmPlan(name=f"arm {number}", seeds=seeds, **fields) for number in range(count)]


def plan(given=None, **fields):
    known = {"metric": "validation_accuracy", "images": 5000, "delta": 0.002, "baseline": "arm 0"}
    return plan_summary("a study", given if given is not None else arms(), **{**known, **fields})


@pytest.mark.parametrize("sd", SEEDS)
def test_the_table_of_seeds_is_reproduced(sd):
    # As many images as give this σ by √(err/2N).
    found = plan(images=round(ASSUMED_ERROR / 2 / (sd / 100) ** 2))
    assert found.sd == pytest.approx(sd / 100, rel=1e-4)
    table = tuple(each.seeds for each in found.needed)
    assert [each.difference for each in found.needed] == [0.002, 0.003, 0.005, 0.01]
    assert table == SEEDS[sd]


@pytest.mark.parametrize(("count", "seeds", "first"), [(2, 5, 5), (4, 6, 12), (7, 10, 25)])
def test_what_is_found_is_found_so_often(count, seeds, first):
    given = arms(count, seeds)
    given[0] = ArmPlan(name="arm 0", seeds=first)
    found = plan(given)
    assert (found.comparisons, found.seeds, found.baseline_seeds) == (count - 1, seeds, first)
    assert found.detectable == detectable_difference(found.sd, seeds, first, comparisons=count - 1)


def test_a_family_asks_for_more_seeds():
    found, alone = plan(arms(7, 10)), plan()
    assert found.equal > alone.equal
    assert all(one.seeds > other.seeds for one, other in zip(found.needed, alone.needed, strict=True))


def test_runs_to_do_and_their_time():
    given = [
        ArmPlan(name="arm 0", seeds=10, done=4, seconds=60.0),
        ArmPlan(name="arm 1", seeds=5, done=0, seconds=100.0),
        ArmPlan(name="copy", seeds=5, same_as="arm 1"),
        ArmPlan(name="done", seeds=3, done=5),
    ]
    found = plan(given)
    assert (found.runs, found.done, found.to_do) == (18, 7, 11)
    assert found.seconds == pytest.approx(6 * 60 + 5 * 100)
    assert found.comparisons == 2  # the copy is no arm of its own
    assert found.seeds == 3


@pytest.mark.parametrize("unknown", [None, float("nan")])
def test_one_unknown_speed_leaves_the_time_unknown(unknown):
    assert (
        plan([ArmPlan(name="arm 0", seeds=2, seconds=5.0), ArmPlan(name="b", seeds=2, seconds=unknown)]).seconds is None
    )
    made = ArmPlan(name="b", seeds=2, done=2, seconds=unknown)
    assert plan([ArmPlan(name="arm 0", seeds=2, seconds=5.0), made]).seconds == 10.0


def test_the_spread_says_where_it_comes_from():
    assumed = plan()
    assert assumed.sd == pytest.approx(np.sqrt(ASSUMED_ERROR / 10_000))
    assert "25 % (an assumed error) and N = 5,000 images" in assumed.sd_reason
    runs = [np.array([0.70, 0.72, 0.71]), np.array([0.74, 0.76]), np.array([0.8])]
    pilot = [Sample(name="", values=tuple(each)) for each in runs]
    wide = plan(pilot=pilot)
    squares = sum(((each - each.mean()) ** 2).sum() for each in runs)
    assert wide.sd == pytest.approx(np.sqrt(squares / 3))
    assert wide.sd_reason.startswith("σ = 1.2 points, from √(err/2N)")
    assert wide.sd_reason.endswith("or the pooled standard deviation of 6 finished runs, which is larger.")
    assert "(the error of finished runs)" in wide.sd_reason
    still = plan(pilot=[Sample(name="", values=(0.75, 0.75, 0.75))])
    assert still.sd == pytest.approx(np.sqrt(0.25 / 10_000))
    assert still.sd_reason.endswith("and N = 5,000 images.")


def test_the_spread_is_pooled_over_all_arms():
    arms = [np.array([0.70, 0.72, 0.71]), np.array([0.74, 0.76]), np.array([0.8])]
    squares = sum(((each - each.mean()) ** 2).sum() for each in arms)
    assert pooled_sd([Sample(name="", values=tuple(each)) for each in arms]) == pytest.approx(np.sqrt(squares / 3))
    assert pooled_sd([Sample(name="", values=(0.8,))]) is None


def test_a_loss_needs_runs_to_plan_by():
    nothing = plan(metric="validation_loss", delta=0.01)
    assert nothing.sd is None
    assert nothing.sd_reason.startswith("σ: unknown")
    assert (nothing.detectable, nothing.equal) == (None, None)
    assert {each.seeds for each in nothing.needed} == {None}
    known = plan(metric="validation_loss", delta=0.01, pilot=[Sample(name="", values=(1.2, 1.25, 1.3))])
    assert known.sd == pytest.approx(0.05)
    assert [each.difference for each in known.needed] == [0.01, 0.02, 0.05]
    size = known.needed[-1].seeds
    powers = [TTestIndPower().power(effect_size=1.0, nobs1=n, ratio=1, alpha=0.05) for n in (size - 1, size)]
    assert powers[0] < 0.8 <= powers[1]


def test_one_seed_finds_nothing():
    found = plan(arms(3, 1))
    assert found.detectable is None
    assert PlanSummary.from_json(found.to_json()) == found


def test_sweeps_are_compared_with_the_best():
    found = plan(arms(8, 5), baseline=None)
    assert (found.comparisons, found.seeds, found.baseline_seeds) == (7, 5, 5)


def test_differences_larger_than_the_smallest_are_listed_once():
    assert [each.difference for each in plan(delta=0.005).needed] == [0.005, 0.01]
    assert [each.difference for each in plan(delta=0.02).needed] == [0.02]
