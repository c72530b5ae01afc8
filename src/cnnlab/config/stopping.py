"""When training ends before the last epoch: early stopping, and budgets of time and images."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from cnnlab.grammar.arguments import Count, NonNegative, Positive
from cnnlab.grammar.registry import Choice, Registry

# The metrics for stopping, selection and studies; the first is better when smaller.
Metric: TypeAlias = Literal["loss", "accuracy", "top5", "balanced_accuracy", "macro_f1"]


def is_fraction(metric: str) -> bool:
    """Whether a metric, such as validation_accuracy, is a fraction, of which more is better; a loss is not."""
    return not metric.endswith("loss")


stopping_rules: Registry[Any] = Registry("stop")


@stopping_rules.register("never")
class NoEarlyStopping(Choice):
    """Train for all epochs."""


@stopping_rules.register("early")
class EarlyStoppingConfig(Choice):
    """Stop if validation `metric` has not improved by `min_change` for `patience` validations."""

    patience: Count = 5
    metric: Metric = "loss"
    min_change: NonNegative = 0.0


ImageCount: TypeAlias = Annotated[int, Field(ge=1)]
budgets: Registry[Any] = Registry("budget")


class Budget(Choice):
    """A limit on a training."""

    def fraction_used(self, images: int, seconds: float) -> float:  # noqa: ARG002
        """Return the used fraction, from 0 to 1 and beyond, after this many images and seconds of training."""
        return 0.0

    def is_exhausted(self, images: int, seconds: float) -> bool:
        """Return whether the training ends here."""
        return self.fraction_used(images, seconds) >= 1


@budgets.register("none")
class NoBudget(Budget):
    """No limit: train all epochs."""


@budgets.register("time")
class TimeBudget(Budget):
    """End with the first step after this many minutes of training, validations not counted."""

    minutes: Positive

    def fraction_used(self, images: int, seconds: float) -> float:  # noqa: ARG002
        """Return the used fraction of the minutes."""
        return seconds / (60 * self.minutes)


@budgets.register("images")
class ImageBudget(Budget):
    """End with the step that reaches this number of images, counted as often as they were trained on."""

    count: ImageCount

    def fraction_used(self, images: int, seconds: float) -> float:  # noqa: ARG002
        """Return the used fraction of the images."""
        return images / self.count
