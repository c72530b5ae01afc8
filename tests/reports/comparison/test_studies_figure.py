"""Several studies in one picture: who is put beside whom."""

from cnnlab.reports.comparison.studies_figure import overlay_figure, overlay_rows

SWEEP = (0.0, 0.1, 0.2, 0.3)


def test_arms_are_matched_by_name(make_study):
    one = make_study({"plain": 0.0, "flips": 0.01}, runs=5)
    two = make_study({"flips": 0.0, "wide": 0.02, "plain": 0.0}, runs=3, seed=1, failed={"wide": 1})
    rows = overlay_rows([one, two])
    assert [row.name for row in rows] == ["plain", "flips", "wide"]
    assert [list(row.samples) for row in rows] == [[0, 1], [0, 1], [1]]
    assert rows[1].samples == {0: one.arm("flips").sample, 1: two.arm("flips").sample}


def test_sweeps_share_an_axis(make_study):
    rows = overlay_rows([make_study(sweep=SWEEP[1:], runs=5), make_study(sweep=SWEEP[::-1], runs=5, seed=1)])
    assert [row.sweep_value for row in rows] == list(SWEEP)
    assert [len(row.samples) for row in rows] == [1, 2, 2, 2]


def test_every_study_is_named_and_seen(make_study):
    studies = [make_study(study=f"study {number}", seed=number, runs=3) for number in range(5)]
    figure = overlay_figure(studies)
    (axes,), (legend,) = figure.axes, figure.legends
    named = [text.get_text().partition(":")[0] for text in legend.get_texts()]
    assert named == [f"study {number}" for number in range(5)]
    means = {tuple(line.get_xdata()) for line in axes.lines}
    assert all((study.arm("flips").sample.mean,) in means for study in studies)
