"""Pictures of arms: the numbers that are drawn, and texts that don't cover one another."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import stats

from cnnlab.render.formatting import display_width
from cnnlab.render.plots import to_svg
from cnnlab.reports.comparison.studies_figure import overlay_figure
from cnnlab.reports.study import figures
from cnnlab.reports.study import text as study_text
from cnnlab.reports.study.figures import learning_figure, seed_figure
from cnnlab.reports.study.sweep_figure import sweep_figure
from cnnlab.stats.welch import nominal_level

finite = st.floats(-1e6, 1e6)
ODD = {
    "plain": 0.0,
    "x" * 4096: 0.01,
    "optimizer=sgd(lr=0.1, momentum=0.9), dropout=0.3, mixup=0.2": 0.02,
    "optimizer=sgd(lr=0.1, momentum=0.9), dropout=0.3, mixup=0.4": -0.02,
    "</script><img onerror=alert(1)>": 0.0,
    "$x_{": 0.001,
    "\u202eright to left": 0.001,
    "🐱 日本語の長い名前がありますから切ります": 0.0,
}
MANY = {f"arm {number}": 0.004 * (number % 7 - 3) for number in range(25)}


def test_each_arm_has_its_dots_mean_and_interval(make_study):
    result = make_study(runs=6, failed={"flips": 2, "warm-up": 6})
    axes = seed_figure(result).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    values = [value for value in result.arm("flips").sample.values if np.isfinite(value)]
    assert [*dots[1].get_xdata()] == values
    means = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"]
    assert means == [pytest.approx(result.arm(name).sample.mean) for name in ("plain", "flips", "dropout")]
    bars = [bar.get_segments()[0][:, 0] for bar in axes.collections]
    assert bars[1] == pytest.approx(stats.t.interval(0.95, 3, np.mean(values), stats.sem(values)))


def test_dots_of_an_arm_are_spread_in_its_row(make_study):
    for runs, effects in ((30, {"a": 0.0, "b": 0.0}), (1, {"a": 0.0, "b": 0.1})):
        axes = seed_figure(make_study(effects, runs=runs)).axes[0]
        for row, line in enumerate(line for line in axes.lines if line.get_marker() == "o"):
            heights = line.get_ydata() - row
            assert -0.25 < min(heights) <= max(heights) < 0.1
            assert len(set(heights)) == runs


def test_a_row_says_which_runs_it_does_not_show(make_study):
    result = make_study(runs=6, failed={"flips": 2, "warm-up": 6})
    remarks = [figures.missing_runs_text(arm.sample) for arm in result.arms]
    assert remarks == ["", "2 of 6 failed", "", "6 of 6 failed"]


def test_differences_are_in_points_and_sorted(make_study):
    result = make_study(runs=9, failed={"dropout": 1})
    compared = study_text.comparisons(result)
    assert [each.a for each in compared] == ["flips", "warm-up", "dropout"]
    base, flips = (np.array(result.arm(name).sample.values) for name in ("plain", "flips"))
    wide = stats.ttest_ind(flips, base, equal_var=False).confidence_interval(1 - nominal_level(0.05 / 3, 9, 9))
    difference, interval = figures.axis_difference(compared[0], result.metric)
    assert difference == pytest.approx(100 * (flips.mean() - base.mean()))
    assert interval == pytest.approx((100 * wide.low, 100 * wide.high))


def test_losses_keep_their_units_and_the_lowest_leads(make_study):
    effects = {"plain": 0.0, "high": 0.1, "low": -0.1}
    result = make_study(effects, metric="validation_loss", mean=1.2, runs=6)
    compared = study_text.comparisons(result)
    assert [each.a for each in compared] == ["low", "high"]
    assert figures.axis_difference(compared[0], result.metric)[0] == pytest.approx(-0.1, abs=0.01)


def test_an_arm_without_a_figure_stands_last(make_study):
    result = make_study(failed={"flips": 10})
    last = study_text.comparisons(result)[-1]
    assert (last.a, figures.axis_difference(last, result.metric)) == ("flips", (None, None))


@given(st.lists(finite, min_size=1, max_size=20), st.lists(st.tuples(finite, finite).map(sorted), max_size=10))
def test_every_point_is_on_the_axis(points, bounds):
    low, high = figures.axis_limits([*points, float("nan")], [tuple(bound) for bound in bounds])
    assert low < min(points) <= max(points) < high


def test_one_enormous_interval_does_not_squeeze_the_others():
    usual = [(0.7, 0.71), (0.705, 0.715), (0.70, 0.712)]
    low, high = figures.axis_limits([0.70, 0.71], usual)
    assert low < 0.70 < 0.715 < high
    low, high = figures.axis_limits([0.70, 0.71], [*usual, (-5.0, 7.0)])
    assert 0.67 < low < high < 0.75


@given(st.lists(st.text(alphabet="ab=1… 日", max_size=30), max_size=8, unique=True), st.integers(6, 12))
@pytest.mark.full
def test_names_are_short_and_each_its_own(names, longest):
    shown = [" ".join(name.split()) for name in names]
    short = study_text.short_names(names, longest)
    assert len(set(short)) == len(short)
    assert all(display_width(name) <= longest + 4 for name in short)
    for name, kept in zip(shown, short, strict=True):
        if display_width(name) <= longest and shown.count(name) == 1:
            assert kept.partition(" (")[0] in name


def drawn_texts(figure):
    """The texts of a figure that are drawn: numbers beyond the ends of an axis are not."""
    for axes in figure.axes:
        yield from axes.texts
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            yield axis.label
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if low <= tick.get_loc() <= high and tick.label1.get_visible():
                    yield tick.label1


def overlapping(figure):
    """Pairs of texts that cover one another, as Matplotlib's own font, a wide one, would draw them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        texts = [text for text in drawn_texts(figure) if text.get_text().strip()]
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    inside = [(text, box) for text, box in boxes if box.width > 0]
    return [
        (one, other)
        for number, (one, first) in enumerate(inside)
        for other, second in inside[number + 1 :]
        if min(first.x1, second.x1) - max(first.x0, second.x0) > 1
        and min(first.y1, second.y1) - max(first.y0, second.y0) > 1
    ]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"effects": {name[:60]: effect for name, effect in ODD.items() if name.isascii()}, "runs": 5},
        *(
            pytest.param(kwargs, marks=pytest.mark.full)
            for kwargs in (
                {},
                {"runs": 1},
                {"runs": 2, "failed": {"plain": 2}},
                {"effects": {"a": 0.0, "b": 0.0}, "runs": 30},
                {"effects": MANY, "runs": 6},
                {"failed": {"flips": 10, "plain": 3}},
                {"metric": "validation_loss", "mean": 1.3, "sd": 0.1},
                {"sd": 0.0},
            )
        ),
    ],
)
def test_no_text_covers_another(make_study, kwargs):
    result = make_study(**kwargs)
    other = make_study(**kwargs, seed=1, study="again")
    for figure in (
        seed_figure(result),
        learning_figure(result),
        overlay_figure([result, other]),
    ):
        assert overlapping(figure) == []


