"""The learning-rate schedules that a recipe names; `cnnlab.training.schedules` computes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import Field

from cnnlab.config.stopping import Metric
from cnnlab.errors import SpecError
from cnnlab.grammar.arguments import Count, Positive, Probability
from cnnlab.grammar.registry import Choice, Registry

schedules: Registry[Any] = Registry("schedule")

OpenFraction: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
Divisor: TypeAlias = Annotated[float, Field(ge=1)]
if TYPE_CHECKING:
    AnySchedule: TypeAlias = Any
else:
    AnySchedule = schedules.field_type()


@schedules.register("constant")
class ConstantSchedule(Choice):
    """The learning rate stays."""


@schedules.register("step")
class StepSchedule(Choice):
    """Times `factor` after every `epochs` epochs."""

    epochs: Count = 30
    factor: Probability = 0.1


@schedules.register("multistep")
class MultiStepSchedule(Choice):
    """Times `factor` after each of these epochs."""

    epochs: tuple[Count, ...]
    factor: Probability = 0.1

    def __post_init__(self) -> None:
        if not self.epochs or list(self.epochs) != sorted(set(self.epochs)):
            raise SpecError("these epochs don't rise", received=str(list(self.epochs)), allowed="such as [30, 60]")


@schedules.register("exponential")
class ExponentialSchedule(Choice):
    """Times `factor` after every epoch."""

    factor: Probability = 0.95


@schedules.register("linear")
class LinearSchedule(Choice):
    """Down along a line, step by step, to `floor` times the first rate."""

    floor: Probability = 0.0


@schedules.register("cosine")
class CosineSchedule(Choice):
    """Down along half a cosine, step by step, to `floor` times the first rate."""

    floor: Probability = 0.0


@schedules.register("restarts")
class CosineRestartsSchedule(Choice):
    """Cosine that restarts (Loshchilov, Hutter, 2016): after `epochs` epochs, then each time `growth` times more."""

    epochs: Count = 10
    growth: Count = 1
    floor: Probability = 0.0


@schedules.register("onecycle")
class OneCycleSchedule(Choice):
    """From rate/first up to the rate, for the share `rise` of all steps, then down to rate/first/last (Smith, 2017)."""

    rise: OpenFraction = 0.3
    first: Divisor = 25.0
    last: Divisor = 1e4


@schedules.register("plateau")
class PlateauSchedule(Choice):
    """Times `factor` when `metric` on the validation split has not improved for `patience` validations."""

    factor: Probability = 0.1
    patience: Count = 10
    metric: Metric = "loss"


@schedules.register("warmup")
class WarmupSchedule(Choice):
    """Up along a line from `start` times the rate, for `epochs` epochs; then another schedule, which begins there."""

    epochs: Positive = 1.0
    then: AnySchedule = ConstantSchedule()
    start: Probability = 0.01

    @property
    def metric(self) -> str | None:
        """The figure that the schedule behind it watches, if it watches one."""
        return getattr(self.then, "metric", None)

    def __post_init__(self) -> None:
        if isinstance(self.then, WarmupSchedule):
            raise SpecError("a warm-up has no other one behind it", received="then=warmup(…)")
