"""The picture of a sweep: the numbers that are drawn."""

from itertools import pairwise
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cnnlab.render.plots import COLOURS
from cnnlab.reports.study import text as study_text
from cnnlab.reports.study.sweep_figure import sweep_figure, sweep_plot

SWEEP = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def picture(result):
    return sweep_plot(result, result.curve)


def test_each_dose_has_its_runs_mean_interval_and_train_figure(make_study):
    result = make_study(sweep=SWEEP[::-1], runs=6, failed={"0.6": 2})
    points = picture(result).points
    assert [point.x for point in points] == list(SWEEP)
    values = [value for value in result.arm("0.6").sample.values if np.isfinite(value)]
    last = points[-1]
    assert (last.values, last.failures) == (tuple(values), 2)
    assert last.mean == pytest.approx(np.mean(values))
    assert last.interval == pytest.approx(stats.t.interval(0.95, 3, np.mean(values), stats.sem(values)))
    assert last.train == pytest.approx(np.nanmean(result.arm("0.6").train.values))


def test_the_fit_is_the_quadratic_between_the_doses_with_runs(make_study):
    result = make_study(sweep=SWEEP, runs=6, failed={"0.6": 6})
    fit = np.array(picture(result).fitted_curve)
    values = [arm.sample.values for arm in result.arms[:-1]]
    expected = np.polyfit(np.repeat(SWEEP[:-1], 6), np.concatenate(values), 2)
    assert (fit[0, 0], fit[-1, 0]) == (0.0, pytest.approx(0.5))
    np.testing.assert_allclose(fit[:, 1], np.polyval(expected, fit[:, 0]), rtol=1e-9)


def test_two_doses_have_no_quadratic(make_study):
    result = make_study(sweep=(0.0, 0.5), runs=6)
    assert picture(result).fitted_curve == ()
    assert sweep_figure(result, result.curve)


@given(st.lists(st.integers(-50, 50), min_size=6, max_size=10, unique=True), st.data())
def test_ranges_hold_the_chosen_doses_and_no_others(sweep, data):
    chosen = data.draw(st.sets(st.integers(0, len(sweep) - 1)))
    runs = study_text.adjacent_groups(sweep, chosen)
    assert sorted(index for run in runs for index in run) == sorted(chosen)
    for run in runs:
        low, high = sweep[run[0]], sweep[run[-1]]
        assert {index for index, dose in enumerate(sweep) if low <= dose <= high} == set(run)
    spans = [(sweep[run[0]], sweep[run[-1]]) for run in runs]
    assert spans == sorted(spans)
    for (_, end), (start, _) in pairwise(spans):
        assert any(end < dose < start for dose in sweep)


@pytest.mark.parametrize("sweep", [SWEEP, (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in (1, 2, 3))])
def test_the_shade_covers_the_plateau_and_nothing_else(make_study, sweep, seed):
    effects = {f"{dose:g}": -0.004 * abs(number - 3) for number, dose in enumerate(sweep)}
    result = make_study(effects, sweep=sweep, runs=6, sd=0.006, seed=seed)
    found = picture(result)
    assert found.logarithmic == (sweep[0] > 0)
    for index, dose in enumerate(sweep):
        covered = any(low < dose < high for low, high in found.plateau)
        assert covered == (index in result.curve.plateau)
    along = [log(dose) for dose in sweep] if found.logarithmic else sweep
    low, high = found.plateau[0]
    width = (log(high) - log(low)) if found.logarithmic else high - low
    room = 0.3 * (along[1] - along[0] + along[-1] - along[-2])
    assert width < max(along) - min(along) + room + 1e-9


def test_train_figures_far_away_get_axes_of_their_own(make_study):
    near = make_study(sweep=SWEEP, runs=6, sd=0.03)
    assert not picture(near).separate_train_axes
    assert len(sweep_figure(near, near.curve).axes) == 2
    far = make_study(sweep=SWEEP, runs=6, sd=0.0001)
    assert picture(far).separate_train_axes
    assert len(sweep_figure(far, far.curve).axes) == 3


def test_failed_runs_are_marked(make_study):
    result = make_study(sweep=SWEEP, runs=6, failed={"0.6": 2, "0.5": 1})
    _, axes, *_ = sweep_figure(result, result.curve).axes
    marks = {text.get_text(): text.xy[0] for text in axes.texts if "×" in text.get_text()}
    assert marks == {"×": 0.5, "2×": 0.6}
    assert all(text.get_color() == COLOURS["validation"] for text in axes.texts if "×" in text.get_text())


def test_a_curve_without_any_figure_is_still_a_picture(make_study):
    result = make_study(sweep=SWEEP, runs=3, failed={f"{dose:g}": 3 for dose in SWEEP})
    assert picture(result).plateau == ()
    assert picture(result).fitted_curve == ()
    assert sweep_figure(result, result.curve)
