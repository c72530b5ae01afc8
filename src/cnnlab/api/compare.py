"""Compare runs made by hand, or several studies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from cnnlab.config.arms import file_name
from cnnlab.errors import RunError, UsageError
from cnnlab.records import EpochRecord
from cnnlab.render.formatting import MISSING, format_names, quote
from cnnlab.reports.comparison.result import (
    ComparedGroup,
    ComparedRun,
    ComparedRuns,
    ComparedStudies,
    SharedArm,
    group_curves,
)
from cnnlab.runs.index.run_groups import (
    RunGroup,
    collect_run_groups,
    correct_predictions,
    count_test_openings,
    find_group,
)
from cnnlab.stats.ablation import Ablation, analyze_ablation
from cnnlab.stats.claim_test import SHARES_OF_IMAGES
from cnnlab.stats.comparison import DecisionRules
from cnnlab.stats.defaults import ALPHA, METRIC, SMALLEST_DIFFERENCE
from cnnlab.stats.paired import McNemarResult, mcnemar_test
from cnnlab.stats.random_effects import with_new_images
from cnnlab.studies.folder import read_result
from cnnlab.studies.result import ArmRecord, StudyResult

MAX_STUDIES = 5
# What may differ between studies beside their arms, by the field of their result.
DIFFERENCES = {
    "data": "data",
    "images": "numbers of images",
    "smallest_difference": "smallest differences of interest",
    "baseline": "baselines",
    "precision": "precision",
    "device": "devices",
}


def compare(
    runs: Iterable[str | Path],
    *,
    metric: str = METRIC,
    delta: float | None = None,
    alpha: float = ALPHA,
    baseline: str | None = None,
) -> ComparedRuns:
    """Compare runs made by hand; runs that differ only in their seeds are one group.

    Two groups are compared by Welch's interval, more with a baseline by Holm's procedure. One run on each side gives no
    verdict on the recipes, but McNemar's exact test of the two models if both were evaluated on the same images.

    Args:
        runs: paths of run folders, or of folders that hold runs.
        metric: split_figure; a test figure only where all runs have opened their test set.
        delta: the smallest difference of interest, above 0, in the metric's units; by default 0.002 of a fraction (0.2
            points of accuracy) and none of a loss, so that nothing is called practically equal.
        alpha: the significance level, below 0.5.
        baseline: the name of a group, or of a run in it; by default the second of two groups, the first of more.

    Raises:
        UsageError: an unknown metric or baseline, fewer than two groups, or runs of different data.
        RunError: there is no run, or it has no such figure.
    """
    groups, notes = collect_run_groups(runs, metric)
    split, _, figure = metric.partition("_")
    higher_is_better = figure != "loss"
    if delta is None and higher_is_better:
        delta = SMALLEST_DIFFERENCE
    default = groups[1] if len(groups) == 2 else groups[0]
    base = default if baseline is None else find_group(groups, baseline)
    arms = [group for group in groups if group is not base]
    rules = DecisionRules(delta, alpha, higher_is_better, figure in SHARES_OF_IMAGES)
    ablation = analyze_ablation(base.sample(metric), [group.sample(metric) for group in arms], rules)
    mcnemar = None
    if figure == "accuracy":
        ablation, mcnemar, reason = _compare_by_images(arms, base, split, ablation)
        notes += [reason] if reason else []
    return ComparedRuns(
        metric=metric,
        delta=delta,
        alpha=alpha,
        data=file_name(groups[0].runs[0].data.source),
        baseline=base.name,
        groups=tuple(_group_record(group, metric) for group in groups),
        comparisons=ablation.comparisons,
        ablation=ablation,
        mcnemar=mcnemar,
        looks=count_test_openings(run for group in groups for run in group.runs) if split == "test" else None,
        notes=tuple(notes),
    )


def _compare_by_images(
    arms: Sequence[RunGroup], base: RunGroup, split: str, ablation: Ablation
) -> tuple[Ablation, McNemarResult | None, str]:
    """The intervals for new images, or McNemar's test of two models; or the reason why there are none."""
    correct = correct_predictions([*arms, base], split)
    if isinstance(correct, str):
        what = "the two models" if len(arms) == 1 and len(arms[0].runs) == len(base.runs) == 1 else "the runs"
        return ablation, None, f"Image by image {what} can't be compared: {correct}."
    if len(arms) == 1 and [len(table) for table in correct.values()] == [1, 1]:
        names = arms[0].name, base.name
        a, b = (correct[name][0] for name in names)
        return ablation, mcnemar_test(a, b, names=names, level=1 - ablation.comparisons[0].alpha), ""
    return with_new_images(ablation, correct), None, ""


