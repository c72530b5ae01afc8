"""The losses that a recipe names; `cnnlab.training.losses` computes them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator

from cnnlab.grammar.arguments import DropRate, NonNegative
from cnnlab.grammar.registry import Choice, Registry
from cnnlab.grammar.validation_errors import value_error

losses: Registry[Any] = Registry("loss")


def _class_weights(value: Any) -> Any:
    if value is None or value == "balanced":
        return value
    numbers = value if isinstance(value, list | tuple) else ()
    if len(numbers) < 2 or not all(_is_weight(number) for number in numbers):
        raise value_error("none, 'balanced', or a [list] with a number above 0 for each class")
    return tuple(map(float, numbers))


def _is_weight(number: Any) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and 0 < number < math.inf


if TYPE_CHECKING:
    ClassWeights: TypeAlias = Literal["balanced"] | tuple[float, ...] | None
else:
    ClassWeights = Annotated[Any, BeforeValidator(_class_weights)]


@losses.register("cross_entropy")
class CrossEntropy(Choice):
    """Cross-entropy, with label smoothing (Szegedy et al., 2016)."""

    smoothing: DropRate = 0.0
    weights: ClassWeights = None


@losses.register("focal")
class Focal(Choice):
    """Focal loss: cross-entropy times (1 - p)^gamma, which weights easy images down (Lin et al., 2017)."""

    gamma: NonNegative = 2.0
    weights: ClassWeights = None
