"""The document and the picture of a learning-rate range test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cnnlab.render.document import Document, Formula
from cnnlab.render.formatting import MISSING, format_loss, pluralize
from cnnlab.render.result import document, figures
from cnnlab.render.tables import TextTable
from cnnlab.training.lr_finder.curve import DIVERGENCE_RATIO
from cnnlab.training.lr_finder.result import LRRangeResult, format_lr

if TYPE_CHECKING:
    from cnnlab.render.plots import CaptionedFigure

MAX_ROWS = 13


def headline(result: LRRangeResult) -> str:
    """The suggested rate and the verdict on the recipe's own, or why no rate is suggested."""
    if result.suggestion is None:
        return f"No rate can be suggested: {result.reading.trouble}. Next: {result.reading.advice}."
    verdict = result.verdict or "above all that were tried"
    return f"Suggested rate: {format_lr(result.suggestion)}. The recipe's own rate, {result.own:g}, is {verdict}."


@document.register
def _(result: LRRangeResult) -> Document:
    lines: list[str | Formula] = [headline(result)]
    tables = []
    if result.suggestion is not None:
        lines.append("To train with the suggested rate, in [train], or for one command:")
        for line in (result.recipe_line, result.cli_option):
            escaped = line.replace("_", r"\_")
            lines.append(Formula(line, rf"\texttt{{{escaped}}}"))
        tables.append(("Rates", TextTable.from_rows(["", "#rate", "rule"], _rate_rows(result))))
    if result.rates:
        tables.append(("The curve at some of the rates", _curve_table(result)))
    title = f"Learning-rate range test of {result.recipe}"
    return Document(title, tuple(lines), tuple(tables), tuple(_notes(result)))


@figures.register(LRRangeResult)
def _(result: LRRangeResult) -> dict[str, CaptionedFigure]:
    from cnnlab.render.plots import CaptionedFigure
    from cnnlab.training.lr_finder.figures import range_figure

    description = f"The training loss of {result.recipe} against a rising learning rate. {headline(result)}"
    return {"lr-range": CaptionedFigure(range_figure(result), description)}


def _rate_rows(result: LRRangeResult) -> Iterator[tuple[str, str, str]]:
    reading = result.reading
    if reading.suggestion is None or reading.limit is None or reading.steepest is None:
        return
    rule = "a tenth of the upper limit, or the steepest fall if that is lower; no lower than the first rate"
    limit = "the last rate, at which the loss still fell" if result.still_falling else "the lowest smoothed loss"
    yield "suggested", format_lr(reading.suggestion), rule
    yield "steepest fall", format_lr(reading.steepest), "the steepest slope of the smoothed loss"
    yield "upper limit", format_lr(reading.limit), limit
    yield "the recipe's own", f"{result.own:g}", result.verdict or "above all that were tried"


def _curve_table(result: LRRangeResult) -> TextTable:
    marks = {result.limit: "lowest", result.reading.steepest: "steepest fall"}
    steps = {round(row * (len(result.rates) - 1) / (MAX_ROWS - 1)) for row in range(MAX_ROWS)}
    steps |= {step for step, rate in enumerate(result.rates) if rate in marks}
    rows = [
        (
            format_lr(result.rates[step]),
            format_loss(result.losses[step]),
            format_loss(result.smoothed[step]) if result.smoothed else MISSING,
            marks.get(result.rates[step], ""),
        )
        for step in sorted(steps)
    ]
    return TextTable.from_rows(["#rate", "#loss", "#smoothed", ""], rows)


def _notes(result: LRRangeResult) -> Iterator[str]:
    yield from result.remarks
    first, last = format_lr(result.planned[0]), format_lr(result.planned[-1])
    if result.stopped_at_lr is None:
        yield f"{len(result.planned)} steps from {first} to {last}; the loss did not blow up."
    else:
        yield (
            f"{len(result.rates)} of {len(result.planned)} steps from {first} to {last}: at "
            f"{format_lr(result.stopped_at_lr)} the running mean of the loss was more than {DIVERGENCE_RATIO:g} times "
            "its lowest, or not finite."
        )
    if result.still_falling:
        yield f"The loss still fell at the last rate: try higher ones, --to {format_lr(10 * result.planned[-1])}."
    yield (
        f"{pluralize(result.images, 'image')} of the training split, {result.batch} per step, seed {result.seed}, "
        f"{result.precision}. Validation and test images were not read."
    )