def _group_record(group: RunGroup, metric: str) -> ComparedGroup:
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
    curves = tuple(_learning_curves(group))
    tested = [(run.result.selected_epoch, run.result.test) for run in group.runs if run.result.test is not None]
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
        curves=group_curves(curves, "loss", tested),
        accuracy_curves=group_curves(curves, "accuracy", tested),
    )


def _learning_curves(group: RunGroup) -> Iterator[Sequence[EpochRecord]]:
    for run in group.runs:
        # A damaged learning curve is left out; the comparison does not depend on it.
        with suppress(RunError):
            yield run.folder.epochs()


def compare_studies(studies: Iterable[str | Path | StudyResult]) -> ComparedStudies:
    """Compare studies: the arms that they share, side by side.

    Args:
        studies: from two to five folders (`runs/studies/NAME`), or results.

    Raises:
        UsageError: another number of studies, or studies that can't share an axis.
        RunError: a folder holds no result.
    """
    results = tuple(each if isinstance(each, StudyResult) else read_result(Path(each)) for each in studies)
    _check_studies(results)
    names = [arm.name for result in results for arm in result.arms]
    shared = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    arms = (
        _shared_arm(result, arm) for name in shared for result in results for arm in result.arms if arm.name == name
    )
    return ComparedStudies(studies=results, arms=tuple(arms), notes=tuple(_study_notes(results, shared)))


def _check_studies(results: Sequence[StudyResult]) -> None:
    if not 2 <= len(results) <= MAX_STUDIES:
        raise UsageError(
            "one picture holds a few studies",
            where="studies",
            received=f"{len(results)}",
            allowed=f"from 2 to {MAX_STUDIES} studies",
            next_step="give the studies to compare",
        )
    kinds = {(result.metric.partition("_")[2], result.curve is None) for result in results}
    if len(kinds) > 1:
        received = [f"{each.study}: {each.metric}, {'arms' if each.curve is None else 'sweeps'}" for each in results]
        raise UsageError(
            "these studies have no axis in common",
            where="studies",
            received="; ".join(received),
            allowed="studies of one metric, all of arms or all of values",
            next_step="compare studies of one kind",
        )


def _shared_arm(result: StudyResult, arm: ArmRecord) -> SharedArm:
    low, high = arm.sample.interval() or (None, None)
    comparisons = result.ablation.comparisons if result.ablation else ()
    comparison = next((each for each in comparisons if each.a == arm.name), None)
    return SharedArm(
        arm=arm.name,
        study=result.study,
        n=arm.sample.n,
        failures=arm.sample.failures,
        mean=arm.sample.mean,
        low=low,
        high=high,
        difference=comparison.difference if comparison else None,
        difference_low=comparison.low if comparison else None,
        difference_high=comparison.high if comparison else None,
        verdict=comparison.verdict if comparison else None,
    )


def _study_notes(results: Sequence[StudyResult], shared: Sequence[str]) -> Iterator[str]:
    """What differs between the studies."""
    for attribute, what in DIFFERENCES.items():
        values = [getattr(result, attribute) for result in results]
        if len(set(values)) > 1:
            each = (
                f"{result.study}: {MISSING if value is None else value}"
                for result, value in zip(results, values, strict=True)
            )
            yield f"The studies have different {what}: {', '.join(each)}."
    for name in shared:
        changes = [arm.changes for result in results for arm in result.arms if arm.name == name]
        if any(each != changes[0] for each in changes):
            yield f"{quote(name)} has the same name in all studies, but changes other settings."
    for result in results:
        own = [arm.name for arm in result.arms if arm.name not in shared]
        if own:
            yield f"Only in {result.study}: {format_names(own)}."
        if not result.complete:
            yield f"{result.study} is not complete: runs are missing."
    yield (
        "There is no verdict on arms of different studies: what else differs between the studies is not known. Run a "
        "study with all arms."
    )
