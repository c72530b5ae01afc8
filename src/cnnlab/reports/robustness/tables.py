"""Networks under shifts in tables."""

from __future__ import annotations

from cnnlab.render.document import TitledTable
from cnnlab.render.formatting import MISSING, format_fraction, shorten
from cnnlab.render.tables import TextTable
from cnnlab.reports.robustness.text import format_points
from cnnlab.reports.study import text
from cnnlab.runs.robustness.result import ShiftedGroup, ShiftResult

# Of more groups only the table of all is shown.
MAX_GROUPS = 4


def shift_tables(shifted: ShiftResult) -> tuple[TitledTable, ...]:
    """The accuracies under each shift, of several groups side by side; and what each takes from each group."""
    groups = shifted.groups
    own = tuple((shorten(group.name, 80), _group_table(group)) for group in groups)
    if len(groups) == 1:
        return (("", own[0][1]),)
    return (("Accuracy", _groups_table(shifted)), *(own if len(groups) <= MAX_GROUPS else ()))


def _groups_table(shifted: ShiftResult) -> TextTable:
    groups = shifted.groups
    heads = ["shift", "strength", *(f"#{shorten(group.name, 30)}" for group in groups)]
    heads += ["#first − second", "#interval", "verdict"] if shifted.between else []
    rows = [["as it is", "", *(format_fraction(group.accuracy) for group in groups)]]
    for index, row in enumerate(groups[0].rows):
        accuracies = (format_fraction(group.rows[index].accuracy) for group in groups)
        rows.append([row.shift, row.title.removeprefix(row.shift).strip(), *accuracies])
    for cells, between in zip(rows, shifted.between, strict=bool(shifted.between)):
        cells += [format_points(between.difference), _range_text(between.low, between.high), between.verdict]
    return TextTable.from_rows(heads, rows)


def _group_table(group: ShiftedGroup) -> TextTable:
    heads = ("shift", "strength", "#accuracy", "#95 % interval", "#against as it is", "#interval", "verdict")
    rows = [("as it is", "", format_fraction(group.accuracy), _accuracies(group.low, group.high), "", "", "")]
    for row in group.rows:
        rows.append(
            (
                row.shift,
                row.title.removeprefix(row.shift).strip(),
                format_fraction(row.accuracy),
                _accuracies(row.low, row.high),
                format_points(row.effect.difference),
                _range_text(row.effect.low, row.effect.high),
                row.effect.verdict,
            )
        )
    return TextTable.from_rows(heads, rows)


def _accuracies(low: float | None, high: float | None) -> str:
    return MISSING if low is None or high is None else f"{format_fraction(low)} to {format_fraction(high)}"


def _range_text(low: float | None, high: float | None) -> str:
    return (
        MISSING
        if low is None or high is None
        else f"{text.format_signed(100 * low, 1)} to {text.format_signed(100 * high, 1)}"
    )
