"""Compare runs that were made by hand, or several studies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from cnnlab.config.arms import file_name
from cnnlab.errors import RunError
from cnnlab.records import EpochRecord
from cnnlab.reports.comparison.curves import loss_curves
from cnnlab.reports.comparison.result import ComparedGroup, ComparedRun, ComparedRuns
from cnnlab.reports.comparison.studies import ComparedStudies, SharedArm, _notes, arm_names
from cnnlab.runs.index.run_groups import (
    RunGroup,
    RunGroups,
    collect_run_groups,
    correct_predictions,
    count_test_openings,
    find_group,
)
from cnnlab.stats.ablation import analyze_ablation
from cnnlab.stats.claim_test import SHARES_OF_IMAGES
from cnnlab.stats.comparison import Comparison
from cnnlab.stats.comparison import compare as compare_samples
from cnnlab.stats.defaults import ALPHA, SMALLEST_DIFFERENCE
from cnnlab.stats.paired import McNemarResult, mcnemar_test
from cnnlab.stats.random_effects import random_effects_interval
from cnnlab.stats.welch import family_level
from cnnlab.studies.folder import read_result
from cnnlab.studies.result import ArmRecord, StudyResult

METRIC = "validation_accuracy"


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
    split, _, figure = metric.partition("_")
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
        comparisons, models, more = _compare_by_images(arms, base, split, comparisons)
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
        looks=count_test_openings(gathered.runs) if split == "test" else None,
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


def compare_studies(studies: Iterable[str | Path | StudyResult]) -> ComparedStudies:
    """Two studies or more side by side.

    Args:
        studies: their folders (`runs/studies/NAME`), or their results.

    Raises:
        UsageError: fewer than two, or studies that can't share an axis.
        RunError: a folder holds no result.
    """
    from cnnlab.reports.comparison.studies_figure import overlay_rows

    results = tuple(each if isinstance(each, StudyResult) else read_result(Path(each)) for each in studies)
    overlay_rows(results)
    known = [arm.name for result in results for arm in result.arms]
    shared = [name for name in dict.fromkeys(known) if known.count(name) > 1]
    arms = (_shared_arm(result, result.arm(name)) for name in shared for result in results if name in arm_names(result))
    return ComparedStudies(studies=results, arms=tuple(arms), notes=tuple(_notes(results, shared)))


def _shared_arm(result: StudyResult, arm: ArmRecord) -> SharedArm:
    low, high = arm.sample.interval() or (None, None)
    made = SharedArm(
        arm=arm.name,
        study=result.study,
        n=arm.sample.n,
        failures=arm.sample.failures,
        mean=arm.sample.mean,
        low=low,
        high=high,
    )
    found = [one for one in (result.ablation.comparisons if result.ablation else ()) if one.a == arm.name]
    if not found:
        return made
    bounds = {"difference_low": found[0].low, "difference_high": found[0].high}
    return made.model_copy(update={"difference": found[0].difference, "verdict": found[0].verdict, **bounds})
