"""Verdicts on published figures, against the formula worked out with scipy.stats and by simulation."""

from math import inf, nan, sqrt

import numpy as np
import pytest
from scipy import stats

from cnnlab.stats.claim_test import reproduction_test
from cnnlab.stats.intervals import wilson_interval

RUNS = (0.741, 0.748, 0.744, 0.739, 0.751)


def test_counts_must_be_equal():
    assert reproduction_test("parameters", 390_410, [390_410]).verdict == "equal"
    assert reproduction_test("parameters", 390_410, [390_410, 390_410]).verdict == "equal"
    assert reproduction_test("parameters", 390_400, [390_410]).verdict == "not equal"


def test_figures_on_other_data_are_compared_and_not_judged():
    claim = reproduction_test("test_accuracy", 0.9, RUNS, claim_data="cifar10", data="cifar10-jpeg.zip")
    assert claim.verdict == "other data"
    assert claim.measured == pytest.approx(np.mean(RUNS))


def test_a_claim_that_names_no_data_is_of_ours():
    assert reproduction_test("test_accuracy", 0.745, RUNS, data="cifar10", delta=0.02).verdict == "reproduced"


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_fewer_than_five_runs_give_no_verdict(n):
    claim = reproduction_test("test_accuracy", 0.2, [*RUNS[:n], nan])  # a run that diverged counts as none
    assert (claim.verdict, claim.n) == ("not enough evidence", n)


@pytest.mark.parametrize("measured", [[], [nan], [nan, inf]])
def test_what_was_not_measured_is_not_judged(measured):
    claim = reproduction_test("parameters", 10, measured)
    assert (claim.verdict, claim.measured, claim.n) == ("not measured", None, 0)


@pytest.mark.parametrize(
    ("name", "images", "measured_images"),
    [
        ("test_accuracy", None, 10_000),
        ("test_accuracy", 10_000, 10_000),  # the same test images: no chance of theirs is between the two figures
        ("test_accuracy", 10_000, None),
        ("test_accuracy", 200, 10_000),
        ("validation_accuracy", 10_000, 10_000),
    ],
)
def test_the_interval_is_that_of_one_more_run_and_of_other_images_widened_by_their_error(name, images, measured_images):
    claim = reproduction_test(name, 0.745, RUNS, images=images, measured_images=measured_images)
    low, high = stats.t.interval(0.95, 4, np.mean(RUNS), np.std(RUNS, ddof=1) * sqrt(1 + 1 / 5))
    half = (high - low) / 2
    if name.startswith("validation") or images == 200:
        half = sqrt(half**2 + (stats.norm.ppf(0.975) * sqrt(0.745 * 0.255 / images)) ** 2)
    assert (claim.low, claim.high) == pytest.approx((np.mean(RUNS) - half, np.mean(RUNS) + half))


def test_only_shares_of_images_have_a_binomial_error():
    narrow = reproduction_test("test_loss", 0.745, RUNS)
    other = {"images": 10, "measured_images": 20}
    assert reproduction_test("test_loss", 0.745, RUNS, **other) == narrow
    assert reproduction_test("test_macro_f1", 0.745, RUNS, **other).high == narrow.high
    assert reproduction_test("test_top5", 0.745, RUNS, **other).high > narrow.high


def test_reproduced_and_differs():
    claim = reproduction_test("test_accuracy", 0.745, RUNS, delta=0.02)
    assert claim.verdict == "reproduced"
    assert reproduction_test("test_accuracy", claim.high + 1e-4, RUNS).verdict == "differs"
    assert reproduction_test("test_accuracy", claim.low - 1e-4, RUNS).verdict == "differs"


