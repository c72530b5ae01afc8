"""When a training ends before its last epoch: early stopping, and budgets of time and images."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from cnnlab.grammar.arguments import Count, NonNegative, Positive
from cnnlab.grammar.registry import Choice, Registry

# The metrics of a split that may stop, choose and be studied; the first is better when smaller.
Metric: TypeAlias = Literal["loss", "accuracy", "top5", "balanced_accuracy", "macro_f1"]

stopping_rules: Registry[Any] = Registry("stop")


@stopping_rules.register("never")
class NoEarlyStopping(Choice):
    """Train for all epochs."""


@stopping_rules.register("early")
class EarlyStoppingConfig(Choice):
    """Stop when `metric` on the validation split has not improved by `min_change` for `patience` validations."""

    patience: Count = 5
    metric: Metric = "loss"
    min_change: NonNegative = 0.0


ImageCount: TypeAlias = Annotated[int, Field(ge=1)]
budgets: Registry[Any] = Registry("budget")


class Budget(Choice):
    """What a training may take."""

    def fraction_used(self, images: int, seconds: float) -> float:  # noqa: ARG002
        """How much of it is spent, 0 to 1 and beyond, after so many images and seconds of training."""
        return 0.0

    def is_exhausted(self, images: int, seconds: float) -> bool:
        """Whether training ends here."""
        return self.fraction_used(images, seconds) >= 1


@budgets.register("none")
class NoBudget(Budget):
    """All epochs, however long they take."""


@budgets.register("time")
class TimeBudget(Budget):
    """End with the first step after so many minutes of training; validations are not counted."""

    minutes: Positive

    def fraction_used(self, images: int, seconds: float) -> float:  # noqa: ARG002
        """How much of the minutes is spent."""
        return seconds / (60 * self.minutes)


@budgets.register("images")
class ImageBudget(Budget):
    """End with the step that brings the images, each counted as often as it was trained on, to this number."""

    count: ImageCount

    def fraction_used(self, images: int, seconds: float) -> float:  # noqa: ARG002
        """How much of the images is spent."""
        return images / self.count
