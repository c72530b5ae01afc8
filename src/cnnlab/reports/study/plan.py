"""A study's plan as a document: what it will cost, and which differences its seeds can find."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from cnnlab.render.document import Document
from cnnlab.render.formatting import MISSING, format_count, format_duration, pluralize, shorten
from cnnlab.render.tables import TextTable
from cnnlab.reports.study import text
from cnnlab.stats.sample import MIN_RUNS
from cnnlab.studies.plan_summary import ArmPlan, PlanSummary, Power

MAX_CELL_LENGTH = 60


def plan_document(plan: PlanSummary) -> Document:
    """The plan in words and tables: arms and runs, the time, the spread, what is found and what it would take."""
    lines = [shorten(plan.question, 400)] if plan.question else []
    lines += [_runs(plan), plan.sd_reason, detectable_text(plan)]
    tables = (
        ("Arms", _arm_table(plan)),
        ("The smallest true difference that these seeds find", _detectable_table(plan)),
        *([("Seeds an arm that it takes", _needed_table(plan))] if plan.needed or plan.delta is not None else []),
    )
    return Document(f"Plan of study {shorten(plan.name)}", tuple(filter(None, lines)), tables, tuple(_notes(plan)))


def detectable_text(plan: PlanSummary) -> str:
    """What the chosen seeds can find, and whether that is as small as what the study asks for."""
    least = plan.detectable.family_80
    if least is None:
        return ""
    start = f"With {pluralize(plan.seeds, 'seed')} an arm"
    if plan.baseline_seeds != plan.seeds:
        start += f" and {plan.baseline_seeds} of the baseline"
    family = " of the family" if plan.comparisons > 1 else ""
    sentence = (
        f"{start}, 80 % of such studies find a true difference of {text.format_amount(least, plan.metric)}{family}"
    )
    if plan.delta is None:
        return f"{sentence}; no smallest difference of interest is given, and a loss has none of its own."
    difference = text.format_amount(plan.delta, plan.metric)
    if least <= plan.delta:
        return f"{sentence}: enough for the smallest difference of interest, {difference}."
    needed = next((each.seeds.family_80 for each in plan.needed if each.difference == plan.delta), None)
    more = f" {needed:,.0f} seeds an arm would find that." if needed is not None else ""
    return f"{sentence}; the smallest difference of interest is {difference}.{more}"


def _runs(plan: PlanSummary) -> str:
    done = f", {plan.done:,} of them made already" if plan.done else ""
    start = f"{pluralize(len(plan.arms), 'arm')}, {pluralize(plan.runs, 'run')}{done}"
    if not plan.to_do:
        return f"{start}: nothing is left to do."
    time = "how long is not known" if plan.seconds is None else f"about {format_duration(plan.seconds)}"
    basis = f" ({shorten(plan.basis, 120)})" if plan.basis and plan.seconds is not None else ""
    return f"{start}; {plan.to_do:,} to do, {time}{basis}."


def _arm_table(plan: PlanSummary) -> TextTable:
    rows = (
        (
            shorten(arm.name, MAX_CELL_LENGTH),
            format_count(arm.seeds),
            format_count(arm.done),
            format_count(arm.to_do),
            MISSING if arm.seconds is None or not isfinite(arm.seconds) else format_duration(arm.seconds),
            _remark(plan, arm),
        )
        for arm in plan.arms
    )
    return TextTable.from_rows(("arm", "#seeds", "#done", "#to do", "#time a run", "remark"), rows)


def _remark(plan: PlanSummary, arm: ArmPlan) -> str:
    if arm.same_as:
        return f"the same experiment as {shorten(arm.same_as)}"
    return "baseline" if arm.name == plan.baseline else ""


def _detectable_table(plan: PlanSummary) -> TextTable:
    heads = ("comparison", "#α", "#in 80 % of studies", "#in 90 % of studies")

    def cells(*values: float | None) -> list[str]:
        return [MISSING if value is None else text.format_amount(value, plan.metric) for value in values]

    power, family = plan.detectable, plan.alpha / plan.comparisons
    rows = [("two arms alone", f"{plan.alpha:.3g}", *cells(power.two_80, power.two_90))]
    if plan.comparisons > 1:
        rows.append((f"one of {plan.comparisons}, adjusted", f"{family:.3g}", *cells(power.family_80, power.family_90)))
    return TextTable.from_rows(heads, rows)


def _needed_table(plan: PlanSummary) -> TextTable:
    several = plan.comparisons > 1
    heads = ["to find", "#two arms, 80 %", "#two arms, 90 %"]
    heads += [f"#one of {plan.comparisons}, 80 %", f"#one of {plan.comparisons}, 90 %"] if several else []
    named = [
        (f"a difference of {text.format_amount(each.difference, plan.metric)}", each.seeds) for each in plan.needed
    ]
    if plan.delta is not None:
        named += [(f"equality within {text.equivalence_band(plan.delta, plan.metric)}", plan.equal)]
    return TextTable.from_rows(heads, ((name, *_seeds(power, several=several)) for name, power in named))


def _seeds(power: Power, *, several: bool) -> list[str]:
    values = [power.two_80, power.two_90, *([power.family_80, power.family_90] if several else [])]
    return [MISSING if value is None else format_count(value) for value in values]


def _notes(plan: PlanSummary) -> Iterator[str]:
    if plan.confirm is not None:
        runs = f"{2 * plan.confirm} runs more: the winner and the baseline with {plan.confirm} fresh seeds each"
        yield f"Then {runs}; and the test set is opened for these."
    if plan.seconds is not None:
        yield "Times are of training; validating, scoring and starting up come on top, most for runs of a few seconds."
    measured = text.metric_name(plan.metric)
    yield f"Measured: {measured} on {pluralize(plan.images, 'image')}; two-sided α = {plan.alpha:g}."
    if min(plan.seeds, plan.baseline_seeds) < MIN_RUNS:
        yield f"Fewer than {MIN_RUNS} seeds an arm only describe: there will be no verdict."
    if plan.comparisons > 1:
        yield (
            f"With {plan.comparisons} comparisons each is judged at α/{plan.comparisons} at first, so that the whole "
            f"family is wrong in no more than {100 * plan.alpha:g} % of studies."
        )
