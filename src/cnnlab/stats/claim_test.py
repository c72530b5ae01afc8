"""A published number against measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, isclose, isfinite, sqrt
from statistics import fmean, stdev
from typing import NamedTuple

from scipy.special import ndtri, stdtrit

from cnnlab.records import Verdict
from cnnlab.stats.intervals import wilson_interval
from cnnlab.stats.sample import LEVEL, MIN_RUNS, Interval

COUNTS = ("parameters",)
SHARES_OF_IMAGES = ("accuracy", "top5")
# A share of images that is one draw is reproduced within a point, where a claim or its study says nothing else.
SHARE_TOLERANCE = 0.01
# The sampling error of a published share of unknown images may be that of so few.
FEWEST_IMAGES = 1_000


class ReproductionTest(NamedTuple):
    """The verdict on a published number.

    Attributes:
        measured: the mean of the finite runs; None without any. n: their number.
        difference: measured − published; of a range, − the number of the range that is nearest to it.
        low, high: the prediction interval of one more run, or for a single run's share of images its Wilson interval.
        delta: half the width of the widest interval that shows a number to be reproduced.
        unknown_images: whether the published number has a sampling error that is not counted, since the number of its
            images is not known.
    """

    measured: float | None
    difference: float | None
    low: float | None
    high: float | None
    n: int
    delta: float | None
    verdict: Verdict
    unknown_images: bool


def reproduction_test(
    name: str,
    published: float | Interval,
    measured: Sequence[float],
    *,
    images: int | None = None,
    claim_data: str | None = None,
    data: str | None = None,
    measured_images: int | None = None,
    delta: float | None = None,
) -> ReproductionTest:
    """Judge a published number, which is one draw, or a range of numbers, by runs.

    With five runs or more it *differs* where it lies outside the 95 % prediction interval of one more draw,
    mean ± t·s·√(1 + 1/n). It is *reproduced* where it lies inside and the interval is narrow enough to have said
    otherwise, no wider than ±delta; else, and with fewer runs, there is *not enough evidence*. A share of other images
    than ours, as those of another test set or a validation split of its own, has a binomial error, by which the
    interval is widened; where both are shares of the same images it has none. Where its number of images is not known,
    it does not *differ* by what the error of 1,000 images could explain. A count must be *equal*. A number on
    *other data* is compared, not judged. Of a range the number that is nearest to the mean is judged.

    Args:
        name: 'parameters', or split_metric, such as 'test_accuracy'.
        published: the number, or the ends of the range.
        measured: the same metric of each of our runs; those that are not finite (diverged, not evaluated) are left out.
        images: the number of images that the published number is a share of, where known.
        claim_data, data: the names of the data that the number was published for, and of ours.
        measured_images: the number of images that ours is a share of; bounds a single run.
        delta: None: 0.01 for a fraction, and nothing is reproduced of a loss.
    """
    runs = [value for value in measured if isfinite(value)]
    other_data = claim_data is not None and claim_data != data
    same_images = not other_data and not name.startswith("validation_") and measured_images in (None, images)
    if delta is None and name not in COUNTS and not name.endswith("loss"):
        delta = SHARE_TOLERANCE
    if not runs:
        return ReproductionTest(None, None, None, None, 0, delta, "not measured", unknown_images=False)
    mean = fmean(runs)
    lowest, highest = published if isinstance(published, tuple) else (published, published)
    nearest = min(max(mean, lowest), highest)
    low, high = _bounds(name, nearest, runs, None if same_images else images, measured_images) or (None, None)
    verdict = _verdict(name, nearest, runs, (low, high), delta, other_data)
    unknown_images = _is_share(name) and not same_images and images is None
    if low is not None and high is not None:
        if verdict == "not enough evidence" and lowest <= low and high <= highest:
            verdict = "reproduced"  # the whole interval lies in the range
        widest = _bounds(name, nearest, runs, FEWEST_IMAGES, measured_images)
        if verdict == "differs" and unknown_images and widest and widest[0] <= nearest <= widest[1]:
            verdict = "not enough evidence"
    return ReproductionTest(mean, mean - nearest, low, high, len(runs), delta, verdict, unknown_images)


def _verdict(
    name: str,
    published: float,
    runs: Sequence[float],
    bounds: tuple[float | None, float | None],
    delta: float | None,
    other_data: bool,
) -> Verdict:
    if other_data:
        return "other data"
    if name in COUNTS:
        return "equal" if all(value == published for value in runs) else "not equal"
    low, high = bounds
    if len(runs) < MIN_RUNS or low is None or high is None:
        return "not enough evidence"
    edge = isclose(published, low, rel_tol=1e-9) or isclose(published, high, rel_tol=1e-9)
    if not edge and not low <= published <= high:
        return "differs"
    return "reproduced" if delta is not None and (high - low) / 2 <= delta else "not enough evidence"


def _bounds(
    name: str, published: float, runs: Sequence[float], images: int | None, measured_images: int | None
) -> Interval | None:
    """The interval of one more run; `images` are those of the published number, where they are not ours."""
    share = _is_share(name) and 0 <= published <= 1
    if name in COUNTS:
        return None
    if len(runs) >= MIN_RUNS:
        own = float(ndtri((1 + LEVEL) / 2)) * sqrt(published * (1 - published) / images) if share and images else 0.0
        one_more = float(stdtrit(len(runs) - 1, (1 + LEVEL) / 2)) * stdev(runs) * sqrt(1 + 1 / len(runs))
        half = hypot(one_more, own)
        return fmean(runs) - half, fmean(runs) + half
    if len(runs) == 1 and share and measured_images:
        return wilson_interval(round(runs[0] * measured_images), measured_images, LEVEL)
    return None


def _is_share(name: str) -> bool:
    """Whether a metric is a share of images, which has a binomial error."""
    return name.partition("_")[2] in SHARES_OF_IMAGES
