"""What a learning-rate range test found: the curve, the rate it suggests, and how the recipe's own compares."""

from __future__ import annotations

import shlex
from typing import Literal

from cnnlab.records import Record
from cnnlab.render.document import Document, Formula
from cnnlab.render.formatting import MISSING, format_loss, pluralize
from cnnlab.render.tables import TextTable
from cnnlab.training.lr_finder.curve import DIVERGENCE_RATIO, LIMIT_DIVISOR, LRCurveAnalysis

# How far below the suggestion a rate still trains in reasonable time.
MAX_RATIO = 10
MAX_ROWS = 13

Verdict = Literal["too high", "within", "too low"]


def format_lr(value: float) -> str:
    """A learning rate with the two digits that a range test can tell.

    >>> format_lr(0.00123), format_lr(0.000012), format_lr(1.0)
    ('0.0012', '1.2e-05', '1')
    """
    return f"{value:.2g}"


def round_lr(value: float) -> float:
    """The rate that `format_lr` writes."""
    return float(format_lr(value))


class LRRangeResult(Record):
    """A range test of a recipe.

    Attributes:
        recipe: what it is called.
        optimizer: as the recipe writes it; `own` is its rate, and `groups` how the rates of its groups relate to it.
        planned: the rates that were to be tried, in equal ratios.
        rates, losses: of the steps that count: those before the loss blew up, or all of them. A loss is that of a
            step's batch before the step.
        images: of the training split; `batch` of them, or somewhat more or fewer, go into a step.
        seed: of weights, order and augmentation; `precision` is how each step was computed.
        reading: what the curve says.
        suggested: the optimizer with the suggested rate in place of its own, to be put into the recipe; empty where
            there is no suggestion.
        remarks: what a reader should know of this recipe's rates.
    """

    recipe: str
    optimizer: str
    own: float
    groups: tuple[float, ...]
    planned: tuple[float, ...]
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    images: int
    batch: int
    seed: int
    precision: str
    reading: LRCurveAnalysis
    suggested: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def suggestion(self) -> float | None:
        """The suggested rate, None where the curve tells none."""
        return self.reading.suggestion

    @property
    def limit(self) -> float | None:
        """The highest rate to try: above it the loss rises."""
        return self.reading.limit

    @property
    def smoothed(self) -> tuple[float, ...]:
        """The smoothed losses, one for each of `losses`; empty where they are too few."""
        return self.reading.smoothed

    @property
    def stopped_at_lr(self) -> float | None:
        """The rate at which the loss blew up; None where all rates were tried."""
        return self.planned[len(self.rates)] if len(self.rates) < len(self.planned) else None

    @property
    def still_falling(self) -> bool:
        """Whether the loss is lowest at the last rate that was to be tried: the limit may lie above."""
        return self.stopped_at_lr is None and self.limit == self.planned[-1]

    @property
    def verdict(self) -> Verdict | None:
        """How the recipe's own rate compares: above the limit, below a tenth of the suggestion, or within.

        None where there is nothing to compare with, or where the loss still fell at the last rate, and it is higher.
        """
        if self.suggestion is None or self.limit is None:
            return None
        # By the digits that are shown: 0.02 is not above a limit of 0.01995.
        if self.own > round_lr(self.limit):
            return None if self.still_falling else "too high"
        return "too low" if self.own < round_lr(self.suggestion) / MAX_RATIO else "within"

    @property
    def recipe_line(self) -> str:
        """The line of a recipe's [train] with the suggested rate."""
        return f'optimizer = "{self.suggested}"'

    @property
    def cli_option(self) -> str:
        """The same for one command."""
        return f"--set {shlex.quote(f'train.optimizer={self.suggested}')}"

    def summary(self) -> str:
        """The suggestion with the rule that gave it, or why there is none."""
        analysis = self.reading
        if analysis.suggestion is None or analysis.limit is None or analysis.steepest is None:
            return f"No rate can be suggested: {analysis.trouble}. Next: {analysis.advice}."
        tenth = "a tenth of the rate with the lowest smoothed loss"
        tenth_of_limit = format_lr(analysis.limit / LIMIT_DIVISOR)
        why = f"{tenth}; it falls most steeply at {format_lr(analysis.steepest)}"
        if analysis.suggestion == analysis.steepest:
            why = f"where the smoothed loss falls most steeply; {tenth} is higher, {tenth_of_limit}"
        elif analysis.suggestion == self.planned[0]:
            why = f"the first rate that was tried; {tenth} is lower, {tenth_of_limit}"
        limit = f"Upper limit: {format_lr(analysis.limit)}, the rate with the lowest smoothed loss."
        if self.still_falling:
            limit = f"No upper limit was found up to {format_lr(analysis.limit)}, the last rate that was tried."
        return f"Suggested rate: {format_lr(analysis.suggestion)}, {why}. {limit}"

    def comparison_text(self) -> str:
        """How the recipe's own rate compares, in words; empty where there is nothing to compare with."""
        if self.suggestion is None or self.limit is None:
            return ""
        texts = {
            "too high": f"too high: above {format_lr(self.limit)} the loss rises",
            "too low": f"too low: below a tenth of {format_lr(self.suggestion)}",
            "within": f"within: from a tenth of {format_lr(self.suggestion)} up to {format_lr(self.limit)}",
        }
        if self.verdict is None:
            return f"The recipe's own rate, {self.own:g}, is above all that were tried."
        return f"The recipe's own rate, {self.own:g}, is {texts[self.verdict]}."

    def document(self) -> Document:
        """The suggestion and its rule, the comparison, the line to set it, and the curve at some of the rates."""
        lines: list[str | Formula] = [self._rates_text(), self.summary()]
        if self.suggestion is not None:
            setting = Formula(self.recipe_line, rf"\texttt{{{_latex_text(self.recipe_line)}}}")
            option = Formula(self.cli_option, rf"\texttt{{{_latex_text(self.cli_option)}}}")
            lines += [self.comparison_text(), "To train with the suggested rate, in [train], or for one command:"]
            lines += [setting, option]
        curve = (("The curve at some of the rates", self._curve()),) if self.rates else ()
        return Document(
            title=f"Learning-rate range test of {self.recipe}", lines=tuple(lines), tables=curve, notes=self._notes()
        )

    def svg(self) -> str:
        """The loss against the rate; it stands alone."""
        from cnnlab.training.lr_finder.view import range_svg

        return range_svg(self)

    def _repr_html_(self) -> str:
        return self.document().to_html(self.svg())

    def _rates_text(self) -> str:
        count, every = len(self.rates), len(self.planned)
        if self.stopped_at_lr is None:
            ends = f"{format_lr(self.planned[0])} to {format_lr(self.planned[-1])}"
            return f"Rates from {ends} in {every} steps; the loss did not blow up."
        first, stop = format_lr(self.planned[0]), format_lr(self.stopped_at_lr)
        return (
            f"Rates from {first} up, {count} of {every} steps: at {stop} the loss blew up: "
            f"its running mean passed {DIVERGENCE_RATIO:g} times its lowest, or it was no number."
        )

    def _curve(self) -> TextTable:
        named = {self.limit: "lowest", self.reading.steepest: "steepest fall"}
        shown = {round(row * (len(self.rates) - 1) / (MAX_ROWS - 1)) for row in range(MAX_ROWS)}
        shown |= {step for step, rate in enumerate(self.rates) if rate in named}
        rows = [
            (
                format_lr(self.rates[step]),
                format_loss(self.losses[step]),
                format_loss(self.smoothed[step]) if self.smoothed else MISSING,
                named.get(self.rates[step], ""),
            )
            for step in sorted(shown)
        ]
        return TextTable.from_rows(["#rate", "#loss", "#smoothed", ""], rows)

    def _notes(self) -> tuple[str, ...]:
        notes = [*self.remarks]
        if self.suggestion is not None:
            notes.append(
                "The loss is lowest close to where training breaks, and a test is shorter than a training: a tenth of "
                "that rate leaves room."
            )
            if self.stopped_at_lr is None and self.limit == self.rates[-1]:
                further = format_lr(10 * self.rates[-1])
                notes.append(f"The loss still fell at the last rate: higher ones may do; see with --to {further}.")
        notes.append(
            f"{pluralize(self.images, 'image')} of the training split, {self.batch} a step, seed {self.seed}, "
            f"{self.precision}. No image of the validation or the test split was used."
        )
        return tuple(notes)


def _latex_text(text: str) -> str:
    return text.replace("_", r"\_")
