"""Networks under shifts in tables."""

from __future__ import annotations

from cnnlab.render import formatting
from cnnlab.render.document import Titled
from cnnlab.render.formatting import NONE
from cnnlab.render.tables import TextTable
from cnnlab.reports.robustness.text import points
from cnnlab.reports.study import text
from cnnlab.runs.robustness.result import Shifted, ShiftedGroup

# Of more groups only the table of all is shown.
MOST_GROUPS = 4


def shift_tables(shifted: Shifted) -> tuple[Titled, ...]:
    """The accuracies under each shift, of several groups side by side; and what each takes from each group."""
    groups = shifted.groups
    own = tuple((formatting.shown(group.name, 80), _one_table(group)) for group in groups)
    if len(groups) == 1:
        return (("", own[0][1]),)
    return (("Accuracy", _all_table(shifted)), *(own if len(groups) <= MOST_GROUPS else ()))


def _all_table(shifted: Shifted) -> TextTable:
    groups = shifted.groups
    heads = ["shift", "strength", *(f"#{formatting.shown(group.name, 30)}" for group in groups)]
    heads += ["#first − second", "#interval", "verdict"] if shifted.between else []
    rows = [["as it is", "", *(formatting.fraction(group.accuracy) for group in groups)]]
    for place, row in enumerate(groups[0].rows):
        accuracies = (formatting.fraction(group.rows[place].accuracy) for group in groups)
        rows.append([row.shift, row.title.removeprefix(row.shift).strip(), *accuracies])
    for cells, between in zip(rows, shifted.between, strict=bool(shifted.between)):
        cells += [points(between.difference), _span(between.low, between.high), between.verdict]
    return TextTable.of(heads, rows)


def _one_table(group: ShiftedGroup) -> TextTable:
    heads = ("shift", "strength", "#accuracy", "#95 % interval", "#against as it is", "#interval", "verdict")
    rows = [("as it is", "", formatting.fraction(group.accuracy), _accuracies(group.low, group.high), "", "", "")]
    for row in group.rows:
        rows.append(
            (
                row.shift,
                row.title.removeprefix(row.shift).strip(),
                formatting.fraction(row.accuracy),
                _accuracies(row.low, row.high),
                points(row.effect.difference),
                _span(row.effect.low, row.effect.high),
                row.effect.verdict,
            )
        )
    return TextTable.of(heads, rows)


def _accuracies(low: float | None, high: float | None) -> str:
    return NONE if low is None or high is None else f"{formatting.fraction(low)} to {formatting.fraction(high)}"


def _span(low: float | None, high: float | None) -> str:
    return NONE if low is None or high is None else f"{text.signed(100 * low, 1)} to {text.signed(100 * high, 1)}"
