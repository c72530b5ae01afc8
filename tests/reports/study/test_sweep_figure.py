"""The figure of a sweep: the numbers that are drawn."""

import numpy as np
import pytest
from scipy import stats

from cnnlab.reports.study.sweep_figure import fitted_curve, plateau_spans, sweep_figure

SWEEP = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def test_each_value_has_its_runs_mean_interval_and_train_figure(make_study):
    result = make_study(sweep=SWEEP[::-1], runs=6, failed={"0.6": 2})
    upper, lower = sweep_figure(result, result.curve).axes
    values = [value for value in result.arm("0.6").sample.values if np.isfinite(value)]
    dots, bar, mean = [line for line in upper.lines if line.get_xdata()[0] == 0.6]
    assert [*dots.get_ydata()] == values
    assert bar.get_ydata() == pytest.approx(stats.t.interval(0.95, 3, np.mean(values), stats.sem(values)))
    assert mean.get_ydata() == pytest.approx([np.mean(values)])
    assert [text.get_text() for text in upper.texts if text.xy[0] == 0.6] == ["2 failed"]
    (train,) = lower.lines
    assert [*train.get_xdata()] == list(SWEEP)
    assert train.get_ydata()[-1] == pytest.approx(np.nanmean(result.arm("0.6").train.values))


def test_the_fit_is_the_quadratic_between_the_values_with_runs(make_study):
    result = make_study(sweep=SWEEP, runs=6, failed={"0.6": 6})
    points, fit = fitted_curve(result.curve)
    values = [arm.sample.values for arm in result.arms[:-1]]
    expected = np.polyfit(np.repeat(SWEEP[:-1], 6), np.concatenate(values), 2)
    assert (points[0], points[-1]) == (0.0, pytest.approx(0.5))
    np.testing.assert_allclose(fit, np.polyval(expected, points), rtol=1e-9)


def test_two_values_have_no_quadratic(make_study):
    result = make_study(sweep=(0.0, 0.5), runs=6)
    assert len(fitted_curve(result.curve)[0]) == 0
    assert sweep_figure(result, result.curve)


@pytest.mark.parametrize("sweep", [SWEEP, SWEEP[::-1], (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)])
def test_the_shade_covers_the_plateau_and_nothing_else(make_study, sweep):
    effects = {f"{value:g}": -0.004 * abs(number - 3) for number, value in enumerate(sweep)}
    result = make_study(effects, sweep=sweep, runs=6, sd=0.006)
    spans = plateau_spans(result.curve)
    assert 0 < len(spans) < len(sweep)
    for index, value in enumerate(sweep):
        assert any(low < value < high for low, high in spans) == (index in result.curve.plateau)


def test_a_curve_without_any_figure_is_still_a_picture(make_study):
    result = make_study(sweep=SWEEP, runs=3, failed={f"{value:g}": 3 for value in SWEEP})
    assert plateau_spans(result.curve) == []
    assert sweep_figure(result, result.curve)
