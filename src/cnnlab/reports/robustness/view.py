"""Networks under shifts as tables. No torch."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from cnnlab.render.document import Document, TitledTable
from cnnlab.render.formatting import MISSING, format_count, format_fraction, pluralize, shorten
from cnnlab.render.result import document, figures
from cnnlab.render.tables import TextTable
from cnnlab.reports.study.text import equivalence_band, format_signed
from cnnlab.runs.robustness.result import ShiftedGroup, ShiftResult
from cnnlab.stats.multiple_testing import MAX_ARMS
from cnnlab.stats.sample import MIN_RUNS

if TYPE_CHECKING:
    from cnnlab.render.plots import CaptionedFigure

# More groups have no tables of their own.
MAX_GROUPS = 4
MAX_NAME_LENGTH = 40


@document.register
def _(result: ShiftResult) -> Document:
    groups = result.groups
    names = shorten(groups[0].name) if len(groups) == 1 else pluralize(len(groups), "group")
    return Document(
        f"{names} under {pluralize(len(groups[0].rows), 'shift')}",
        tables=shift_tables(result),
        notes=(method_note(result), *result.notes),
    )


@figures.register(ShiftResult)
def _(result: ShiftResult) -> dict[str, CaptionedFigure]:
    from cnnlab.render.plots import CaptionedFigure
    from cnnlab.reports.robustness.figures import curves_figure, examples_figure

    description = f"Accuracy against the strength of each shift, {_images_text(result)}."
    plots = {"curves": CaptionedFigure(curves_figure(result), description)}
    if result.example is not None:
        description = "The first image, unshifted and under each shift, with the accuracies."
        plots["examples"] = CaptionedFigure(examples_figure(result, result.example), description)
    return plots


def shift_tables(result: ShiftResult) -> tuple[TitledTable, ...]:
    """The verdicts of each group, the accuracies of several groups side by side, and the rows of each group."""
    verdicts = (f"Verdicts, {_images_text(result)}", _verdict_table(result))
    if len(result.groups) == 1:
        return (verdicts, ("Accuracy", _group_table(result.groups[0])))
    own = [(shorten(group.name, 80), _group_table(group)) for group in result.groups]
    return (verdicts, ("Accuracy", _groups_table(result)), *(own if len(own) <= MAX_GROUPS else ()))


def method_note(result: ShiftResult) -> str:
    """How the verdicts and intervals are computed."""
    rule = f"α = {result.alpha:g} for all shifts of a group together (Holm)"
    if len(result.groups[0].rows) > MAX_ARMS:
        rule = f"a false discovery rate of {100 * result.alpha:g} % (Benjamini, Hochberg)"
    return (
        f"Practically equal: within {equivalence_band(result.delta, 'accuracy')} of the accuracy on unshifted images. "
        f"Verdicts: {rule}; intervals of differences hold simultaneously. Intervals are over images for one network, "
        "over seeds for several."
    )


def format_points(difference: float | None) -> str:
    """A difference of accuracies: `−35.2 points`."""
    return MISSING if difference is None else f"{format_signed(100 * difference, 1)} points"


def _images_text(result: ShiftResult) -> str:
    return f"{format_count(result.images)} images of the {result.split} split"


def _verdict_table(result: ShiftResult) -> TextTable:
    heads = ("network", "#unshifted", "#practically equal", "#better", "#worse", "#undecided", "largest loss")
    rows = []
    for group in result.groups:
        counts = Counter(row.effect.verdict for row in group.rows)
        judged = group.n == 1 or group.n >= MIN_RUNS
        cells = [
            str(counts[verdict]) if judged else MISSING
            for verdict in ("practically equal", "better", "worse", "undecided")
        ]
        worst = min(group.rows, key=lambda row: row.accuracy)
        lowers = worst.accuracy < group.accuracy
        loss = f"{worst.title} ({format_points(worst.effect.difference)})" if lowers else MISSING
        chance = " (chance)" if group.low is not None and group.low <= result.chance else ""
        name, accuracy = shorten(group.name, MAX_NAME_LENGTH), format_fraction(group.accuracy)
        rows.append((name, accuracy + chance, *cells, loss))
    return TextTable.from_rows(heads, rows)


def _groups_table(result: ShiftResult) -> TextTable:
    groups = result.groups
    heads = ["shift", "strength", *(f"#{shorten(group.name, 30)}" for group in groups)]
    heads += ["#first − second", "#interval", "verdict"] if result.between else []
    rows = [["unshifted", "", *(format_fraction(group.accuracy) for group in groups)]]
    for index, row in enumerate(groups[0].rows):
        rows.append([row.shift, row.strength_text, *(format_fraction(group.rows[index].accuracy) for group in groups)])
    for cells, between in zip(rows, result.between, strict=bool(result.between)):
        cells += [format_points(between.difference), _points_interval(between.low, between.high), between.verdict]
    return TextTable.from_rows(heads, rows)


def _group_table(group: ShiftedGroup) -> TextTable:
    heads = ("shift", "strength", "#accuracy", "#95 % interval", "#difference", "#interval", "verdict")
    rows = [("unshifted", "", format_fraction(group.accuracy), _interval(group.low, group.high), "", "", "")]
    for row in group.rows:
        rows.append(
            (
                row.shift,
                row.strength_text,
                format_fraction(row.accuracy),
                _interval(row.low, row.high),
                format_points(row.effect.difference),
                _points_interval(row.effect.low, row.effect.high),
                row.effect.verdict,
            )
        )
    return TextTable.from_rows(heads, rows)


def _interval(low: float | None, high: float | None) -> str:
    return MISSING if low is None or high is None else f"{format_fraction(low)} to {format_fraction(high)}"


def _points_interval(low: float | None, high: float | None) -> str:
    return (
        MISSING if low is None or high is None else f"{format_signed(100 * low, 1)} to {format_signed(100 * high, 1)}"
    )
