"""Tables of a run's records, for the report and the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite

from cnnlab.records import DataRecord, EpochRecord, LedgerEntry, RunResult, Score, StepMeans
from cnnlab.render.formatting import (
    MISSING,
    NumberFormatter,
    format_count,
    format_epoch,
    format_fraction,
    format_loss,
    shorten,
)
from cnnlab.render.tables import TextTable, parse_columns
from cnnlab.stats.intervals import wilson_interval

SPLITS = ("train", "validation", "test")


def final_table(result: RunResult, data: DataRecord) -> TextTable:
    """Return the final figures of the selected weights, a row per split; one that was not evaluated has dashes."""
    measures = ("#loss", "#accuracy", "#95 % interval", "#top 5", "#balanced accuracy", "#macro F1")
    heads = parse_columns("split", "#images", *measures)
    scores = {"train": result.train, "validation": result.validation, "test": result.test}
    splits = [split for split in SPLITS if scores[split] is not None or split in data.splits]
    return TextTable(heads, tuple(_score_row(split, scores[split], data) for split in splits))


def curve_table(epochs: Sequence[EpochRecord]) -> TextTable:
    """Return the points of the learning curves: epoch, training step, and the loss and accuracy of each split."""
    splits = [split for split in SPLITS if any(getattr(record, split) is not None for record in epochs)]
    heads = [f"#{split} {measure}" for split in splits for measure in ("loss", "accuracy")]
    rows = (
        (
            format_epoch(record.epoch),
            format_count(record.step),
            *(cell for split in splits for cell in _point_cells(getattr(record, split))),
        )
        for record in epochs
    )
    return TextTable(parse_columns("#epoch", "#step", *heads), tuple(rows))


def _point_cells(score: Score | StepMeans | None) -> tuple[str, str]:
    return (MISSING, MISSING) if score is None else (format_loss(score.loss), format_fraction(score.accuracy))


def class_table(score: Score | None) -> TextTable:
    """Return the scores of each class, in the order of the classes."""
    rows = (
        (
            shorten(each.name, 32),
            format_count(each.images),
            format_fraction(each.recall),
            format_fraction(each.precision),
        )
        for each in (score.per_class if score is not None else ())
    )
    return TextTable(parse_columns("class", "#images", "#recall", "#precision"), tuple(rows))


def ledger_table(openings: Iterable[LedgerEntry]) -> TextTable:
    """Return every evaluation on the test set, in the ledger's order."""
    rows = ((shorten(o.time.replace("T", " ")), shorten(o.run, 80), shorten(o.purpose)) for o in openings)
    return TextTable(parse_columns("time", "`run", "purpose"), tuple(rows))


def accuracy_interval(score: Score | None) -> tuple[float, float] | None:
    """Return the 95 % Wilson interval of an accuracy; None if there is none."""
    if score is None or not isfinite(score.accuracy):
        return None
    return wilson_interval(round(score.accuracy * score.images), score.images)


def _score_row(split: str, score: Score | None, data: DataRecord) -> tuple[str, ...]:
    if score is None:
        return (split, format_count(data.splits[split]), *[MISSING] * 6)
    interval = accuracy_interval(score)
    return (
        split,
        format_count(score.images),
        format_loss(score.loss),
        format_fraction(score.accuracy),
        _interval(interval, format_fraction),
        format_fraction(score.top5),
        format_fraction(score.balanced_accuracy),
        format_fraction(score.macro_f1),
    )


def _interval(bounds: Sequence[float] | None, number: NumberFormatter) -> str:
    return MISSING if bounds is None else f"{number(bounds[0])} to {number(bounds[1])}"
