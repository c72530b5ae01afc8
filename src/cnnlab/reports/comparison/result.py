"""Runs that were made by hand, compared over their seeds; the result as a document, JSON and a figure. No torch."""

from __future__ import annotations

from typing import Any

from cnnlab.records import Record
from cnnlab.render.document import Document
from cnnlab.reports.comparison.curves import LossCurve
from cnnlab.stats.ablation import Ablation
from cnnlab.stats.comparison import Comparison, Judgement
from cnnlab.stats.paired import McNemarResult
from cnnlab.stats.sample import Sample


class ComparedRun(Record):
    """One run; `value` is the metric, None where it diverged."""

    run: str
    seed: int
    status: str
    value: float | None
    epochs: float
    seconds: float


class ComparedGroup(Record):
    """Runs that differ in nothing but their seeds.

    `low` and `high` bound the mean at 95 %; `curves` are those of the loss.
    """

    name: str
    n: int
    failures: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    parameters: int
    runs: tuple[ComparedRun, ...]
    curves: tuple[LossCurve, ...] = ()

    @property
    def sample(self) -> Sample:
        """The metric of each run."""
        values = (float("nan") if run.value is None else run.value for run in self.runs)
        return Sample(name=self.name, values=tuple(values))


class ComparedRuns(Record):
    """What a comparison of runs found.

    Attributes:
        comparisons: of two groups the one of the first against the second; of more, each against the `baseline`, with
            intervals and verdicts that hold for all of them together.
        mcnemar: of one run on each side, scored on the same images: these two models, and not the recipes.
        looks: how often the test set was looked at before, where the metric is a test figure.
        notes: what a reader must know: what else differs, what was left out.
    """

    metric: str
    delta: float | None
    alpha: float
    data: str
    baseline: str
    groups: tuple[ComparedGroup, ...]
    comparisons: tuple[Comparison, ...]
    ablation: Ablation | None = None
    mcnemar: McNemarResult | None = None
    looks: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def pair_comparison(self) -> Comparison | None:
        """The comparison of two groups; None where there are more."""
        return self.comparisons[0] if len(self.comparisons) == 1 else None

    @property
    def verdict(self) -> Judgement | None:
        """Of two groups the verdict on the first against the second."""
        return self.pair_comparison.verdict if self.pair_comparison else None

    @property
    def difference(self) -> float | None:
        """Of two groups the first one's mean − the second's, in the metric's units."""
        return self.pair_comparison.difference if self.pair_comparison else None

    @property
    def low(self) -> float | None:
        """The lower end of the interval of that difference."""
        return self.pair_comparison.low if self.pair_comparison else None

    @property
    def high(self) -> float | None:
        """The upper end of it."""
        return self.pair_comparison.high if self.pair_comparison else None

    def key_fields(self) -> dict[str, Any]:
        """What other programs read first, beside the record's own fields."""
        level = self.pair_comparison.level if self.pair_comparison else None
        bounds = {"low": self.low, "high": self.high, "level": level}
        return {"verdict": self.verdict, "difference": self.difference, **bounds}

    def summary(self) -> str:
        """The verdicts in sentences."""
        from cnnlab.reports.comparison.view import comparison_text

        return " ".join(comparison_text(found, self.metric) for found in self.comparisons)

    def document(self) -> Document:
        """The summary, the groups, the differences, every run, and what a reader must know."""
        from cnnlab.reports.comparison.view import comparison_document

        return comparison_document(self)

    def svg(self) -> str:
        """Every run a dot, means with intervals; the differences and the band that does not matter; the losses."""
        from cnnlab.reports.comparison.figures import comparison_svg

        return comparison_svg(self)

    def _repr_html_(self) -> str:
        return self.document().to_html(self.svg())
