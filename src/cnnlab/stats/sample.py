"""One arm's figures, a run each; runs that failed stay in the count."""

from __future__ import annotations

from functools import cached_property
from math import fsum, isfinite, sqrt

from scipy.special import betaincinv, stdtrit

from cnnlab.records import Record

LEVEL = 0.95
# Fewer runs only describe: there is no verdict.
MIN_RUNS = 5

Interval = tuple[float, float]


class Sample(Record):
    """The same figure of each run of one arm.

    Attributes:
        name: of the arm.
        values: one for each run, in the order of seeds, in the metric's own units. One that is not finite is a failed
            (diverged) run: it is left out of mean and spread, and counted in `failures`.

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
        if not self.finite:
            return None
        # Seen from the lowest: the mean of equal values is exactly their value, in whatever order they come.
        lowest = min(self.finite)
        return lowest + fsum(value - lowest for value in self.finite) / self.n

    @cached_property
    def sd(self) -> float | None:
        """The standard deviation of the finite values, with n − 1; None for fewer than two."""
        if self.mean is None or self.n < 2:
            return None
        return sqrt(fsum((value - self.mean) ** 2 for value in self.finite) / (self.n - 1))

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
        """The exact 95 % interval of the share of runs that fail, as fractions; (0, 1) without runs.

        Source: C. J. Clopper, E. S. Pearson: The use of confidence or fiducial limits illustrated in the case of the
        binomial, Biometrika 26, 1934.
        """
        failed, runs = self.failures, len(self.values)
        tail = (1 - LEVEL) / 2
        low = float(betaincinv(failed, runs - failed + 1, tail)) if failed else 0.0
        high = float(betaincinv(failed + 1, runs - failed, 1 - tail)) if failed < runs else 1.0
        return low, high
