"""A study's plan on one sheet: what it will cost, and which differences its seeds can find."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from cnnlab.render import formatting
from cnnlab.render.document import Sheet
from cnnlab.render.formatting import NONE
from cnnlab.render.tables import TextTable
from cnnlab.reports.study import text
from cnnlab.stats.sample import FEWEST_RUNS
from cnnlab.studies.plan_summary import ArmPlan, PlanSummary, Power

LONGEST_CELL = 60


def plan_sheet(plan: PlanSummary) -> Sheet:
    """The plan in words and tables: arms and runs, the time, the spread, what is found and what it would take."""
    lines = [formatting.shown(plan.question, 400)] if plan.question else []
    lines += [_runs(plan), plan.sd_reason, found(plan)]
    tables = (
        ("Arms", _arm_table(plan)),
        ("The smallest true difference that these seeds find", _detectable_table(plan)),
        *([("Seeds an arm that it takes", _needed_table(plan))] if plan.needed or plan.delta is not None else []),
    )
    return Sheet(
        f"Plan of study {formatting.shown(plan.name)}", tuple(filter(None, lines)), tables, tuple(_notes(plan))
    )


def found(plan: PlanSummary) -> str:
    """What the chosen seeds can find, and whether that is as small as what the study asks for."""
    least = plan.detectable.family_80
    if least is None:
        return ""
    start = f"With {formatting.plural(plan.seeds, 'seed')} an arm"
    if plan.baseline_seeds != plan.seeds:
        start += f" and {plan.baseline_seeds} of the baseline"
    family = " of the family" if plan.comparisons > 1 else ""
    sentence = f"{start}, 80 % of such studies find a true difference of {text.amount(least, plan.metric)}{family}"
    if plan.delta is None:
        return f"{sentence}; no smallest difference of interest is given, and a loss has none of its own."
    asked = text.amount(plan.delta, plan.metric)
    if least <= plan.delta:
        return f"{sentence}: enough for the smallest difference of interest, {asked}."
    needed = next((each.seeds.family_80 for each in plan.needed if each.difference == plan.delta), None)
    more = f" {needed:,.0f} seeds an arm would find that." if needed is not None else ""
    return f"{sentence}; the smallest difference of interest is {asked}.{more}"


def _runs(plan: PlanSummary) -> str:
    done = f", {plan.done:,} of them made already" if plan.done else ""
    start = f"{formatting.plural(len(plan.arms), 'arm')}, {formatting.plural(plan.runs, 'run')}{done}"
    if not plan.to_do:
        return f"{start}: nothing is left to do."
    time = "how long is not known" if plan.seconds is None else f"about {formatting.duration(plan.seconds)}"
    basis = f" ({formatting.shown(plan.basis, 120)})" if plan.basis and plan.seconds is not None else ""
    return f"{start}; {plan.to_do:,} to do, {time}{basis}."


def _arm_table(plan: PlanSummary) -> TextTable:
    rows = (
        (
            formatting.shown(arm.name, LONGEST_CELL),
            formatting.count(arm.seeds),
            formatting.count(arm.done),
            formatting.count(arm.to_do),
            NONE if arm.seconds is None or not isfinite(arm.seconds) else formatting.duration(arm.seconds),
            _remark(plan, arm),
        )
        for arm in plan.arms
    )
    return TextTable.of(("arm", "#seeds", "#done", "#to do", "#time a run", "remark"), rows)


def _remark(plan: PlanSummary, arm: ArmPlan) -> str:
    if arm.same_as:
        return f"the same experiment as {formatting.shown(arm.same_as)}"
    return "baseline" if arm.name == plan.baseline else ""


def _detectable_table(plan: PlanSummary) -> TextTable:
    heads = ("comparison", "#α", "#in 80 % of studies", "#in 90 % of studies")

    def cells(*values: float | None) -> list[str]:
        return [NONE if value is None else text.amount(value, plan.metric) for value in values]

    power, family = plan.detectable, plan.alpha / plan.comparisons
    rows = [("two arms alone", f"{plan.alpha:.3g}", *cells(power.two_80, power.two_90))]
    if plan.comparisons > 1:
        rows.append((f"one of {plan.comparisons}, adjusted", f"{family:.3g}", *cells(power.family_80, power.family_90)))
    return TextTable.of(heads, rows)


def _needed_table(plan: PlanSummary) -> TextTable:
    several = plan.comparisons > 1
    heads = ["to find", "#two arms, 80 %", "#two arms, 90 %"]
    heads += [f"#one of {plan.comparisons}, 80 %", f"#one of {plan.comparisons}, 90 %"] if several else []
    named = [(f"a difference of {text.amount(each.difference, plan.metric)}", each.seeds) for each in plan.needed]
    if plan.delta is not None:
        named += [(f"equality within {text.smallest(plan.delta, plan.metric)}", plan.equal)]
    return TextTable.of(heads, ((name, *_seeds(power, several=several)) for name, power in named))


def _seeds(power: Power, *, several: bool) -> list[str]:
    values = [power.two_80, power.two_90, *([power.family_80, power.family_90] if several else [])]
    return [NONE if value is None else formatting.count(value) for value in values]


def _notes(plan: PlanSummary) -> Iterator[str]:
    if plan.confirm is not None:
        runs = f"{2 * plan.confirm} runs more: the winner and the baseline with {plan.confirm} fresh seeds each"
        yield f"Then {runs}; and the test set is opened for these."
    if plan.seconds is not None:
        yield "Times are of training; validating, scoring and starting up come on top, most for runs of a few seconds."
    measured = text.metric_name(plan.metric)
    yield f"Measured: {measured} on {formatting.plural(plan.images, 'image')}; two-sided α = {plan.alpha:g}."
    if min(plan.seeds, plan.baseline_seeds) < FEWEST_RUNS:
        yield f"Fewer than {FEWEST_RUNS} seeds an arm only describe: there will be no verdict."
    if plan.comparisons > 1:
        yield (
            f"With {plan.comparisons} comparisons each is judged at α/{plan.comparisons} at first, so that the whole "
            f"family is wrong in no more than {100 * plan.alpha:g} % of studies."
        )
