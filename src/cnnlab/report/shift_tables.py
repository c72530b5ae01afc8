"""Networks under shifts in tables."""

from __future__ import annotations

from cnnlab.paper import words
from cnnlab.paper.sheet import Titled
from cnnlab.paper.tables import TextTable
from cnnlab.paper.words import NONE
from cnnlab.report import study_words
from cnnlab.report.shift_words import points
from cnnlab.runs.shifted import Shifted, ShiftedGroup

# Of more groups only the table of all is shown.
MOST_GROUPS = 4


def shift_tables(shifted: Shifted) -> tuple[Titled, ...]:
    """The accuracies under each shift, of several groups side by side; and what each takes from each group."""
    groups = shifted.groups
    own = tuple((words.shown(group.name, 80), _one_table(group)) for group in groups)
    if len(groups) == 1:
        return (("", own[0][1]),)
    return (("Accuracy", _all_table(shifted)), *(own if len(groups) <= MOST_GROUPS else ()))


def _all_table(shifted: Shifted) -> TextTable:
    groups = shifted.groups
    heads = ["shift", "strength", *(f"#{words.shown(group.name, 30)}" for group in groups)]
    heads += ["#first − second", "#interval", "verdict"] if shifted.between else []
    rows = [["as it is", "", *(words.fraction(group.accuracy) for group in groups)]]
    for place, row in enumerate(groups[0].rows):
        accuracies = (words.fraction(group.rows[place].accuracy) for group in groups)
        rows.append([row.shift, row.title.removeprefix(row.shift).strip(), *accuracies])
    for cells, between in zip(rows, shifted.between, strict=bool(shifted.between)):
        cells += [points(between.difference), _span(between.low, between.high), between.verdict]
    return TextTable.of(heads, rows)


def _one_table(group: ShiftedGroup) -> TextTable:
    heads = ("shift", "strength", "#accuracy", "#95 % interval", "#against as it is", "#interval", "verdict")
    rows = [("as it is", "", words.fraction(group.accuracy), _accuracies(group.low, group.high), "", "", "")]
    for row in group.rows:
        rows.append(
            (
                row.shift,
                row.title.removeprefix(row.shift).strip(),
                words.fraction(row.accuracy),
                _accuracies(row.low, row.high),
                points(row.effect.difference),
                _span(row.effect.low, row.effect.high),
                row.effect.verdict,
            )
        )
    return TextTable.of(heads, rows)


def _accuracies(low: float | None, high: float | None) -> str:
    return NONE if low is None or high is None else f"{words.fraction(low)} to {words.fraction(high)}"


def _span(low: float | None, high: float | None) -> str:
    return (
        NONE
        if low is None or high is None
        else f"{study_words.signed(100 * low, 1)} to {study_words.signed(100 * high, 1)}"
    )
