"""A sweep curve, against scipy and statsmodels."""

from math import nan

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests

from cnnlab.stats.sample import Sample
from cnnlab.stats.sweep import alexander_govern, fit_quadratic, sweep_curve
from cnnlab.stats.welch import size_of_test

VALUES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8)


def sample(*values: float) -> Sample:
    return Sample(name="value", values=values)


def hill(seed: int = 0, n: int = 6, top: float = 0.35, spread: float = 0.003) -> list[Sample]:
    draws = np.random.Generator(np.random.PCG64(seed))
    means = [0.75 - 0.2 * (value - top) ** 2 for value in VALUES]
    return [sample(*draws.normal(mean, spread * (1 + place), n + place)) for place, mean in enumerate(means)]


def test_any_effect_leaves_out_what_has_no_spread_to_tell():
    samples = hill()
    expected = stats.alexandergovern(*(each.values for each in samples)).pvalue
    assert alexander_govern([*samples, sample(0.1), sample(nan, 0.9)]) == pytest.approx(expected)
    assert alexander_govern([samples[0], sample(0.5)]) is None
    assert alexander_govern([]) is None


def test_a_value_without_spread_is_the_limit_of_ever_smaller_ones():
    samples = hill(1)
    still = np.array([0.75, 0.75, 0.75, 0.75, 0.75])
    nearly = still + 1e-7 * np.array([-2, -1, 0, 1, 2])
    expected = stats.alexandergovern(nearly, *(each.values for each in samples)).pvalue
    assert alexander_govern([sample(*still), *samples]) == pytest.approx(expected, rel=1e-3)


def test_values_without_any_spread_differ_or_do_not():
    assert alexander_govern([sample(0.5, 0.5)] * 3) == 1.0
    assert alexander_govern([sample(0.5, 0.5), sample(0.6, 0.6), sample(0.1, 0.9)]) == 0.0


@pytest.mark.parametrize("unit", [1.0, 1e-4, 1e3])
def test_the_fit_is_statsmodels_with_hc3_errors(unit):
    values, samples = [value * unit for value in VALUES], hill(2)
    coefficients, errors = fit_quadratic(values, samples)
    x = np.repeat(VALUES, [each.n for each in samples])
    y = np.concatenate([each.values for each in samples])
    expected = sm.OLS(y, np.vander(x, 3)).fit(cov_type="HC3")
    powers = np.array([unit**2, unit, 1])
    assert np.array(coefficients) * powers == pytest.approx(expected.params, rel=1e-6)
    assert np.array(errors) * powers == pytest.approx(expected.bse, rel=1e-6)
    assert fit_quadratic(values, [sample(*each.values, nan) for each in samples]) == (
        coefficients,
        errors,
    )  # without failed runs


def test_a_parabola_is_found_again():
    curve = sweep_curve(VALUES, [sample(*[3 - 2 * (value - 0.25) ** 2] * 5) for value in VALUES])
    assert curve.coefficients == pytest.approx((-2, 1, 2.875))
    assert curve.coefficient_errors == pytest.approx((0, 0, 0), abs=1e-9)
    assert curve.optimum == pytest.approx(0.25)


def test_the_vertex_is_the_best_within_the_values_or_none():
    def turned(top: float, bend: float, higher: bool) -> float | None:
        samples = [sample(*[1 + bend * (value - top) ** 2] * 5) for value in VALUES]
        return sweep_curve(VALUES, samples, higher_is_better=higher).optimum

    assert turned(0.3, -1, True) == pytest.approx(0.3)
    assert turned(0.3, 1, False) == pytest.approx(0.3)
    assert turned(0.3, 1, True) is None
    assert turned(0.3, -1, False) is None
    assert turned(0.9, -1, True) is None
    assert turned(-0.1, -1, True) is None
    flat = sweep_curve(VALUES, [sample(*[0.5] * 5)] * 6)
    assert (flat.p_any, flat.plateau) == (1.0, (0, 1, 2, 3, 4, 5))


def test_two_values_make_no_curve():
    found = sweep_curve(VALUES, [*hill()[:2], *[sample(nan)] * 4])
    assert (found.coefficients, found.coefficient_errors, found.optimum) == (None,) * 3
    nothing = sweep_curve((1, 2), [sample(nan), sample()])
    assert (nothing.best, nothing.p_any, nothing.plateau, nothing.p_plateau) == (None, None, (), (None, None))


def test_a_single_run_that_holds_the_fit_has_no_error():
    found = sweep_curve((0, 1, 2), [sample(1.0, 2.0), sample(1.5, 1.0), sample(3.0)])
    assert np.polyval(found.coefficients, 2) == pytest.approx(3.0)
    assert found.coefficient_errors is None


@pytest.mark.parametrize("seed", range(4))
def test_the_plateau_is_what_welch_and_holm_can_not_tell_from_the_best(seed):
    samples = hill(seed)
    found = sweep_curve(VALUES, samples)
    best = int(np.argmax([np.mean(each.values) for each in samples]))
    others = [place for place in range(6) if place != best]
    p = [stats.ttest_ind(samples[best].values, samples[each].values, equal_var=False).pvalue for each in others]
    p = [size_of_test(each, samples[place].n, samples[best].n) for place, each in zip(others, p, strict=True)]
    apart, adjusted, *_ = multipletests(p, 0.05, "holm")
    assert found.best == best
    assert [found.p_plateau[each] for each in others] == pytest.approx(adjusted)
    assert found.p_plateau[best] == 1.0
    expected = {best, *(place for place, other in zip(others, apart, strict=True) if not other)}
    assert set(found.plateau) == expected
    assert found.plateau == tuple(sorted(found.plateau))


def test_plateaus_are_neither_everything_nor_the_best_alone():
    sizes = {len(sweep_curve(VALUES, hill(seed, n=5)).plateau) for seed in range(8)}
    assert sizes & {2, 3, 4, 5}


def test_a_loss_is_best_where_it_is_lowest():
    samples = hill(1)
    losses = [sample(*(1 - value for value in each.values)) for each in samples]
    higher, lower = sweep_curve(VALUES, samples), sweep_curve(VALUES, losses, higher_is_better=False)
    assert (lower.best, lower.plateau) == (higher.best, higher.plateau)
    assert lower.optimum == pytest.approx(higher.optimum)


@pytest.mark.parametrize(("values", "n", "enough"), [(6, 5, True), (5, 5, False), (6, 4, False)])
def test_it_takes_six_values_of_five_runs_to_tell_a_plateau(values, n, enough):
    samples = [sample(*each.values[:n]) for each in hill(0, n=8)[:values]]
    found = sweep_curve(VALUES[:values], samples)
    assert found.enough == enough == bool(found.plateau)
    assert found.best is not None
    assert None not in found.p_plateau


def test_a_value_with_few_runs_left_is_neither_best_nor_in_the_plateau():
    lucky = [sample(0.99, nan, nan, nan, nan), *hill(0)]
    found = sweep_curve((-0.1, *VALUES), lucky)
    assert found.enough
    assert found.best != 0
    assert 0 not in found.plateau
    assert found.p_plateau[0] is None
    few = [sample(*hill(0)[found.best - 1].values[:4]), *hill(0)]
    found = sweep_curve((-0.1, *VALUES), few)
    assert found.p_plateau[0] > 0.05
    assert 0 not in found.plateau
