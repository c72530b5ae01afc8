"""Welch's test of two means, with spreads that need not be equal; a spread of zero is no exception.

B. L. Welch: The generalization of "Student's" problem when several different population variances are involved,
Biometrika 34, 1947. Equivalence: D. J. Schuirmann: A comparison of the two one-sided tests procedure and the power
approach, J. Pharmacokinetics and Biopharmaceutics 15, 1987.
"""

from __future__ import annotations

from typing import NamedTuple

from scipy.special import stdtr, stdtrit

from cnnlab.statistics.samples import Interval, Sample


class Welch(NamedTuple):
    """A difference of two means, its standard error and degrees of freedom.

    With an error of zero an interval is a point, and a p-value 0 or 1.
    """

    difference: float
    error: float
    freedom: float

    def interval(self, level: float) -> Interval:
        """The difference's interval at a confidence level, (low, high)."""
        half = float(stdtrit(self.freedom, (1 + level) / 2)) * self.error
        return self.difference - half, self.difference + half

    @property
    def p(self) -> float:
        """Two-sided: how often means that do not differ would show so large a difference."""
        if self.error == 0:
            return 1.0 if self.difference == 0 else 0.0
        return float(2 * stdtr(self.freedom, -abs(self.difference) / self.error))

    def p_equal(self, delta: float) -> float:
        """The larger p-value of the two one-sided tests against −delta and +delta."""
        room = delta - abs(self.difference)
        if self.error == 0:
            return 0.0 if room > 0 else 1.0
        return float(stdtr(self.freedom, -room / self.error))


def welch(a: Sample, b: Sample) -> Welch | None:
    """A against B, of the finite runs; None where a side has fewer than two.

    >>> test = welch(Sample(name="a", values=(3, 4, 5)), Sample(name="b", values=(1, 2, 3)))
    >>> f"{test.difference:g}, p = {test.p:.3f}"
    '2, p = 0.070'
    """
    if a.mean is None or b.mean is None or a.sd is None or b.sd is None:
        return None
    of_a, of_b = a.sd**2 / a.n, b.sd**2 / b.n
    both = of_a + of_b
    # The usual formula, divided through by the squared sum: small spreads can't underflow.
    shares = (of_a / both, of_b / both) if both else (0.5, 0.5)
    freedom = 1 / (shares[0] ** 2 / (a.n - 1) + shares[1] ** 2 / (b.n - 1))
    return Welch(a.mean - b.mean, float(both**0.5), freedom)
