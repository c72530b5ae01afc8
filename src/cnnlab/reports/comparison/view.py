"""Compared runs and studies as documents and pictures. A comparison of runs is shown as a study of their groups."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import TYPE_CHECKING

from cnnlab.config.stopping import is_fraction
from cnnlab.render.document import Document, TitledTable
from cnnlab.render.formatting import MISSING, format_count, format_epoch, format_loss, format_names, pluralize, shorten
from cnnlab.render.result import document, figures
from cnnlab.render.tables import TextTable
from cnnlab.reports.comparison.result import ComparedGroup, ComparedRuns, ComparedStudies, SharedArm
from cnnlab.reports.study import text
from cnnlab.reports.study.view import arm_table, check_table, column_notes
from cnnlab.stats.paired import McNemarResult
from cnnlab.stats.sample import Sample
from cnnlab.studies.result import ArmRecord, SeedRecord, StudyResult

if TYPE_CHECKING:
    from cnnlab.render.plots import CaptionedFigure


def as_study(result: ComparedRuns) -> StudyResult:
    """The groups of runs as the arms of a study."""
    return StudyResult(
        study="compared",
        question="",
        metric=result.metric,
        higher_is_better=is_fraction(result.metric),
        smallest_difference=result.delta,
        alpha=result.alpha,
        data=result.data,
        images=0,
        baseline=result.baseline,
        arms=tuple(map(_as_arm, result.groups)),
        ablation=result.ablation,
        curve=None,
        trials=len(result.groups),
        precision="",
        memory_format="",
        device="",
        seconds=sum(run.seconds for group in result.groups for run in group.runs),
        complete=True,
    )


def _as_arm(group: ComparedGroup) -> ArmRecord:
    seeds = tuple(SeedRecord(**run.model_dump()) for run in group.runs)
    return ArmRecord(
        name=group.name,
        changes={},
        sweep_value=None,
        parameters=group.parameters,
        seeds=seeds,
        sample=group.sample,
        train=Sample(name=group.name, values=()),
        seconds=fmean(run.seconds for run in group.runs),
    )


@document.register
def _(result: ComparedRuns) -> Document:
    study = as_study(result)
    tables: list[TitledTable] = [("Groups", arm_table(study).drop_columns(["changes"]))]
    if result.mcnemar is not None:
        tables.append(("The two trained models on the same images; not their recipes", _mcnemar_table(result.mcnemar)))
    tables += [("Cross-checks", check_table(study)), ("Runs", _run_table(result))]
    first = result.comparisons[0].a if result.pair_comparison else f"{len(result.comparisons)} groups"
    names = f"{shorten(first, 60)} against {shorten(result.baseline, 60)}"
    title = f"{names}: {text.metric_name(result.metric)} on {shorten(result.data)}"
    return Document(title, (text.headline(study),), tuple(tables), tuple(_notes(result, study)))


@figures.register(ComparedRuns)
def _(result: ComparedRuns) -> dict[str, CaptionedFigure]:
    from cnnlab.render.plots import CaptionedFigure
    from cnnlab.reports.comparison.figures import comparison_figure

    study = as_study(result)
    description = f"{text.metric_name(result.metric)} of {len(result.groups)} groups of runs. {text.headline(study)}"
    return {"compared": CaptionedFigure(comparison_figure(study, result.groups), description)}


def _mcnemar_table(test: McNemarResult) -> TextTable:
    counts = (test.both_right, test.only_a, test.only_b, test.both_wrong)
    titles = ("both", "only the first", "only the second", "neither")
    heads = ("#images", *(f"#right: {title}" for title in titles), "#difference", "#interval", "#McNemar's p")
    row = (
        *map(format_count, (test.images, *counts)),
        f"{text.format_signed(100 * test.difference, 2)} points",
        text.format_interval(test.low, test.high, "accuracy"),
        text.p_value_cell(test.p),
    )
    return TextTable.from_rows(heads, [row])


def _run_table(result: ComparedRuns) -> TextTable:
    rows = [
        (
            shorten(group.name, 60),
            str(run.seed),
            MISSING if run.value is None else format_loss(run.value),
            format_epoch(run.epochs),
            run.status,
            run.run,
        )
        for group in result.groups
        for run in group.runs
    ]
    return TextTable.from_rows(
        ("group", "#seed", f"#{text.metric_name(result.metric)}", "#epochs", "status", "`run"), rows
    )


def _notes(result: ComparedRuns, study: StudyResult) -> Iterator[str]:
    yield from result.notes
    if result.looks is not None:
        yield (
            f"This test set was opened {pluralize(result.looks, 'time')} by the runs of this folder; a choice by these "
            "figures makes them biased."
        )
    else:
        yield "Choose by validation figures, and report the test figure of the chosen recipe."
    yield from column_notes(study)
    band = text.equivalence_band(result.delta, result.metric)[1:]
    if result.delta is None:
        band = "not given (--delta)"
    yield (
        f"Smallest difference of interest: {band}; α = {result.alpha:g}. Verdicts are valid if both were chosen before "
        "the figures were seen, as a study does."
    )


@document.register
def _(result: ComparedStudies) -> Document:
    metric = result.studies[0].metric
    shared = len({one.arm for one in result.arms})
    line = (
        f"{text.metric_name(metric)}; {pluralize(shared, 'shared arm')}, each compared with its own study's baseline."
    )
    heads = ("arm", "study", "#n", "#failed", "#mean", "#95 % interval", "#difference", "#its interval", "verdict")
    rows = (_shared_arm_row(arm, metric) for arm in result.arms)
    tables = (("Shared arms", TextTable.from_rows(heads, rows)),) if result.arms else ()
    names = format_names([shorten(study.study) for study in result.studies])
    return Document(f"Studies {names}", (line,), tables, result.notes)


@figures.register(ComparedStudies)
def _(result: ComparedStudies) -> dict[str, CaptionedFigure]:
    from cnnlab.render.plots import CaptionedFigure
    from cnnlab.reports.comparison.studies_figure import overlay_figure

    names = format_names([study.study for study in result.studies])
    return {"studies": CaptionedFigure(overlay_figure(result.studies), f"The arms of the studies {names}.")}


def _shared_arm_row(arm: SharedArm, metric: str) -> tuple[str, ...]:
    difference = interval = MISSING
    if arm.difference is not None:
        scale, unit = (100, " points") if is_fraction(metric) else (1, "")
        difference = f"{text.format_signed(scale * arm.difference, 2 if unit else 4)}{unit}"
    if arm.difference_low is not None and arm.difference_high is not None:
        interval = text.format_interval(arm.difference_low, arm.difference_high, metric)
    has_interval = arm.low is not None and arm.high is not None
    return (
        shorten(arm.arm, 60),
        shorten(arm.study),
        str(arm.n),
        str(arm.failures),
        MISSING if arm.mean is None else format_loss(arm.mean),
        f"{format_loss(arm.low or 0.0)} to {format_loss(arm.high or 0.0)}" if has_interval else MISSING,
        difference,
        interval,
        arm.verdict or MISSING,
    )