@pytest.mark.parametrize(
    "sweep",
    [
        (1e-5, 1e-4, 1e-2, 0.03, 0.1, 1.0),
        *(pytest.param(sweep, marks=pytest.mark.full) for sweep in ((0.0, 0.1), np.linspace(0, 1, 25), (-3, 5))),
    ],
)
def test_no_tick_of_a_sweep_covers_another(make_study, sweep):
    sweep = tuple(sweep)
    result = make_study(
        {f"{value:g}": 0.001 * value for value in sweep}, sweep=sweep, runs=7, failed={f"{sweep[0]:g}": 7}
    )
    assert overlapping(sweep_figure(result, result.curve)) == []
    assert overlapping(overlay_figure([result, result])) == []


def test_texts_that_cover_one_another_would_be_seen(make_study):
    figure = seed_figure(make_study())
    title = figure.axes[0].texts[0]
    figure.axes[0].annotate("over it", (0, 1), xytext=title.xyann, xycoords=title.xycoords, textcoords="offset points")
    assert overlapping(figure)


def test_verdicts_and_failures_end_within_the_figure(make_study):
    result = make_study({"plain": 0.0, "same": 0.0}, runs=200, sd=0.001, failed={"same": 120})
    assert [each.verdict for each in result.ablation.comparisons] == ["practically equal"]
    figure = seed_figure(result)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    ends = [text.get_window_extent(renderer).x1 for axes in figure.axes for text in axes.texts]
    assert max(ends) <= figure.bbox.width


@pytest.mark.full
def test_hostile_names_are_only_text(make_study):
    result = make_study(ODD, runs=5)
    for number, figure in enumerate((seed_figure(result), learning_figure(result))):
        svg = to_svg(figure, f"picture-{number}", "a picture")
        assert "<img" not in svg
        assert "</script" not in svg
        assert "x" * 60 not in svg
    assert "$x_{" in to_svg(seed_figure(result), "picture", "a picture")
