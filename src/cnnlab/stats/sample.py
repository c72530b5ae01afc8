"""The figures of an arm, one for each run, and the best of several arms."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import cached_property
from math import isfinite, sqrt

from scipy.special import stdtrit

from cnnlab.records import Record

LEVEL = 0.95
# With fewer runs there is no verdict.
MIN_RUNS = 5
MIN_RUNS_TO_RANK = 3

Interval = tuple[float, float]


class Sample(Record):
    """A metric of each run of one arm.

    Attributes:
        name: of the arm.
        values: one for each run, in the order of seeds, in the metric's units. A value that is not finite is a failed
            (diverged) run: it is left out of mean and standard deviation, and counted in `failures`.

    >>> arm = Sample(name="dropout", values=(0.70, 0.72, 0.71, float("nan")))
    >>> arm.n, arm.failures, round(arm.mean, 3), round(arm.sd, 3)
    (3, 1, 0.71, 0.01)
    """

    name: str
    values: tuple[float, ...]

    @cached_property
    def finite(self) -> tuple[float, ...]:
        """The values of the runs that did not fail."""
        return tuple(value for value in self.values if isfinite(value))

    @property
    def n(self) -> int:
        """The number of runs that did not fail."""
        return len(self.finite)

    @property
    def failures(self) -> int:
        """The number of runs that failed."""
        return len(self.values) - self.n

    @cached_property
    def mean(self) -> float | None:
        """Of the finite values; None where there are none."""
        return statistics.mean(self.finite) if self.finite else None

    @cached_property
    def sd(self) -> float | None:
        """The standard deviation of the finite values, with n − 1; None for fewer than two."""
        return statistics.stdev(self.finite) if self.n > 1 else None

    def interval(self, level: float = LEVEL) -> Interval | None:
        """Student's interval of the mean, (low, high); None for fewer than two finite values.

        >>> low, high = Sample(name="", values=(0.70, 0.72, 0.71)).interval(0.95)
        >>> f"{low:.3f} to {high:.3f}"
        '0.685 to 0.735'
        """
        if self.mean is None or self.sd is None:
            return None
        half = float(stdtrit(self.n - 1, (1 + level) / 2)) * self.sd / sqrt(self.n)
        return self.mean - half, self.mean + half

    @property
    def failure_interval(self) -> Interval:
        """The exact (Clopper–Pearson) 95 % interval of the failure rate, as fractions; (0, 1) without runs."""
        if not self.values:
            return 0.0, 1.0
        from scipy.stats import binomtest

        low, high = binomtest(self.failures, len(self.values)).proportion_ci(LEVEL, method="exact")
        return float(low), float(high)


def best_arm(arms: Sequence[Sample], *, min_runs: int = MIN_RUNS_TO_RANK, higher_is_better: bool = True) -> int | None:
    """The index of the arm with the best mean, of those with `min_runs` finite runs; of equal means the first.

    None without any such arm: a mean of one or two runs is mostly luck. The best mean is biased, since it was chosen.

    >>> best_arm([Sample(name="a", values=(0.70, 0.71, 0.72)), Sample(name="b", values=(0.72, 0.73, 0.74))])
    1
    """
    sign = 1 if higher_is_better else -1
    means = {index: sign * arm.mean for index, arm in enumerate(arms) if arm.mean is not None and arm.n >= min_runs}
    return max(means, key=lambda index: means[index], default=None)


def pooled_sd(samples: Sequence[Sample]) -> float | None:
    """The standard deviation between runs of one arm, pooled over all arms; None where no arm has two runs."""
    known = [(sample.n - 1, sample.sd) for sample in samples if sample.sd is not None]
    freedom = sum(each for each, _ in known)
    return sqrt(sum(each * sd**2 for each, sd in known) / freedom) if freedom else None
