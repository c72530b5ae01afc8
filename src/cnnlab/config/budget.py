"""How much a training may take, as a recipe says it."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import Field

from cnnlab.config.optimization import Choice
from cnnlab.grammar.arguments import Positive
from cnnlab.grammar.registry import Registry

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
