"""What a search found, as words and tables: the best trial, all trials, the parameters and what they matter."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from cnnlab.render.document import Document, TitledTable
from cnnlab.render.formatting import (
    MISSING,
    format_count,
    format_duration,
    format_epoch,
    format_fraction,
    format_percent,
    pluralize,
    shorten,
)
from cnnlab.render.tables import TextTable
from cnnlab.reports.study import text
from cnnlab.reports.study.tables import confirmation_table
from cnnlab.reports.study.text import confirmation_text
from cnnlab.tuning.result import ParamValue, TrialRecord, TuningPlanSummary, TuningResult, is_better

# More trials than these would hide the document's other lines.
MAX_TRIALS = 20
STATUS_ORDER = {"finished": 0, "running": 1, "pruned": 2, "diverged": 3, "failed": 4}


def tuning_document(result: TuningResult) -> Document:
    """The question, the result, the best trials, the parameters, and the confirmation."""
    tables: list[TitledTable] = [
        ("Trials, the best first", trial_table(result, MAX_TRIALS)),
        ("Parameters", parameter_table(result)),
    ]
    if result.confirmation is not None:
        tables.append(("Confirmed on the test set", confirmation_table(result.confirmation)))
    title = shorten(result.question or result.study, 300)
    return Document(title, (headline(result), method_text(result)), tuple(tables), tuple(column_notes(result)))


def tuning_plan_document(plan: TuningPlanSummary) -> Document:
    """A search before it runs."""
    seeds = "one run each" if plan.seeds == 1 else f"{plan.seeds} runs each"
    pruner = "" if plan.pruner == "none" else f", pruned by {plan.pruner}"
    lines = [
        f"{pluralize(plan.trials, 'trial')}, {seeds}, drawn by {plan.sampler}{pruner}; with the baseline's runs and "
        f"those of the confirmation {pluralize(plan.runs, 'run')}.",
        f"Up to {format_duration(plan.seconds)} of training, by {plan.basis}."
        if plan.seconds is not None
        else "No speed was measured: how long it takes is not known.",
    ]
    if plan.confirm:
        lines.append(f"The best trial and the baseline are then trained with {plan.confirm} fresh seeds each.")
    if plan.detectable is not None:
        lines.append(
            f"On the test set these seeds find a true difference of {100 * plan.detectable:.2g} points in 80 % of such "
            "searches, if runs differ as those of small networks do."
        )
    rows = [(one.name, one.space) for one in plan.parameters]
    title = shorten(plan.question or plan.study, 300)
    return Document(title, tuple(lines), (("Parameters", TextTable.from_rows(["`parameter", "`values"], rows)),))


def headline(result: TuningResult) -> str:
    """The best trial, and what the fresh seeds say of it."""
    best, metric = result.best, text.metric_name(result.metric)
    if best is None or best.value is None:
        return "No trial has come to an end with a figure." if result.trials else "No trial has been started."
    held = result.baseline.value
    against = "the baseline has none" if held is None else f"the baseline has {format_metric(held)}"
    sentences = [
        f"Trial {best.number} is the best of {pluralize(result.chosen_from, 'finished trial')}, with {metric} "
        f"{format_metric(best.value)} on {format_count(result.images)} images; {against}.",
        f"It has {parameters_text(result, best)}.",
    ]
    if result.confirmation is not None:
        sentences.append(confirmation_text(result.confirmation))
    elif held is not None and not is_better(best.value, held, result.higher_is_better):
        sentences.append("It does not beat the baseline, so nothing is confirmed.")
    else:
        best_word = "highest" if result.higher_is_better else "lowest"
        sentences.append(f"That is not confirmed: it was chosen for being the {best_word}.")
    return " ".join(sentences)


def method_text(result: TuningResult) -> str:
    """What the result rests on: how many trials, how they were drawn, and how they ended."""
    counts = [
        f"{len(found)} {status}"
        for status in STATUS_ORDER
        if status != "finished" and (found := result.with_status(status))  # type: ignore[arg-type]
    ]
    ends = f" ({', '.join(counts)})" if counts else ""
    started = len(result.trials)
    of = (
        pluralize(started, "trial") if started == result.wanted else f"{started} of {pluralize(result.wanted, 'trial')}"
    )
    seeds = "one run each" if result.seeds == 1 else f"{result.seeds} runs each"
    pruner = "" if result.pruner == "none" else f", pruned by {result.pruner}"
    return f"{of}{ends}, {seeds}, drawn by {result.sampler}{pruner}, in {format_duration(result.seconds)} of training."


def trial_table(result: TuningResult, max_trials: int | None = None) -> TextTable:
    """The trials, the best first, then those without a figure of their own; at most so many."""
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
    """What each parameter may be, what it is in the best trial, and how much it matters."""
    shares = {one.name: format_percent(one.share) for one in result.importance}
    best = result.best.params if result.best is not None else {}
    rows = [
        (one.name, one.space, format_parameter(best.get(one.name)), shares.get(one.name, MISSING))
        for one in result.parameters
    ]
    return TextTable.from_rows(["`parameter", "`values", "#best", "#importance"], rows)


def column_notes(result: TuningResult, max_trials: int | None = MAX_TRIALS) -> Iterator[str]:
    """How the tables are read, and what the search itself says; `most` as the table of trials has it."""
    if max_trials is not None and len(result.trials) > max_trials:
        yield f"Of {len(result.trials)} trials {max_trials} are shown; --json has all."
    if result.with_status("pruned"):
        yield "A pruned trial shows, in brackets, the figure at which it was ended; it is never the best."
    if result.importance:
        few, finished = result.importance[0].best, result.chosen_from
        yield f"Importance is what sets the best {few} of {finished} finished trials apart (PED-ANOVA): a hint only."
    yield from (shorten(f"{note[:1].upper()}{note[1:]}.", 400) for note in result.notes)


def ranked_trials(result: TuningResult) -> list[TrialRecord]:
    """The trials, the best first; those without a value after them."""
    sign = -1 if result.higher_is_better else 1

    def place(trial: TrialRecord) -> tuple[float, ...]:
        figure = trial.value if trial.value is not None else trial.last
        return STATUS_ORDER[trial.status], sign * figure if figure is not None else inf, trial.number

    return sorted(result.trials, key=place)


def parameters_text(result: TuningResult, trial: TrialRecord) -> str:
    """A trial's values in a sentence: `lr = 0.0021, batch_size = 32`."""
    names = short_names(result)
    known = {short: format_parameter(trial.params[name]) for name, short in names.items() if name in trial.params}
    return ", ".join(f"{short} = {value}" for short, value in known.items())


def short_names(result: TuningResult) -> dict[str, str]:
    """The last segment of each parameter's key, where that distinguishes it from the others."""
    whole = [parameter.name for parameter in result.parameters]
    last = [name.rpartition(".")[2] for name in whole]
    return {
        name: shorten(short if last.count(short) == 1 else name, 28) for name, short in zip(whole, last, strict=True)
    }


def format_parameter(value: ParamValue | None) -> str:
    """A parameter's value: numbers with four digits, `–` where the trial has none.

    >>> format_parameter(0.00213744), format_parameter(64), format_parameter("adam"), format_parameter(None)
    ('0.002137', '64', 'adam', '–')
    """
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else shorten(str(value))


def format_metric(value: float) -> str:
    """The metric's figure."""
    return format_fraction(value)


def _value(trial: TrialRecord) -> str:
    if trial.value is not None:
        return format_metric(trial.value)
    return f"({format_metric(trial.last)})" if trial.status == "pruned" and trial.last is not None else MISSING
