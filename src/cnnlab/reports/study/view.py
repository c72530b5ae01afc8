"""A study's plan and its result as answers that show themselves: in the terminal, in a notebook, as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from cnnlab.render.document import Document
from cnnlab.render.plots import to_svg
from cnnlab.reports.study.figures import seed_figure
from cnnlab.reports.study.plan import plan_document
from cnnlab.reports.study.sweep_figure import sweep_figure
from cnnlab.reports.study.tables import study_document
from cnnlab.reports.study.text import headline
from cnnlab.stats.sample import LEVEL
from cnnlab.studies.plan_summary import PlanSummary
from cnnlab.studies.result import ArmRecord, StudyResult


@dataclass(frozen=True)
class StudyView:
    """What a study found, ready to be shown; `result` holds the records."""

    result: StudyResult

    def document(self) -> Document:
        """The question, the answer in a sentence, and the tables."""
        return study_document(self.result)

    def svg(self) -> str:
        """Every seed a dot, with the differences to the baseline; or the sweep curve."""
        curve = self.result.curve
        figure = seed_figure(self.result) if curve is None else sweep_figure(self.result, curve)
        return to_svg(figure, "study", f"{self.result.question} {headline(self.result)}".strip(), alone=True)

    def to_json(self, indent: int | None = None) -> str:
        """The result as JSON text; arms by what programs ask for, without learning curves.

        An arm's `low` and `high` bound its mean at `level`, as in the table: 95 % whatever α is. `difference_low` and
        `difference_high` bound its difference to the baseline at `difference_level`, 1 − α for all arms together.
        """
        record = json.loads(self.result.to_json())
        record["arms"] = [_arm_dict(self.result, arm) for arm in self.result.arms]
        return json.dumps(record, indent=indent)

    def _repr_html_(self) -> str:
        return self.document().to_html(self.svg())


@dataclass(frozen=True)
class StudyPlanView:
    """What a study will take and can find, ready to be shown."""

    plan: PlanSummary

    def document(self) -> Document:
        """The arms, the time, and the differences that the seeds can find."""
        return plan_document(self.plan)

    def to_json(self, indent: int | None = None) -> str:
        """The plan as JSON text."""
        return self.plan.to_json(indent)

    def _repr_html_(self) -> str:
        return self.document().to_html()


def _arm_dict(result: StudyResult, arm: ArmRecord) -> dict[str, Any]:
    sample, interval = arm.sample, arm.sample.interval(LEVEL) or (None, None)
    compared = {one.a: one for one in result.ablation.comparisons} if result.ablation is not None else {}
    found = compared.get(arm.same_as or arm.name)
    known = {
        "name": arm.name,
        "n": sample.n,
        "failures": sample.failures,
        "mean": sample.mean,
        "low": interval[0],
        "high": interval[1],
        "level": LEVEL,
        "difference": found.difference if found else None,
        "difference_low": found.low if found else None,
        "difference_high": found.high if found else None,
        "difference_level": found.level if found else None,
        "verdict": found.verdict if found else None,
        "needed": found.needed if found else None,
    }
    rest = arm.model_copy(update={"curve": None}).to_json()
    return {**known, **{key: value for key, value in json.loads(rest).items() if key not in ("curve", "sample")}}
