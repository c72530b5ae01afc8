"""The interval for new seeds and new images. How often it misses is counted in test_rates.py."""

from math import sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from cnnlab.stats.random_effects import random_effects_interval


def right(seed: int, runs: int, other: int, images: int = 300, taste: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.Generator(np.random.PCG64(seed))
    easy = draws.uniform(0.3, 0.7, images)
    likes = draws.choice((-taste, taste), images)
    return draws.random((runs, images)) < easy + likes, draws.random((other, images)) < easy


def interval(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    return random_effects_interval(a, b, level=level)


def welchs(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    found = stats.ttest_ind(a.mean(axis=1), b.mean(axis=1), equal_var=False).confidence_interval(level)
    return found.low, found.high


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(2, 6), st.sampled_from([0.0, 0.1, 0.3]))
def test_it_is_never_narrower_than_welchs(seed, runs, other, taste):
    a, b = right(seed, runs, other, 60, taste)
    assume(min(a.mean(axis=1).var(), b.mean(axis=1).var()) > 1e-9)
    inner, outer = welchs(a, b), interval(a, b)
    assert outer[0] <= inner[0] + 1e-12
    assert outer[1] >= inner[1] - 1e-12


@pytest.mark.parametrize(("runs", "other"), [(3, 3), (2, 5)])
def test_the_interval_is_that_of_statsmodels_analysis_of_variance(runs, other):
    """By its mean squares of runs and of the residual in each table."""
    a, b = right(17, runs, other, 30, 0.3)
    parts, chance = [], 0.0
    for table in (a, b):
        run, image = (places.ravel() for places in np.indices(table.shape))
        cells = pd.DataFrame({"right": table.ravel().astype(float), "run": run, "image": image})
        squares = anova_lm(ols("right ~ C(run) + C(image)", cells).fit())["mean_sq"]
        parts.append((squares["C(run)"] / table.size, len(table) - 1))
        chance += squares["Residual"] / len(table)
    parts.append(((np.var(a.mean(axis=0) - b.mean(axis=0), ddof=1) - chance) / 30, 29))
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / freedom for part, freedom in parts)
    expected = stats.t.interval(0.95, freedom, a.mean() - b.mean(), sqrt(variance))
    assert min(part for part, _ in parts) > 0
    assert expected[1] > welchs(a, b)[1]
    assert interval(a, b) == pytest.approx(expected)


def test_runs_that_differ_in_nothing_but_the_images_have_an_interval_of_images():
    """Equal runs have no spread of their own: the gaps' standard error, and Student's t with N − 1."""
    a, b = right(3, 1, 1, 200)
    low, high = interval(np.repeat(a, 3, axis=0), np.repeat(b, 3, axis=0))
    expected = stats.t.interval(0.95, 199, *(lambda gaps: (gaps.mean(), stats.sem(gaps)))(a[0] * 1.0 - b[0]))
    assert (low, high) == pytest.approx(expected)


def test_models_that_are_all_the_same_have_a_point():
    a = np.ones((3, 10), dtype=bool)
    assert interval(a, a) == (0.0, 0.0)
    assert interval(a, ~a) == (1.0, 1.0)


def test_swapping_the_arms_turns_the_interval_round():
    a, b = right(6, 5, 7)
    low, high = interval(a, b)
    assert interval(b, a) == pytest.approx((-high, -low))
