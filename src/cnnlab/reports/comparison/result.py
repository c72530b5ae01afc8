"""The results of comparing runs made by hand, and studies side by side. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from statistics import fmean
from typing import Any, Literal

from cnnlab.records import EpochRecord, Record, Score
from cnnlab.render.result import Result
from cnnlab.stats.ablation import Ablation
from cnnlab.stats.comparison import Comparison, Judgement
from cnnlab.stats.paired import McNemarResult
from cnnlab.stats.sample import Sample
from cnnlab.studies.result import StudyResult

CurveSplit = Literal["train", "validation", "test"]
CURVE_SPLITS: tuple[CurveSplit, ...] = ("train", "validation", "test")
CurveMeasure = Literal["loss", "accuracy"]


class ComparedRun(Record):
    """One run; `value` is the metric, None where it diverged."""

    run: str
    seed: int
    status: str
    value: float | None
    epochs: float
    seconds: float


class GroupCurve(Record):
    """The loss or accuracy of a group's runs against the epoch: its mean over the runs, its minimum and its maximum.

    Validation and test points are of all images in eval mode, training points running means of the steps before.
    With `final`, the points are the final test figures of the runs, each at its selected epoch.
    """

    split: CurveSplit
    epochs: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    final: bool = False


class ComparedGroup(Record):
    """Runs that differ only in their seeds; `low` and `high` are the 95 % interval of the mean.

    `curves` are those of the losses.
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
    curves: tuple[GroupCurve, ...] = ()
    accuracy_curves: tuple[GroupCurve, ...] = ()

    @property
    def sample(self) -> Sample:
        """The metric of each run."""
        return Sample(
            name=self.name, values=tuple(float("nan") if run.value is None else run.value for run in self.runs)
        )


class ComparedRuns(Result):
    """A comparison of runs.

    Attributes:
        comparisons: each group against the `baseline`, with simultaneous intervals and verdicts.
        mcnemar: of one run on each side, evaluated on the same images: these two models, not their recipes.
        looks: how often the test set was opened before, where the metric is a test figure.
        notes: what else differs between the runs, and what was left out.
    """

    metric: str
    delta: float | None
    alpha: float
    data: str
    baseline: str
    groups: tuple[ComparedGroup, ...]
    comparisons: tuple[Comparison, ...]
    ablation: Ablation
    mcnemar: McNemarResult | None = None
    looks: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def pair_comparison(self) -> Comparison | None:
        """The comparison of two groups; None where there are more."""
        return self.comparisons[0] if len(self.comparisons) == 1 else None

    @property
    def verdict(self) -> Judgement | None:
        """The verdict on the first of two groups against the second."""
        return self.pair_comparison.verdict if self.pair_comparison else None

    @property
    def difference(self) -> float | None:
        """The difference of two groups' means, first − second, in the metric's units."""
        return self.pair_comparison.difference if self.pair_comparison else None

    @property
    def low(self) -> float | None:
        """The lower end of the interval of the difference."""
        return self.pair_comparison.low if self.pair_comparison else None

    @property
    def high(self) -> float | None:
        """The upper end of the interval of the difference."""
        return self.pair_comparison.high if self.pair_comparison else None

    def key_fields(self) -> dict[str, Any]:
        """The fields of the JSON beside the record's own."""
        level = self.pair_comparison.level if self.pair_comparison else None
        bounds = {"low": self.low, "high": self.high, "level": level}
        return {"verdict": self.verdict, "difference": self.difference, **bounds}


class SharedArm(Record):
    """An arm of several studies, in one of them.

    `low` and `high` are the 95 % interval of the mean; `difference`, its interval and the verdict are against that
    study's own baseline.
    """

    arm: str
    study: str
    n: int
    failures: int
    mean: float | None
    low: float | None
    high: float | None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    verdict: Judgement | None = None


class ComparedStudies(Result):
    """Studies side by side; there is no verdict between them."""

    studies: tuple[StudyResult, ...]
    arms: tuple[SharedArm, ...]
    notes: tuple[str, ...] = ()


def group_curves(
    runs: Iterable[Sequence[EpochRecord]], measure: CurveMeasure, final_test: Sequence[tuple[float, Score]] = ()
) -> tuple[GroupCurve, ...]:
    """The curves of a group's runs: train, validation and test where there are any; values that are not finite are
    left out.

    Args:
        final_test: the selected epoch and final test figures of each run; they count where no run has a test curve.

    >>> group_curves([], "loss")
    ()
    """
    records = [record for run in runs for record in run]
    curves = []
    for split in CURVE_SPLITS:
        points = [(record.epoch, getattr(record, split)) for record in records]
        measured = [(epoch, score) for epoch, score in points if score is not None]
        final = split == "test" and not measured
        values: dict[float, list[float]] = {}
        for epoch, score in final_test if final else measured:
            if isfinite(value := getattr(score, measure)):
                values.setdefault(epoch, []).append(value)
        if values:
            epochs = sorted(values)
            mean, low, high = (tuple(summary(values[epoch]) for epoch in epochs) for summary in (fmean, min, max))
            curves.append(GroupCurve(split=split, epochs=tuple(epochs), mean=mean, low=low, high=high, final=final))
    return tuple(curves)
