"""A search's result as an answer that writes and draws itself: in the terminal, in a notebook, as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from cnnlab.render.document import Document
from cnnlab.render.plots import to_svg
from cnnlab.reports.tuning.figures import history_figure
from cnnlab.reports.tuning.tables import headline, tuning_document, tuning_plan_document
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
        return to_svg(history_figure(self.result), "history", description, alone=True)

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
