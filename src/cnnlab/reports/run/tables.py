"""Records to rows of text, for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite

from cnnlab.architecture.memory import MemoryRecord
from cnnlab.records import ClaimRecord, DataRecord, LayerRecord, Opening, Result, Score, Table
from cnnlab.render import formatting
from cnnlab.render.formatting import NONE
from cnnlab.render.tables import TextTable, columns
from cnnlab.reports.architecture.pretraining import has_states, state_of
from cnnlab.stats.intervals import wilson

PARTS = ("train", "validation", "test")
SMALLEST_SHARE = 0.001
BEHIND_PARAMETERS = 4  # columns


def layer_table(table: Table, memory: MemoryRecord | None = None) -> TextTable:
    """The network, row by row, with a total; with `memory` a column of what each row keeps for the backward pass.

    Where weights are frozen, or train later, a column says so.
    A row within a residual or repeat row is indented and named from its outer row on.
    """
    titles = ["name", "`layer", "#output", "#parameters", "`formula", "#share", "#multiply-adds", "#their share"]
    titles += ["#receptive field", "#jump"]
    names = {layer.name for layer in table.layers}
    rows = [_layer_row(layer, names, table) for layer in table.layers]
    total: tuple[str, ...] = (
        "total",
        "",
        "",
        formatting.count(table.parameters),
        "",
        "",
        formatting.count(table.macs),
        "",
        "",
        "",
    )
    if memory is not None:
        titles.append("#memory")
        kept = [memory.layers[layer.name] for layer in table.layers]
        rows = [(*row, formatting.memory(size) if size else NONE) for row, size in zip(rows, kept, strict=True)]
        total = (*total, formatting.memory(memory.activations))
    if has_states(table):
        titles.insert(BEHIND_PARAMETERS, "weights")
        states = zip(rows, map(state_of, table.layers), strict=True)
        rows = [(*row[:BEHIND_PARAMETERS], state, *row[BEHIND_PARAMETERS:]) for row, state in states]
        total = (*total[:BEHIND_PARAMETERS], "", *total[BEHIND_PARAMETERS:])
    return TextTable(columns(*titles), (*rows, total), total=True)


def final_table(result: Result, data: DataRecord) -> TextTable:
    """The final figures of the selected weights, a row for each part of the data; one not evaluated has dashes."""
    measures = ("#loss", "#accuracy", "#95 % interval", "#top 5", "#balanced accuracy", "#macro F1")
    heads = columns("part", "#images", *measures)
    scores = {"train": result.train, "validation": result.validation, "test": result.test}
    parts = [part for part in PARTS if scores[part] is not None or part in data.parts]
    return TextTable(heads, tuple(_score_row(part, scores[part], data) for part in parts))


def class_table(score: Score | None) -> TextTable:
    """How each class fared, in the order of the classes."""
    rows = (
        (
            formatting.shown(each.name, 32),
            formatting.count(each.images),
            formatting.fraction(each.recall),
            formatting.fraction(each.precision),
        )
        for each in (score.per_class if score is not None else ())
    )
    return TextTable(columns("class", "#images", "#recall", "#precision"), tuple(rows))


def claim_table(claims: Iterable[ClaimRecord]) -> TextTable:
    """Published figures against measured ones, with the difference measured − published."""
    heads = columns("figure", "#published", "#measured", "#difference", "#95 % interval", "#runs", "verdict", "source")
    return TextTable(heads, tuple(_claim_row(claim) for claim in claims))


def opening_table(openings: Iterable[Opening]) -> TextTable:
    """Every look at the test set, in the ledger's order."""
    rows = (
        (formatting.shown(o.time.replace("T", " ")), formatting.shown(o.run, 80), formatting.shown(o.purpose))
        for o in openings
    )
    return TextTable(columns("time", "`run", "what for"), tuple(rows))


def accuracy_interval(score: Score | None) -> tuple[float, float] | None:
    """The 95 % Wilson interval of an accuracy; None where there is none."""
    if score is None or not isfinite(score.accuracy):
        return None
    return wilson(round(score.accuracy * score.images), score.images)


def _layer_row(layer: LayerRecord, names: set[str], table: Table) -> tuple[str, ...]:
    view = "whole image" if layer.receptive_field is None else formatting.sizes(layer.receptive_field)
    jump = NONE if layer.jump is None else "×".join(layer.jump)
    return (
        _indented(layer.name, names),
        formatting.shown(_layer_text(layer, names), 44),
        formatting.sizes(layer.output),
        formatting.count(layer.parameters) if layer.parameters else NONE,
        layer.formula,
        _share(layer.parameters, table.parameters),
        formatting.count(layer.macs) if layer.macs else NONE,
        _share(layer.macs, table.macs),
        view,
        jump,
    )


def _share(part: int, whole: int) -> str:
    if not part:
        return ""
    return (
        formatting.percent(part / whole)
        if part / whole >= SMALLEST_SHARE
        else f"< {formatting.percent(SMALLEST_SHARE)}"
    )


def _layer_text(layer: LayerRecord, names: set[str]) -> str:
    """What was written; the rows within it stand below it and are not said twice."""
    outer = any(name.startswith(layer.name + ".") for name in names)
    return layer.text.partition("[")[0] + "[…])" if outer else layer.text


def _indented(name: str, names: set[str]) -> str:
    """Four spaces for each row that this one is in, and the name from the innermost of them on."""
    pieces = name.split(".")
    outer = [prefix for size in range(1, len(pieces)) if (prefix := ".".join(pieces[:size])) in names]
    return "    " * len(outer) + (name.removeprefix(outer[-1] + ".") if outer else name)


def _score_row(part: str, score: Score | None, data: DataRecord) -> tuple[str, ...]:
    if score is None:
        return (part, formatting.count(data.parts[part]), *[NONE] * 6)
    interval = accuracy_interval(score)
    return (
        part,
        formatting.count(score.images),
        formatting.loss(score.loss),
        formatting.fraction(score.accuracy),
        _interval(interval, formatting.fraction),
        formatting.fraction(score.top5),
        formatting.fraction(score.balanced_accuracy),
        formatting.fraction(score.macro_f1),
    )


def _claim_row(claim: ClaimRecord) -> tuple[str, ...]:
    number = formatting.count if claim.name == "parameters" else formatting.loss
    bounds = None if claim.low is None or claim.high is None else (claim.low, claim.high)
    difference = NONE
    if claim.measured is not None:
        sign = "−" if claim.measured < claim.published else "+"
        gap = abs(claim.measured - claim.published)
        difference = sign + number(gap) if gap else "0"
    return (
        claim.name.replace("_", " "),
        number(claim.published),
        NONE if claim.measured is None else number(claim.measured),
        difference,
        _interval(bounds, number),
        formatting.count(claim.n),
        claim.verdict,
        "; ".join(formatting.shown(text, 120) for text in (claim.source, claim.note) if text),
    )


def _interval(bounds: Sequence[float] | None, number: formatting.Number) -> str:
    return NONE if bounds is None else f"{number(bounds[0])} to {number(bounds[1])}"
