"""A search's plan and result as they show themselves, and its page: a single HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.figure import Figure

from cnnlab.render.document import Document
from cnnlab.render.formatting import MISSING, format_duration, pluralize, shorten
from cnnlab.render.palette import style_sheet
from cnnlab.render.plots import to_svg
from cnnlab.reports.run.page import templates
from cnnlab.reports.study import text
from cnnlab.reports.study.tables import confirmation_table
from cnnlab.reports.study.text import confirmation_text
from cnnlab.reports.tuning.figures import history_figure, importance_figure, slice_figure
from cnnlab.reports.tuning.tables import (
    column_notes,
    format_metric,
    headline,
    method_text,
    parameter_table,
    parameters_text,
    trial_table,
    tuning_document,
    tuning_plan_document,
)
from cnnlab.tuning.result import TuningPlanSummary, TuningResult


@dataclass(frozen=True)
class TuningView:
    """What a search found, ready to be shown; `result` holds the records."""

    result: TuningResult

    def document(self) -> Document:
        """The question, the answer in a sentence, and the tables."""
        return tuning_document(self.result)

    def svg(self) -> str:
        """Every trial a dot, and the best so far as a line."""
        description = f"{self.result.question} {headline(self.result)}".strip()
        return to_svg(history_figure(self.result), "history", description, standalone=True)

    def to_json(self, indent: int | None = None) -> str:
        """The result as JSON text."""
        return self.result.to_json(indent)

    def _repr_html_(self) -> str:
        return self.document().to_html(self.svg())


@dataclass(frozen=True)
class TuningPlanView:
    """A search before it runs, ready to be shown."""

    plan: TuningPlanSummary

    def document(self) -> Document:
        """What would run, how long it may take, and what its confirmation can find."""
        return tuning_plan_document(self.plan)

    def to_json(self, indent: int | None = None) -> str:
        """The plan as JSON text."""
        return self.plan.to_json(indent)

    def _repr_html_(self) -> str:
        return self.document().to_html()


Fact = tuple[str, str]
Picture = tuple[Markup, str]


def render_tuning(result: TuningResult, *, search_toml: str, command: str, train: str) -> str:
    """The page as HTML: no scripts, nothing loaded from elsewhere, light and dark.

    Args:
        search_toml: the search's file as text.
        command: what a person types to go on with the search.
        train: what a person types to train the best trial's recipe.
    """
    return (
        templates()
        .get_template("tuning.html.jinja")
        .render(
            colours=Markup(style_sheet()),
            result=result,
            title=shorten(result.question or result.study, 300),
            name=shorten(result.study),
            headline=headline(result),
            basis=method_text(result),
            key_figures=_key_facts(result),
            pictures=list(_pictures(result)),
            trials=trial_table(result),
            parameters=parameter_table(result),
            reading=list(column_notes(result, max_trials=None)),
            confirmed=confirmation_text(result.confirmation) if result.confirmation is not None else "",
            confirmation=confirmation_table(result.confirmation) if result.confirmation is not None else None,
            made=_provenance_facts(result),
            search_toml=search_toml,
            command=command,
            train=train,
        )
    )


def _key_facts(result: TuningResult) -> list[Fact]:
    best, held = result.best, result.baseline.value
    return [
        ("best trial", MISSING if best is None or best.value is None else format_metric(best.value)),
        ("baseline", MISSING if held is None else format_metric(held)),
        ("trials", f"{len(result.trials):,}"),
        ("finished", f"{result.chosen_from:,}"),
        ("pruned", f"{len(result.with_status('pruned')):,}"),
        ("diverged or failed", f"{len(result.with_status('diverged')) + len(result.with_status('failed')):,}"),
        ("measured on", pluralize(result.images, "image")),
        ("training time", format_duration(result.seconds)),
    ]


def _pictures(result: TuningResult) -> Iterator[Picture]:
    metric = text.metric_name(result.metric)
    if not result.trials:
        return
    best = (
        f"Trial {result.best.number} is the best: {parameters_text(result, result.best)}."
        if result.best is not None
        else ""
    )
    history = (
        f"The {metric} of each trial, in the order in which they were started; the line is the best so far. {best}"
    )
    yield _picture(history_figure(result), "history", history.strip())
    slices = f"The {metric} against the value of each parameter: the other parameters differ between the dots, too."
    yield _picture(slice_figure(result), "slices", slices)
    if result.importance:
        few = result.importance[0].best
        importance = f"How much each parameter sets the best {few} of {result.chosen_from} finished trials apart."
        yield _picture(importance_figure(result), "importance", importance)


def _picture(figure: Figure, name: str, caption: str) -> Picture:
    return Markup(to_svg(figure, name, caption)), caption


def _provenance_facts(result: TuningResult) -> list[Fact]:
    return [
        ("data", shorten(result.data, 200)),
        ("metric", f"{text.metric_name(result.metric)}, {'higher' if result.higher_is_better else 'lower'} is better"),
        ("sampler", result.sampler),
        ("pruner", result.pruner),
        ("runs in a trial", f"{result.seeds:,}"),
        ("device", shorten(result.device, 200)),
        ("precision", result.precision),
        ("memory format", result.memory_format.replace("_", " ")),
        ("training time", format_duration(result.seconds)),
    ]
