"""How a study's plan is shown: its runs and time, and which differences its seeds find."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from cnnlab.render.document import Document
from cnnlab.render.formatting import MISSING, format_count, format_duration, pluralize, shorten
from cnnlab.render.result import document
from cnnlab.render.tables import TextTable
from cnnlab.reports.study import text
from cnnlab.stats.power import POWER
from cnnlab.stats.sample import MIN_RUNS
from cnnlab.studies.result import ArmPlan, PlanSummary

MAX_CELL_LENGTH = 60


@document.register
def plan_document(plan: PlanSummary) -> Document:
    """The number of runs and their time; what the seeds find, and how many seeds other differences take."""
    lines = [shorten(plan.question, 400)] if plan.question else []
    tables = (
        ("Arms", _arm_table(plan)),
        (f"Found in {100 * POWER:.0f} % of studies", _power_table(plan)),
    )
    return Document(f"Plan of study {shorten(plan.name)}", (*lines, _headline(plan)), tables, tuple(_notes(plan)))


def _headline(plan: PlanSummary) -> str:
    done = f", {plan.done:,} of them made already" if plan.done else ""
    start = f"{pluralize(len(plan.arms), 'arm')}, {pluralize(plan.runs, 'run')}{done}"
    if not plan.to_do:
        return f"{start}: nothing is left to do."
    if plan.seconds is None:
        return f"{start}; {plan.to_do:,} to do, for an unknown time."
    return f"{start}; {plan.to_do:,} to do, about {format_duration(plan.seconds)} ({shorten(plan.basis, 120)})."


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


def _power_table(plan: PlanSummary) -> TextTable:
    smallest = MISSING if plan.detectable is None else text.format_amount(plan.detectable, plan.metric)
    planned = f"{plan.seeds} against {plan.baseline_seeds}" if plan.seeds != plan.baseline_seeds else f"{plan.seeds}"
    rows = [(f"a true difference of {smallest}", f"{planned}, as planned")]
    found = [(f"a true difference of {text.format_amount(one.difference, plan.metric)}", one) for one in plan.needed]
    rows += [(name, _count(one.seeds)) for name, one in found]
    if plan.delta is not None:
        rows.append((f"equality within {text.equivalence_band(plan.delta, plan.metric)}", _count(plan.equal)))
    return TextTable.from_rows(("what is found", "#seeds an arm"), rows)


def _count(seeds: int | None) -> str:
    """The seeds that find it, and at least those that a verdict needs."""
    return MISSING if seeds is None else format_count(max(seeds, MIN_RUNS))


def _notes(plan: PlanSummary) -> Iterator[str]:
    yield plan.sd_reason
    images = pluralize(plan.images, "image")
    yield f"Measured: {text.metric_name(plan.metric)} on {images}; two-sided α = {plan.alpha:g}."
    if plan.comparisons > 1:
        yield f"Adjusted: each of {plan.comparisons} comparisons at α/{plan.comparisons}, where Holm's rule begins."
    if min(plan.seeds, plan.baseline_seeds) < MIN_RUNS:
        yield f"Fewer than {MIN_RUNS} seeds an arm give no verdict."
    if plan.delta is None:
        yield "No smallest difference of interest is given, and a loss has no default."
    if plan.confirm is not None:
        runs = f"{2 * plan.confirm} more runs, of the winner and the baseline"
        yield f"Confirmation: {runs}, and one opening of the test set."
    if plan.seconds is not None:
        yield "Times are of training and validation; the first start and downloads come on top."
