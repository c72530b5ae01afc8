"""Tables of a run's records, for the report and the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite

from cnnlab.architecture.memory import MemoryRecord
from cnnlab.records import DataRecord, LayerRecord, LayerTable, LedgerEntry, RunResult, Score
from cnnlab.render.formatting import (
    MISSING,
    NumberFormatter,
    format_bytes,
    format_count,
    format_fraction,
    format_loss,
    format_percent,
    format_shape,
    shorten,
)
from cnnlab.render.tables import TextTable, parse_columns
from cnnlab.reports.architecture.pretraining import freeze_state, has_frozen_layers
from cnnlab.stats.intervals import wilson_interval

SPLITS = ("train", "validation", "test")
MIN_SHARE = 0.001
NUM_COLUMNS_AFTER_PARAMETERS = 4  # columns


def layer_table(table: LayerTable, memory: MemoryRecord | None = None) -> TextTable:
    """Return the table of layers with a total; with `memory`, a column of what each row keeps for the backward pass.

    If weights are frozen or train later, a column says so. A row within a residual or repeat row is indented.
    """
    titles = ["name", "`layer", "#output", "#parameters", "`formula", "#share", "#multiply-adds", "#their share"]
    titles += ["#receptive field", "#jump"]
    names = {layer.name for layer in table.layers}
    rows = [_layer_row(layer, names, table) for layer in table.layers]
    total: tuple[str, ...] = (
        "total",
        "",
        "",
        format_count(table.parameters),
        "",
        "",
        format_count(table.macs),
        "",
        "",
        "",
    )
    if memory is not None:
        titles.append("#memory")
        layer_memory = [memory.layers[layer.name] for layer in table.layers]
        rows = [(*row, format_bytes(size) if size else MISSING) for row, size in zip(rows, layer_memory, strict=True)]
        total = (*total, format_bytes(memory.activations))
    if has_frozen_layers(table):
        titles.insert(NUM_COLUMNS_AFTER_PARAMETERS, "weights")
        states = zip(rows, map(freeze_state, table.layers), strict=True)
        rows = [
            (*row[:NUM_COLUMNS_AFTER_PARAMETERS], state, *row[NUM_COLUMNS_AFTER_PARAMETERS:]) for row, state in states
        ]
        total = (*total[:NUM_COLUMNS_AFTER_PARAMETERS], "", *total[NUM_COLUMNS_AFTER_PARAMETERS:])
    return TextTable(parse_columns(*titles), (*rows, total), total=True)


def final_table(result: RunResult, data: DataRecord) -> TextTable:
    """Return the final figures of the selected weights, a row per split; one that was not evaluated has dashes."""
    measures = ("#loss", "#accuracy", "#95 % interval", "#top 5", "#balanced accuracy", "#macro F1")
    heads = parse_columns("part", "#images", *measures)
    scores = {"train": result.train, "validation": result.validation, "test": result.test}
    splits = [split for split in SPLITS if scores[split] is not None or split in data.splits]
    return TextTable(heads, tuple(_score_row(split, scores[split], data) for split in splits))


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
    return TextTable(parse_columns("time", "`run", "what for"), tuple(rows))


def accuracy_interval(score: Score | None) -> tuple[float, float] | None:
    """Return the 95 % Wilson interval of an accuracy; None if there is none."""
    if score is None or not isfinite(score.accuracy):
        return None
    return wilson_interval(round(score.accuracy * score.images), score.images)


def _layer_row(layer: LayerRecord, names: set[str], table: LayerTable) -> tuple[str, ...]:
    view = "whole image" if layer.receptive_field is None else format_shape(layer.receptive_field)
    jump = MISSING if layer.jump is None else "×".join(layer.jump)
    return (
        _indented(layer.name, names),
        shorten(_layer_text(layer, names), 44),
        format_shape(layer.output),
        format_count(layer.parameters) if layer.parameters else MISSING,
        layer.formula,
        _share(layer.parameters, table.parameters),
        format_count(layer.macs) if layer.macs else MISSING,
        _share(layer.macs, table.macs),
        view,
        jump,
    )


def _share(count: int, total: int) -> str:
    if not count:
        return ""
    return format_percent(count / total) if count / total >= MIN_SHARE else f"< {format_percent(MIN_SHARE)}"


def _layer_text(layer: LayerRecord, names: set[str]) -> str:
    """Return the row as written, without the rows within it, which follow below."""
    outer = any(name.startswith(layer.name + ".") for name in names)
    return layer.text.partition("[")[0] + "[…])" if outer else layer.text


def _indented(name: str, names: set[str]) -> str:
    """Indent the row's name by four spaces per enclosing row, and drop their names."""
    pieces = name.split(".")
    outer = [prefix for size in range(1, len(pieces)) if (prefix := ".".join(pieces[:size])) in names]
    return "    " * len(outer) + (name.removeprefix(outer[-1] + ".") if outer else name)


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