def test_an_interval_that_could_not_have_said_otherwise_is_not_enough_evidence():
    """Ten runs that spread by 0.004: one more lies within ±0.0095, no wider than 0.01 and wider than 0.009."""
    runs = 0.745 + 0.004 * np.sqrt(0.9) * np.repeat([-1, 1], 5)
    assert np.std(runs, ddof=1) == pytest.approx(0.004)
    given = {"images": 10_000, "measured_images": 10_000}
    claim = reproduction_test("test_accuracy", 0.74, runs, **given)
    assert (claim.high - claim.low) / 2 == pytest.approx(0.00949, abs=5e-6)
    assert (claim.verdict, claim.delta) == ("reproduced", 0.01)
    assert reproduction_test("test_accuracy", 0.74, runs, **given, delta=0.009).verdict == "not enough evidence"
    assert reproduction_test("test_accuracy", 0.735, runs, **given, delta=0.009).verdict == "differs"


def test_nothing_is_reproduced_of_a_loss_without_a_smallest_difference():
    assert reproduction_test("test_loss", 0.745, RUNS).verdict == "not enough evidence"
    assert reproduction_test("test_loss", 0.745, RUNS, delta=0.02).verdict == "reproduced"
    assert reproduction_test("test_loss", 0.9, RUNS).verdict == "differs"


def test_runs_that_are_all_equal_hold_their_own_figure_only():
    assert reproduction_test("test_loss", 0.3, [0.3] * 6, delta=0.001).verdict == "reproduced"
    assert reproduction_test("test_loss", 0.31, [0.3] * 6, delta=0.001).verdict == "differs"


def test_a_single_runs_share_has_its_own_interval():
    claim = reproduction_test("test_accuracy", 0.71, [0.7318], measured_images=10_000)
    assert (claim.low, claim.high) == wilson_interval(7318, 10_000)
    assert reproduction_test("test_loss", 0.71, [0.7318], measured_images=10_000).low is None


def test_percent_by_mistake_does_not_break_the_judgement():
    claim = reproduction_test("test_accuracy", 71.5, RUNS, images=10_000)
    assert claim == reproduction_test("test_accuracy", 71.5, RUNS)  # no share of images: it has no error of its own
    assert claim.verdict == "differs"


def test_a_figure_of_the_same_kind_of_run_is_within_in_95_of_100_cases():
    draws = np.random.Generator(np.random.PCG64(1)).normal(0.75, 0.004, (2000, 6))
    within = sum(
        reproduction_test("test_loss", each[0], each[1:].tolist(), delta=1).verdict == "reproduced" for each in draws
    )
    assert stats.binomtest(within, 2000, 0.95).pvalue > 1e-4


def test_of_a_range_the_nearest_number_is_judged():
    inside = reproduction_test("test_accuracy", (0.74, 0.75), RUNS, delta=0.02)
    assert (inside.verdict, inside.difference) == ("reproduced", 0.0)
    below = reproduction_test("test_accuracy", (0.9, 0.95), RUNS)
    assert (below.verdict, below.difference) == ("differs", pytest.approx(np.mean(RUNS) - 0.9))
    assert below[2:] == reproduction_test("test_accuracy", 0.9, RUNS)[2:]


@pytest.mark.parametrize(
    ("name", "images", "unknown"),
    [
        ("test_accuracy", None, True),
        ("test_accuracy", 10_000, False),  # shares of the same images have no sampling error
        ("validation_accuracy", 5_000, False),
        ("validation_accuracy", None, True),
        ("test_loss", None, False),
    ],
)
def test_a_sampling_error_that_is_not_counted_is_marked(name, images, unknown):
    claim = reproduction_test(name, 0.745, RUNS, images=images, measured_images=10_000)
    assert claim.unknown_images == unknown


def test_a_range_that_holds_the_whole_interval_is_reproduced():
    assert reproduction_test("test_accuracy", (0.70, 0.79), RUNS).verdict == "reproduced"
    assert reproduction_test("test_accuracy", (0.74, 0.79), RUNS).verdict == "not enough evidence"


def test_a_figure_of_unknown_images_differs_only_beyond_the_error_of_a_thousand():
    def verdict(published, images):
        return reproduction_test("validation_accuracy", published, RUNS, images=images, measured_images=5_000).verdict

    assert verdict(0.765, 45_000) == "differs"
    assert verdict(0.765, None) == verdict(0.765, 1_000) == "not enough evidence"
    assert verdict(0.80, None) == "differs"
