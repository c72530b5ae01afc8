"""The curve of a learning-rate range test: its rates, where the loss blows up, and the suggested rate.

L. N. Smith: Cyclical learning rates for training neural networks, 2015 (WACV 2017): the rate rises from step to step
while the network trains. Good rates are between where the loss begins to fall and where it rises again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cnnlab.errors import Problem, UsageError
from cnnlab.records import Record

Numbers = npt.NDArray[np.float64]

MIN_STEPS, MAX_STEPS = 10, 10_000
# The loss blows up when its exponential moving average exceeds this many times its lowest value: fast.ai's rule.
DIVERGENCE_RATIO, SMOOTHING_WEIGHT = 4.0, 0.1
# The standard deviation of the smoothing kernel, as a share of the steps. Narrower kernels left minima of noise; a
# running mean would lag behind the rate.
WIDTH = 1 / 20
# The least fall, relative to the first losses and to its noise. Losses of pure noise have such a fall in 1 % of tests.
MIN_FALL, MIN_FALL_TO_NOISE = 0.01, 3.0
# The suggestion is the rate with the lowest loss, divided by this: fast.ai's rule.
LIMIT_DIVISOR = 10
# The median absolute difference of neighbours, for normal noise with standard deviation 1.
NOISE_SCALE = 0.6745 * math.sqrt(2)


class LRCurveAnalysis(Record):
    """The analysis of a range test's losses; the rates are None without a clear fall.

    Attributes:
        smoothed: the smoothed losses before the blow-up.
        limit: the rate with the lowest smoothed loss; above it the loss rises.
        steepest: the rate up to `limit` at which the smoothed loss falls most steeply against the rate's logarithm.
        suggestion: a tenth of `limit`, or `steepest` if that is lower; no lower than the first rate.
        trouble, advice: why there is no suggestion, and the next step.
    """

    smoothed: tuple[float, ...]
    steepest: float | None = None
    suggestion: float | None = None
    limit: float | None = None
    trouble: str = ""
    advice: str = ""


def geometric_rates(low: float, high: float, steps: int) -> tuple[float, ...]:
    """Rates in equal ratios, one for each step.

    Args:
        low, high: the first and the last rate, above 0.
        steps: 10 to 10,000.

    Raises:
        UsageError: arguments out of range.

    >>> [f"{rate:.0e}" for rate in geometric_rates(1e-6, 1e3, 10)][:3]
    ['1e-06', '1e-05', '1e-04']
    """
    problems = []
    if not (0 < low < high < math.inf):
        allowed = "finite numbers above 0, --from below --to"
        problems.append(
            Problem(
                "these can't be learning rates", "--from, --to", f"{low:g} to {high:g}", allowed, "--from 1e-6 --to 1"
            )
        )
    if not MIN_STEPS <= steps <= MAX_STEPS:
        allowed = f"{MIN_STEPS} to {MAX_STEPS:,}"
        problems.append(Problem("this number of steps makes no curve", "--steps", str(steps), allowed, "--steps 200"))
    if problems:
        raise UsageError.from_problems(problems)
    return tuple(np.geomspace(low, high, steps).tolist())


def num_valid_steps(losses: Sequence[float]) -> int:
    """The number of steps before the loss blew up.

    It blows up with the first loss that is not finite, or with which its exponential moving average exceeds four times
    its lowest value.

    >>> num_valid_steps([2.3, 2.0, 1.5, 1.4, 90.0, 4000.0])
    4
    """
    mean, lowest = 0.0, math.inf
    for step, loss in enumerate(losses):
        mean += SMOOTHING_WEIGHT * (loss - mean)
        # Bias-corrected, as in Adam.
        corrected = mean / (1 - (1 - SMOOTHING_WEIGHT) ** (step + 1))
        if not math.isfinite(corrected) or corrected > DIVERGENCE_RATIO * lowest:
            return step
        lowest = min(lowest, corrected)
    return len(losses)


def analyze_curve(rates: Sequence[float], losses: Sequence[float]) -> LRCurveAnalysis:
    """Analyze the losses of a range test.

    Args:
        rates: the planned rates, rising in equal ratios.
        losses: at the rates that were tried; losses from the blow-up on are ignored.

    >>> rates = geometric_rates(1e-6, 1.0, 101)
    >>> falling = [2 - math.tanh(3 + math.log10(rate)) if rate < 0.5 else 99 for rate in rates]
    >>> f"{analyze_curve(rates, falling).steepest:.1e}"
    '1.0e-03'
    """
    num_valid = num_valid_steps(losses)
    if num_valid < MIN_STEPS:
        trouble, advice = _too_few(rates, num_valid)
        return LRCurveAnalysis(smoothed=(), trouble=trouble, advice=advice)
    values = np.asarray(losses[:num_valid], dtype=np.float64)
    means, slopes = _local_fit(values, max(1.0, WIDTH * len(rates)))
    smoothed, lowest = tuple(means.tolist()), int(means.argmin())
    if not _has_fall(values, means, lowest, len(rates)):
        trouble, advice = _no_fall(rates, values, means)
        return LRCurveAnalysis(smoothed=smoothed, trouble=trouble, advice=advice)
    steepest = int(slopes[: lowest + 1].argmin())
    suggestion = min(max(rates[lowest] / LIMIT_DIVISOR, rates[0]), rates[steepest])
    return LRCurveAnalysis(smoothed=smoothed, steepest=rates[steepest], suggestion=suggestion, limit=rates[lowest])


def _local_fit(values: Numbers, width: float) -> tuple[Numbers, Numbers]:
    """The Gaussian-weighted mean around each step, and the slope of the local regression line there.

    W. S. Cleveland's local regression. Unlike the line's value, the mean never lies outside the values.
    """
    reach = math.ceil(3 * width)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / width) ** 2)

    def sums(weights: Numbers, of: Numbers) -> Numbers:
        return np.convolve(of, weights[::-1])[reach : reach + len(of)]

    ones = np.ones_like(values)
    weight, first, second = (sums(kernel * offsets**power, ones) for power in (0, 1, 2))
    total, moment = sums(kernel, values), sums(kernel * offsets, values)
    slopes = (moment * weight - first * total) / (second * weight - first**2)
    means: Numbers = total / weight
    return np.clip(means, values.min(), values.max()), slopes


def _initial_losses(values: Numbers) -> Numbers:
    """The first losses, at rates too low to matter."""
    return values[: max(3, len(values) // 10)]


def _has_fall(values: Numbers, means: Numbers, lowest: int, planned: int) -> bool:
    """Whether the smoothed loss falls by at least 1 %, and by more than its noise."""
    if lowest == 0:
        return False
    first = _initial_losses(values)
    fall = float(first.mean() - means[lowest])
    # The effective number of steps in half a kernel, as at the ends.
    effective_steps = math.sqrt(math.pi) * max(1.0, WIDTH * planned)
    noise = float(np.median(np.abs(np.diff(values[: lowest + 1])))) / NOISE_SCALE
    fall_noise = noise * math.sqrt(1 / len(first) + 1 / effective_steps)
    return fall >= MIN_FALL * abs(float(first.mean())) and fall > MIN_FALL_TO_NOISE * fall_noise


def _too_few(rates: Sequence[float], num_valid: int) -> tuple[str, str]:
    if not num_valid:
        trouble = "the loss is not a finite number before any rate has done anything"
        return trouble, "look at the recipe's init and its table: cnnlab describe RECIPE"
    end = f"{rates[num_valid]:.2g}"
    trouble = f"the loss blew up after {num_valid} steps, at a rate of {end}: too few to see it fall"
    return trouble, f"begin lower: --from {rates[0] / 1000:.2g} --to {end}"


def _no_fall(rates: Sequence[float], values: Numbers, means: Numbers) -> tuple[str, str]:
    first, lowest = float(_initial_losses(values).mean()), float(means.min())
    trouble = (
        f"the loss did not fall clearly at any rate: {first:.4g} in the first steps, smoothed never below {lowest:.4g}"
    )
    ends = f"--to {10 * rates[-1]:.2g}" if len(values) == len(rates) else f"--from {rates[0] / 100:.2g}"
    steps = f"--steps {min(MAX_STEPS, max(4 * len(rates), 400))}"
    return trouble, f"take more steps or other rates: {steps}, or {ends}; else look at labels and init"
