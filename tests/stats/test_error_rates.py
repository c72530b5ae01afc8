"""How often each verdict is wrong, counted in simulated studies by the script that makes the published table."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "statistics_rates.py"))
ROWS = {row.what: row for row in SCRIPT["rows"]()}
STUDIES = 2000
FAMILY = "better or worse where no arm differs: k = 12, 5 seeds"
# Each of these judges with other functions than the rest do.
FAST = {
    "better or worse where there is no difference, 5 seeds",
    "practically equal where the difference is δ, 5 seeds, σ = 0.05 points",
    "the interval misses the true difference, 5 against 10 seeds, spreads 1 to 3",
    "the permutation test finds a difference where there is none, 5 seeds",
    "better where A is δ better, the 10 seeds that 80 % take at σ = 0.15 points",
    "an effect where there is none",
    "McNemar's exact test tells equal models apart, 500 images",
    "the paired interval misses the true difference, 100 images",
}
LONG = {
    what
    for what in ROWS
    if what.startswith(
        ("screening", "any interval of 6", "better or worse where no arm", "practically equal where all", "an arm")
    )
    or "not corrected" in what
} - {FAMILY}


def marks(what):
    return () if what in FAST else pytest.mark.slow if what in LONG else pytest.mark.full


@pytest.mark.full
@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=marks(what)) for what, row in ROWS.items() if row.target is not None]
)
def test_rates_lie_in_their_binomial_band(what):
    row = ROWS[what]._replace(studies=STUDIES)
    rate = row.measure(STUDIES)
    assert rate.holds, f"{100 * rate.rate:.1f} % where {row.target} is right"


def test_the_published_table_is_of_these_rows():
    assert ROWS.keys() >= FAST | LONG | {FAMILY}
    page = (Path(__file__).parents[2] / "benchmarks" / "results" / "statistics-rates.md").read_text(encoding="utf-8")
    shown = [line.split(" | ")[0].removeprefix("| ") for line in page.splitlines() if line.startswith("| ")]
    assert [what for what in shown if what != "what"] == list(ROWS)


def test_a_band_is_the_binomials():
    rate = SCRIPT["Rate"](120, 2000, (0.05, 0.05), "=")
    low, high = rate.band
    assert stats.binom.cdf(2000 * low - 1, 2000, 0.05) < 0.0005 <= stats.binom.cdf(2000 * low, 2000, 0.05)
    assert stats.binom.sf(2000 * high, 2000, 0.05) <= 0.0005 < stats.binom.sf(2000 * high - 1, 2000, 0.05)
    assert rate.holds
    assert not rate._replace(count=150).holds
    assert not rate._replace(count=50).holds
    assert rate._replace(count=50, kind="≤").holds
    assert not rate._replace(count=150, kind="≤").holds
    assert not rate._replace(count=50, kind="≥").holds


def test_the_best_of_ten_seeds_is_one_and_a_half_spreads_of_luck():
    draws = np.random.Generator(np.random.PCG64(2)).normal(size=(50_000, 10))
    assert draws.max(axis=1).mean() == pytest.approx(1.54, abs=0.01)
