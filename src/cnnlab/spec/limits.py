"""How much a training may take, as a recipe says it."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import Field

from cnnlab.spec.arguments import Positive
from cnnlab.spec.choices import Choice
from cnnlab.spec.registry import Registry

ImageCount: TypeAlias = Annotated[int, Field(ge=1)]
budgets: Registry[Any] = Registry("budget")


@budgets.add("none")
class NoBudget(Choice):
    """All epochs, however long they take."""

    def spent(self, images: int, seconds: float) -> bool:  # noqa: ARG002
        """Whether training ends here."""
        return False


@budgets.add("time")
class Time(Choice):
    """End with the first step after so many minutes of training; validations are not counted."""

    minutes: Positive

    def spent(self, images: int, seconds: float) -> bool:  # noqa: ARG002
        """Whether training ends here."""
        return seconds >= 60 * self.minutes


@budgets.add("images")
class Images(Choice):
    """End with the step that brings the images, each counted as often as it was trained on, to this number."""

    count: ImageCount

    def spent(self, images: int, seconds: float) -> bool:  # noqa: ARG002
        """Whether training ends here."""
        return images >= self.count
