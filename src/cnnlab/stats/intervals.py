"""The confidence interval of a proportion."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist


def wilson_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion, (low, high) as fractions; (0, 1) for n = 0.

    Written out, since `scipy.stats` takes longer to load than what calls this.

    Args:
        successes: 0 to n.
        level: the confidence, between 0 and 1.

    Source: E. B. Wilson: Probable inference, the law of succession, and statistical inference, JASA 22, 1927.

    >>> low, high = wilson_interval(7149, 10_000)
    >>> f"{low:.4f} to {high:.4f}"
    '0.7060 to 0.7237'
    """
    assert 0 <= successes <= n, (successes, n)
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)
