"""The result of a learning-rate range test: the losses, the suggested rate, and the verdict on the recipe's own."""

from __future__ import annotations

import shlex
from typing import Literal

from cnnlab.render.result import Result
from cnnlab.training.lr_finder.curve import LRCurveAnalysis

# How far below the suggestion a rate still trains in reasonable time.
MAX_RATIO = 10

Verdict = Literal["too high", "within", "too low"]


def format_lr(value: float) -> str:
    """A learning rate with two significant digits, the precision of a range test.

    >>> format_lr(0.00123), format_lr(0.000012), format_lr(1.0)
    ('0.0012', '1.2e-05', '1')
    """
    return f"{value:.2g}"


def round_lr(value: float) -> float:
    """A learning rate rounded to the digits of `format_lr`."""
    return float(format_lr(value))


class LRRangeResult(Result):
    """A range test of a recipe.

    Attributes:
        recipe: its name.
        optimizer: as the recipe writes it; `own` is its rate, `groups` the rates of parameter groups relative to it.
        planned: the rates of all planned steps, in equal ratios.
        rates, losses: of the steps before the loss blew up, or of all. A loss is that of the step's batch before the
            step.
        images: size of the training split; about `batch` of them are used in a step.
        seed: of weights, order and augmentation.
        precision: the numeric precision and the device.
        reading: the analysis of the curve.
        suggested: the optimizer with the suggested rate; empty without a suggestion.
        remarks: about this recipe's rates.
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
        """The suggested rate; None where the curve gives none."""
        return self.reading.suggestion

    @property
    def limit(self) -> float | None:
        """The highest rate to try: above it the loss rises."""
        return self.reading.limit

    @property
    def smoothed(self) -> tuple[float, ...]:
        """The smoothed losses, one for each of `losses`; empty where there are too few."""
        return self.reading.smoothed

    @property
    def stopped_at_lr(self) -> float | None:
        """The rate at which the loss blew up; None where all rates were tried."""
        return self.planned[len(self.rates)] if len(self.rates) < len(self.planned) else None

    @property
    def still_falling(self) -> bool:
        """Whether the loss is lowest at the last planned rate, so that the limit may be higher."""
        return self.stopped_at_lr is None and self.limit == self.planned[-1]

    @property
    def verdict(self) -> Verdict | None:
        """Whether the recipe's own rate is above the limit, below a tenth of the suggestion, or within.

        None without a suggestion, or where the loss still fell at the last rate and the own rate is higher.
        """
        if self.suggestion is None or self.limit is None:
            return None
        # Rounded as shown: 0.02 is not above a limit of 0.01995.
        if self.own > round_lr(self.limit):
            return None if self.still_falling else "too high"
        return "too low" if self.own < round_lr(self.suggestion) / MAX_RATIO else "within"

    @property
    def recipe_line(self) -> str:
        """The line of a recipe's [train] with the suggested rate."""
        return f'optimizer = "{self.suggested}"'

    @property
    def cli_option(self) -> str:
        """The command-line option with the suggested rate."""
        return f"--set {shlex.quote(f'train.optimizer={self.suggested}')}"
