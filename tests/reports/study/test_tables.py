"""The sheet of a study: what a cell says of the records."""

import numpy as np
import pytest
from scipy import stats

from cnnlab.reports.study.page import render_study
from cnnlab.reports.study.view import arms_json, study_document, study_tables
from cnnlab.stats.welch import nominal_level

SWEEP = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def rows(result, kind):
    table = study_tables(result)[kind][1]
    return [dict(zip([column.title for column in table.columns], row, strict=True)) for row in table.rows]


def test_an_arm_has_its_figures_and_its_difference(make_study):
    result = make_study(runs=8)
    base, flips = (np.array(result.arm(name).sample.values) for name in ("plain", "flips"))
    low, high = stats.t.interval(0.95, 7, flips.mean(), stats.sem(flips))
    wide = stats.ttest_ind(flips, base, equal_var=False).confidence_interval(1 - nominal_level(0.05 / 3, 8, 8))
    assert rows(result, "arms")[1] == {
        "arm": "flips",
        "changes": "data.augment = flips",
        "n": "8",
        "failed": "0",
        "mean": f"{flips.mean():.4f}",
        "95 % interval": f"{low:.4f} to {high:.4f}",
        "difference": f"+{flips.mean() - base.mean():.4f}",
        "its interval": f"+{wide.low:.4f} to +{wide.high:.4f}",
        "verdict": "better",
        "needs n": "–",
        "parameters": "105,000",
        "minutes": "1.8",
    }
    baseline = rows(result, "arms")[0]
    assert (baseline["difference"], baseline["its interval"], baseline["verdict"]) == ("–", "–", "baseline")


def test_the_json_has_the_tables_intervals_and_says_their_levels(make_study):
    result = make_study(runs=8).model_copy(update={"alpha": 0.1})
    flips = arms_json(result)[1]
    assert rows(result, "arms")[1]["95 % interval"] == f"{flips['low']:.4f} to {flips['high']:.4f}"
    assert (
        rows(result, "arms")[1]["its interval"] == f"+{flips['difference_low']:.4f} to +{flips['difference_high']:.4f}"
    )
    assert (flips["level"], flips["difference_level"]) == (0.95, result.ablation.comparisons[0].level)


def test_a_loss_without_a_smallest_difference_has_no_band(make_study):
    result = make_study(runs=8).model_copy(update={"smallest_difference": None, "metric": "validation_loss"})
    told = " ".join(study_document(result).notes)
    assert "two one-sided tests at" not in told
    assert "smallest difference of interest –" in study_document(result).to_markdown()
    assert result.svg()
    assert "too small to matter" not in render_study(result, study_toml="", command="")


def test_failed_runs_stay_with_their_exact_interval(make_study):
    result = make_study(runs=10, planned=12, failed={"flips": 3, "dropout": 10})
    _, flips, dropout, _ = rows(result, "arms")
    exact = stats.binomtest(3, 10).proportion_ci(0.95, method="exact")
    assert (flips["n"], flips["failed"]) == ("7 of 12", f"3 ({100 * exact.low:.0f}–{100 * exact.high:.0f} %)")
    assert (dropout["n"], dropout["failed"], dropout["mean"]) == ("0 of 12", "10 (69–100 %)", "–")
    assert (dropout["difference"], dropout["verdict"], dropout["minutes"]) == ("–", "no verdict", "–")
    assert any(note.startswith("failed:") for note in study_document(result).notes)


def test_undecided_says_how_many_runs_it_takes(make_study):
    result = make_study()
    found = next(each for each in result.ablation.comparisons if each.a == "warm-up")
    row = rows(result, "arms")[3]
    assert (row["verdict"], row["needs n"]) == ("undecided", f"{found.needed}")


def test_cross_checks_stand_beside(make_study):
    result = make_study(runs=5)
    checks = {row["arm"]: row for row in rows(result, "checks")}
    assert list(checks) == ["flips", "warm-up", "dropout"]
    base, warm = (result.arm(name).sample.values for name in ("plain", "warm-up"))
    permuted = stats.permutation_test(
        (warm, base), lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis), n_resamples=np.inf
    ).pvalue
    assert checks["warm-up"]["p, permuted"] == f"{permuted:.2f}"
    higher = stats.mannwhitneyu(warm, base).statistic / 25
    assert checks["warm-up"]["P(arm better)"] == f"{higher:.2f}"
    assert checks["flips"]["p, Dunnett"] == "< 0.001"
    errors = [1 - np.mean(values) for values in (result.arm("flips").sample.values, base)]
    assert checks["flips"]["error, relative"] == f"−{100 * (1 - errors[0] / errors[1]):.1f} %"
    assert "interval for new images" not in checks["flips"]


def test_new_images_have_a_column_where_they_were_asked(make_study):
    result = make_study()
    first = result.ablation.comparisons[0].model_copy(update={"new_images": (-0.001, 0.02)})
    wide = result.ablation.model_copy(update={"comparisons": (first, *result.ablation.comparisons[1:])})
    cells = [row["interval for new images"] for row in rows(result.model_copy(update={"ablation": wide}), "checks")]
    assert cells == ["−0.0010 to +0.0200", "–", "–"]


def test_the_plateau_is_marked(make_study):
    result = make_study(sweep=SWEEP, runs=8, sd=0.006)
    curve = result.curve
    table = rows(result, "sweep")
    marks = ["best" if i == curve.best else "plateau" if i in curve.plateau else "" for i in range(len(SWEEP))]
    assert [row["plateau"] for row in table] == marks
    assert {"best", "plateau", ""} == set(marks)
    assert [row["value"] for row in table] == [f"{dose:g}" for dose in SWEEP]
    assert table[curve.best]["p against the best"] == "–"
    assert table[0]["train mean"] == f"{np.mean(result.arms[0].train.values):.4f}"
    shape = {row["measure"]: row["value"] for row in rows(result, "shape")}
    assert shape["effect of the value"] == "p < 0.001"
    square, line, start = np.polyfit(np.repeat(SWEEP, 8), np.concatenate([arm.sample.values for arm in result.arms]), 2)
    assert shape["fitted quadratic"] == f"{start:.4g} + {line:.4g}·x − {-square:.4g}·x²"
    assert shape["its best value"] == f"{curve.optimum:.3g}"
    assert "arms" not in study_tables(result)
    assert "5,000 images of cifar10; 7 values, 56 runs; " in " ".join(study_document(result).lines)


@pytest.mark.parametrize("kwargs", [{}, {"sweep": SWEEP}, {"runs": 1}, {"failed": {"flips": 10}}, {"confirm": 3}])
def test_a_sheet_can_be_set_in_every_form(make_study, kwargs):
    sheet = study_document(make_study(**kwargs, notes=("other code & 100 %",)))
    assert sheet.title == "Study augmentation"
    assert sheet.lines[0] == "Which augmentation helps LeNet on CIFAR-10?"
    assert r"other code \& 100 \%" in sheet.to_latex()
    for text in (sheet.to_markdown(), sheet.to_html()):
        assert "nan" not in text.lower()
        assert "None" not in text
    assert "Validation accuracy on 5,000 images of cifar10" in sheet.to_markdown()
