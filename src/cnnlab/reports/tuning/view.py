"""How a search is shown: its trials, the best first, and its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from cnnlab.render.document import Document, TitledTable
from cnnlab.render.formatting import (
    MISSING,
    format_duration,
    format_epoch,
    format_fraction,
    format_percent,
    pluralize,
    shorten,
)
from cnnlab.render.result import document, svg
from cnnlab.render.tables import TextTable
from cnnlab.reports.study import text
from cnnlab.reports.study.view import confirmation_table, confirmation_title
from cnnlab.reports.tuning.text import STATUS_ORDER, format_parameter, headline, method_text, short_names
from cnnlab.tuning.result import TrialRecord, TuningPlanSummary, TuningResult

# More trials than these would hide the document's other lines.
MAX_TRIALS = 20


@document.register
def tuning_document(result: TuningResult) -> Document:
    """The question, the headline, the best trials, the parameters, and the confirmation."""
    tables: list[TitledTable] = [
        ("Trials, the best first", trial_table(result, MAX_TRIALS)),
        ("Parameters", parameter_table(result)),
    ]
    if result.confirmation is not None:
        tables.append((confirmation_title(result.confirmation), confirmation_table(result.confirmation)))
    notes = (*column_notes(result), *(shorten(f"{note[:1].upper()}{note[1:]}.", 400) for note in result.notes))
    lines = (headline(result), method_text(result))
    return Document(shorten(result.question or result.study, 300), lines, tuple(tables), notes)


@svg.register
def tuning_svg(result: TuningResult) -> str:
    """Every trial a dot, and the best value so far as a line."""
    # Matplotlib takes a second to load, which the tables do without.
    from cnnlab.render.plots import to_svg
    from cnnlab.reports.tuning.figures import history_figure

    description = f"{result.question} {headline(result)}".strip()
    return to_svg(history_figure(result), "history", description, standalone=True)


@document.register
def tuning_plan_document(plan: TuningPlanSummary) -> Document:
    """The number of trials and runs, their time, and the parameters."""
    trials = f"{pluralize(plan.trials, 'trial')} of {pluralize(plan.seeds, 'run')}"
    time = "an unknown time" if plan.seconds is None else f"up to {format_duration(plan.seconds)}"
    confirmed = ", and both with fresh seeds" if plan.confirm else ""
    notes = [f"{pluralize(plan.runs, 'run')} in all: trials, baseline{confirmed}."]
    if plan.seconds is not None:
        notes.append(f"Time of training, by {plan.basis}.")
    if plan.detectable is not None:
        notes.append(
            f"Confirmation: {plan.confirm} fresh seeds each find a true difference of "
            f"{100 * plan.detectable:.2g} points on the test set with a power of 80 %, at the spread of small networks."
        )
    rows = [(one.name, one.space) for one in plan.parameters]
    return Document(
        shorten(plan.question or plan.study, 300),
        (f"{trials}, {time}; sampler {plan.sampler}, pruner {plan.pruner}.",),
        (("Parameters", TextTable.from_rows(["`parameter", "`values"], rows)),),
        tuple(notes),
    )


def trial_table(result: TuningResult, max_trials: int | None = None) -> TextTable:
    """The trials, the best first, then those without a figure of their own; only the first ones."""
    names = short_names(result)
    titles = ["#trial", *(f"#{name}" for name in names.values()), f"#{text.metric_name(result.metric)}"]
    rows = [
        (
            str(trial.number),
            *(format_parameter(trial.params.get(name)) for name in names),
            _value(trial),
            trial.status,
            format_epoch(trial.epochs),
            MISSING if trial.found else format_duration(trial.seconds),
        )
        for trial in ranked_trials(result)[:max_trials]
    ]
    return TextTable.from_rows([*titles, "status", "#epochs", "#time"], rows)


def parameter_table(result: TuningResult) -> TextTable:
    """The space, the best value and the importance of each parameter."""
    shares = {one.name: format_percent(one.share) for one in result.importance}
    best = result.best.params if result.best is not None else {}
    rows = [
        (one.name, one.space, format_parameter(best.get(one.name)), shares.get(one.name, MISSING))
        for one in result.parameters
    ]
    return TextTable.from_rows(["`parameter", "`values", "#best", "#importance"], rows)


def column_notes(result: TuningResult, max_trials: int | None = MAX_TRIALS) -> Iterator[str]:
    """How the tables are read; `max_trials` as the table of trials has it."""
    if max_trials is not None and len(result.trials) > max_trials:
        yield f"{max_trials} of {len(result.trials)} trials are shown; --json has all."
    if result.best is not None and result.confirmation is None:
        yield "The best trial is not confirmed: its value is the best partly by chance."
    if result.with_status("pruned"):
        yield "A pruned trial shows its last value in brackets."
    if result.importance:
        best = result.importance[0].best
        yield f"importance: by PED-ANOVA, which parameters set the best {best} of {result.chosen_from} trials apart."


def ranked_trials(result: TuningResult) -> list[TrialRecord]:
    """The trials, the best first; those without a value after them."""
    sign = -1 if result.higher_is_better else 1

    def order(trial: TrialRecord) -> tuple[float, ...]:
        figure = trial.value if trial.value is not None else trial.last
        return STATUS_ORDER[trial.status], sign * figure if figure is not None else inf, trial.number

    return sorted(result.trials, key=order)


def _value(trial: TrialRecord) -> str:
    if trial.value is not None:
        return format_fraction(trial.value)
    return f"({format_fraction(trial.last)})" if trial.status == "pruned" and trial.last is not None else MISSING
