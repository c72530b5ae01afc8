"""The sheet of a plan."""

from cnnlab.reports.study.plan import plan_document
from cnnlab.studies.forecast import plan_summary
from cnnlab.studies.result import ArmPlan


def sheet(arms, **fields):
    known = {"metric": "validation_accuracy", "images": 5000, "delta": 0.002, "baseline": "plain"}
    return plan_document(plan_summary("flips", arms, **{**known, **fields}))


def arms(count=3, seeds=10, **fields):
    names = ("plain", *(f"arm {number}" for number in range(1, count)))
    return [ArmPlan(name=name, seeds=seeds, seconds=90.0, **fields) for name in names]


def rows(made, number):
    table = made.tables[number][1]
    return [dict(zip([column.title for column in table.columns], row, strict=True)) for row in table.rows]


def test_a_loss_without_runs_has_dashes():
    made = sheet(arms(), metric="validation_loss", delta=0.01)
    assert {row["seeds an arm"] for row in rows(made, 1)} == {"10, as planned", "–"}
    for text in (made.to_markdown(), made.to_latex(), made.to_html()):
        assert "None" not in text
