"""Runs that were made by hand, compared over their seeds; what was found as a sheet, JSON and a picture. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cnnlab.config.arms import file_name
from cnnlab.errors import RunError
from cnnlab.records import EpochRecord, Record
from cnnlab.render.document import Document
from cnnlab.reports.comparison.curves import LossCurve, loss_curves
from cnnlab.runs.index.run_groups import (
    RunGroup,
    RunGroups,
    collect_run_groups,
    correct_predictions,
    count_test_openings,
    find_group,
)
from cnnlab.stats.ablation import Ablation, analyze_ablation
from cnnlab.stats.claim_test import SHARES_OF_IMAGES
from cnnlab.stats.comparison import Comparison, Judgement
from cnnlab.stats.comparison import compare as compare_samples
from cnnlab.stats.defaults import ALPHA, SMALLEST_DIFFERENCE
from cnnlab.stats.intervals import random_effects_interval
from cnnlab.stats.paired import McNemarResult, mcnemar_test
from cnnlab.stats.sample import Sample
from cnnlab.stats.welch import family_level

METRIC = "validation_accuracy"


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
        """The answer, the groups, the differences, every run, and what a reader must know."""
        from cnnlab.reports.comparison.view import comparison_document

        return comparison_document(self)

    def svg(self) -> str:
        """Every run a dot, means with intervals; the differences and the band that does not matter; the losses."""
        from cnnlab.reports.comparison.figures import comparison_svg

        return comparison_svg(self)

    def _repr_html_(self) -> str:
        return self.document().to_html(self.svg())


def compare(
    runs: Iterable[str | Path],
    *,
    metric: str = METRIC,
    delta: float | None = None,
    alpha: float = ALPHA,
    baseline: str | None = None,
) -> ComparedRuns:
    """Compare runs that were made by hand: those that differ in nothing but their seeds are one group.

    Two groups are compared by Welch's interval, more against a baseline with Holm's correction. One run on each side
    gives no verdict on the recipes, but McNemar's exact test of the two trained models where both were scored on the
    same images.

    Args:
        runs: paths of run folders, or of folders that hold runs.
        metric: part_figure; a test figure only where all runs have opened their test set.
        delta: the smallest difference of interest, above 0, in the metric's units; None: 0.002 of a fraction, which is
            0.2 points of accuracy, and none of a loss, where nothing is then called practically equal.
        alpha: the rate of wrong verdicts allowed, below 0.5.
        baseline: the name of a group or of a run in it, that the others are compared with; by default of two groups
            the second, so that the first is compared with it, and of more the first.

    Raises:
        UsageError: an unknown metric or baseline, fewer than two groups, or runs of different data.
        RunError: there is no run, or it has no such figure.
    """
    gathered = collect_run_groups(runs, metric)
    part, _, figure = metric.partition("_")
    # Only a share of images has an error, which may fall by so many per cent: a mean over classes is none.
    higher, accuracy = figure != "loss", figure in SHARES_OF_IMAGES
    if delta is None and higher:
        delta = SMALLEST_DIFFERENCE
    arms, base = _arms_and_baseline(gathered.groups, baseline)
    samples, reference = [group.sample(metric) for group in arms], base.sample(metric)
    ablation = None
    if len(arms) == 1:
        compared = compare_samples(
            samples[0], reference, delta=delta, alpha=alpha, higher_is_better=higher, accuracy=accuracy
        )
        comparisons: tuple[Comparison, ...] = (compared,)
    else:
        ablation = analyze_ablation(
            reference, samples, delta=delta, alpha=alpha, higher_is_better=higher, accuracy=accuracy
        )
        comparisons = ablation.comparisons
    notes = list(gathered.notes)
    models = None
    if figure == "accuracy":
        comparisons, models, more = _compare_by_images(arms, base, part, comparisons)
        notes += more
    return ComparedRuns(
        metric=metric,
        delta=delta,
        alpha=alpha,
        data=_data(gathered),
        baseline=base.name,
        groups=tuple(_record(group, metric) for group in gathered.groups),
        comparisons=comparisons,
        ablation=None if ablation is None else ablation.model_copy(update={"comparisons": comparisons}),
        mcnemar=models,
        looks=count_test_openings(gathered.runs) if part == "test" else None,
        notes=tuple(notes),
    )


def _arms_and_baseline(groups: Sequence[RunGroup], baseline: str | None) -> tuple[list[RunGroup], RunGroup]:
    by_place = groups[1] if len(groups) == 2 else groups[0]
    base = by_place if baseline is None else find_group(groups, baseline)
    return [group for group in groups if group is not base], base


def _compare_by_images(
    groups: Sequence[RunGroup], base: RunGroup, split: str, comparisons: Sequence[Comparison]
) -> tuple[tuple[Comparison, ...], McNemarResult | None, list[str]]:
    """What the runs say image by image: wider intervals for new images, or McNemar's test of two models."""
    tables = correct_predictions([*groups, base], split)
    if isinstance(tables, str):
        what = "the two models" if len(groups) == 1 and len(groups[0].runs) == len(base.runs) == 1 else "the runs"
        return tuple(comparisons), None, [f"Image by image {what} can't be compared: {tables}."]
    *firsts, second = tables
    if len(firsts) == 1 and len(firsts[0]) == len(second) == 1:
        level = 1 - comparisons[0].alpha
        names = (comparisons[0].a, comparisons[0].b)
        return tuple(comparisons), mcnemar_test(firsts[0][0], second[0], names=names, level=level), []
    wider = []
    for found, first in zip(comparisons, firsts, strict=True):
        if min(len(first), len(second)) >= 2:
            level = 1 - family_level(found.alpha, len(comparisons), len(first), len(second))
            bounds = random_effects_interval(first, second, level=level)
            found = found.model_copy(update={"new_images": bounds})
        wider.append(found)
    return tuple(wider), None, []


def _record(group: RunGroup, metric: str) -> ComparedGroup:
    sample = group.sample(metric)
    low, high = sample.interval() or (None, None)
    runs = (
        ComparedRun(
            run=run.folder.name,
            seed=run.seed,
            status=run.result.status,
            value=None if run.diverged else value,
            epochs=run.result.epochs,
            seconds=run.result.seconds,
        )
        for run, value in zip(group.runs, sample.values, strict=True)
    )
    return ComparedGroup(
        name=group.name,
        n=sample.n,
        failures=sample.failures,
        mean=sample.mean,
        sd=sample.sd,
        low=low,
        high=high,
        parameters=group.runs[0].result.parameters,
        runs=tuple(runs),
        curves=loss_curves(_points(group)),
    )


def _points(group: RunGroup) -> Iterator[Sequence[EpochRecord]]:
    for run in group.runs:
        # Figures don't hang on the curve: where it is damaged, the comparison goes without it.
        with suppress(RunError):
            yield run.folder.epochs()


def _data(gathered: RunGroups) -> str:
    return file_name(gathered.runs[0].data.source)
