"""The sheet of a plan."""

from cnnlab.report.plan_tables import plan_sheet
from cnnlab.study.planning import ArmPlan, plan_summary


def sheet(arms, **fields):
    known = {"metric": "validation_accuracy", "images": 5000, "delta": 0.002, "baseline": "plain"}
    return plan_sheet(plan_summary("flips", arms, **{**known, **fields}))


def arms(count=3, seeds=10, **fields):
    names = ("plain", *(f"arm {number}" for number in range(1, count)))
    return [ArmPlan(name=name, seeds=seeds, seconds=90.0, **fields) for name in names]


def rows(made, number):
    table = made.tables[number][1]
    return [dict(zip([column.title for column in table.columns], row, strict=True)) for row in table.rows]


def test_arms_runs_and_time():
    made = sheet([*arms(), ArmPlan(name="copy", seeds=10, same_as="plain")], question="Does it help?", basis="a trial")
    assert made.title == "Plan of study flips"
    assert made.lines[:2] == ("Does it help?", "4 arms, 30 runs; 30 to do, about 45 min 0 s (a trial).")
    plain, *_, copy = rows(made, 0)
    assert plain == {
        "arm": "plain",
        "seeds": "10",
        "done": "0",
        "to do": "10",
        "time a run": "1 min 30 s",
        "remark": "baseline",
    }
    assert (copy["to do"], copy["remark"], copy["time a run"]) == ("0", "the same experiment as plain", "–")


def test_what_is_done_is_not_done_again():
    assert "3 arms, 30 runs, 30 of them made already: nothing is left to do." in sheet(arms(done=10)).lines
    unknown = sheet([ArmPlan(name="plain", seeds=2), ArmPlan(name="b", seeds=2)])
    assert "2 arms, 4 runs; 4 to do, how long is not known." in unknown.lines


def test_too_few_seeds_for_the_smallest_difference_are_said_to_be():
    plan = plan_summary("x", arms(), metric="validation_accuracy", images=5000, delta=0.002, baseline="plain")
    line = next(line for line in sheet(arms()).lines if line.startswith("With 10 seeds"))
    assert f"a true difference of {100 * plan.detectable.family_80:.2f} points of the family" in line
    assert line.endswith(f"{plan.needed[0].seeds.family_80:,.0f} seeds an arm would find that.")
    enough = sheet(arms(), delta=0.05).lines
    assert any(line.endswith("enough for the smallest difference of interest, 5.00 points.") for line in enough)


def test_a_family_has_its_own_columns_and_two_arms_have_not():
    found, needed = rows(sheet(arms()), 1), rows(sheet(arms()), 2)
    assert [row["comparison"] for row in found] == ["two arms alone", "one of 2, adjusted"]
    assert list(needed[0]) == ["to find", "two arms, 80 %", "two arms, 90 %", "one of 2, 80 %", "one of 2, 90 %"]
    assert needed[-1]["to find"] == "equality within ±0.2 points"
    alone = sheet(arms(2))
    assert [row["comparison"] for row in rows(alone, 1)] == ["two arms alone"]
    assert list(rows(alone, 2)[0]) == ["to find", "two arms, 80 %", "two arms, 90 %"]


def test_few_seeds_will_give_no_verdict():
    note = "Fewer than 5 seeds an arm only describe: there will be no verdict."
    assert note in sheet(arms(seeds=4)).notes
    assert note not in sheet(arms(seeds=5)).notes


def test_a_loss_without_runs_has_dashes():
    made = sheet(arms(), metric="validation_loss", delta=0.01)
    assert {row["two arms, 80 %"] for row in rows(made, 2)} == {"–"}
    assert not any(line.startswith("With") for line in made.lines)
    for text in (made.to_markdown(), made.to_latex(), made.to_html()):
        assert "None" not in text
