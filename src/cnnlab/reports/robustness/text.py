"""Networks under shifts in sentences and tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from cnnlab.render.document import TitledTable
from cnnlab.render.formatting import MISSING, format_fraction, shorten
from cnnlab.render.tables import TextTable
from cnnlab.reports.study import text as study_text
from cnnlab.runs.robustness.result import ShiftedGroup, ShiftResult, ShiftRow
from cnnlab.stats.ablation import MAX_ARMS
from cnnlab.stats.sample import MIN_RUNS

METRIC = "accuracy"
MAX_WORST_SHIFTS = 3


def invariance_summary(group: ShiftedGroup, shifted: ShiftResult) -> str:
    """One line: what the networks are and are not invariant to, within ±delta of their own accuracy."""
    clean = f"{shorten(group.name)} ({format_fraction(group.accuracy)} on the images as they are)"
    if group.low is not None and group.low <= shifted.chance:
        return f"{clean} is not shown to be better than chance, {format_fraction(shifted.chance)}: nothing can hurt it."
    if group.n > 1 and group.n < MIN_RUNS:
        hurts = _worst_shifts_text(group.rows)
        return f"{clean}: {group.n} networks are too few for a verdict. Largest losses: {hurts or 'none'}."
    spared = [text for kind in by_kind(group.rows) for text in _invariant_strengths(kind)]
    delta = study_text.equivalence_band(shifted.delta, METRIC)
    kept_text = f"is shown to keep its accuracy {delta} under {_join(spared) if spared else 'none of these shifts'}"
    hurts = _worst_shifts_text([row for row in group.rows if row.effect.verdict == "worse"])
    lost = f"it loses most under {hurts}" if hurts else "nothing is shown to hurt it"
    unclear = sum(row.effect.verdict == "undecided" for row in group.rows)
    undecided_text = f"; {unclear} of {len(group.rows)} are undecided" if unclear else ""
    return f"{clean} {kept_text}; {lost}{undecided_text}."


def by_kind(rows: Iterable[ShiftRow]) -> list[tuple[ShiftRow, ...]]:
    """The rows of each kind of shift, weaker strengths before stronger ones on either side."""
    kinds: dict[str, list[ShiftRow]] = {}
    for row in rows:
        kinds.setdefault(row.shift, []).append(row)
    return [tuple(sorted(kind, key=lambda row: row.strength)) for kind in kinds.values()]


def scope_text(shifted: ShiftResult) -> str:
    """Of what these figures speak."""
    return f"{_images(shifted)} {_verdicts(shifted)}"


def _verdicts(shifted: ShiftResult) -> str:
    rows = len(shifted.groups[0].rows)
    if rows > MAX_ARMS:
        share = f"{100 * shifted.alpha:g} %"
        rule = f"{rows} shifts are a screening: of all better and worse {share} at most are expected to be wrong"
    else:
        rule = "Verdicts hold for all shifts together, adjusted step by step (Holm)"
    return f"{rule}; intervals of differences hold all at once, so that a shift can be worse though its own holds 0."


def _images(shifted: ShiftResult) -> str:
    images = f"{shifted.images:,} images of the {shifted.split} part, the same images and draws for every network."
    alone = any(group.n == 1 for group in shifted.groups)
    several = any(group.n > 1 for group in shifted.groups)
    one = " Intervals of one network are over images: they speak of it, not of its recipe." if alone else ""
    return images + one + (" Intervals of several networks are over seeds." if several else "")


def _invariant_strengths(kind: Sequence[ShiftRow]) -> Iterator[str]:
    """The strengths, from the image as it is on, up to which nothing changes that matters."""
    weaker = [row for row in kind if row.strength < row.unchanged]
    stronger = [row for row in kind if row.strength > row.unchanged]
    down = list(takewhile(_is_practically_equal, reversed(weaker)))
    up = list(takewhile(_is_practically_equal, stronger))
    name = kind[0].shift
    if len(kind) == 1:
        yield from ([kind[0].title] if _is_practically_equal(kind[0]) else [])
    elif down and up:
        yield f"{name} {_strength_text(down[-1])} to {_strength_text(up[-1])}"
    elif down:
        yield f"{name} down to {_strength_text(down[-1])}"
    elif up:
        yield f"{name} up to {_strength_text(up[-1])}"


def _is_practically_equal(row: ShiftRow) -> bool:
    return row.effect.verdict == "practically equal"


def _strength_text(row: ShiftRow) -> str:
    return row.title.removeprefix(row.shift).strip()


def _worst_shifts_text(rows: Sequence[ShiftRow]) -> str:
    """The shifts that cost most, each kind once, at the strength that costs most."""
    losing = [row for row in rows if row.effect.difference is not None and row.effect.difference < 0]
    worst = [min(kind, key=lambda row: row.accuracy) for kind in by_kind(losing)]
    worst.sort(key=lambda row: row.accuracy)
    return _join([f"{row.title} ({format_points(row.effect.difference)})" for row in worst[:MAX_WORST_SHIFTS]])


def format_points(difference: float | None) -> str:
    """A difference of accuracies: `−35.2 points`."""
    return MISSING if difference is None else f"{study_text.format_signed(100 * difference, 1)} points"


def _join(texts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1]))) if texts else ""


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
    for place, row in enumerate(groups[0].rows):
        accuracies = (format_fraction(group.rows[place].accuracy) for group in groups)
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
        else f"{study_text.format_signed(100 * low, 1)} to {study_text.format_signed(100 * high, 1)}"
    )


# Of more groups only the table of all is shown.
MAX_GROUPS = 4
