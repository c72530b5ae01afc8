"""The learning-rate schedules of recipes; `cnnlab.training.schedules` computes them."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import Field

from cnnlab.config.stopping import Metric
from cnnlab.errors import SpecError
from cnnlab.grammar.arguments import Count, Positive, Probability
from cnnlab.grammar.registry import Choice, Registry

schedules: Registry[Any] = Registry("schedule")

OpenFraction: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
Divisor: TypeAlias = Annotated[float, Field(ge=1)]


@schedules.register("constant")
class ConstantSchedule(Choice):
    """Keep the learning rate constant."""


@schedules.register("step")
class StepSchedule(Choice):
    """Multiply the rate by `factor` every `epochs` epochs."""

    epochs: Count = 30
    factor: Probability = 0.1


@schedules.register("multistep")
class MultiStepSchedule(Choice):
    """Multiply the rate by `factor` after each of these epochs."""

    epochs: tuple[Count, ...]
    factor: Probability = 0.1

    def __post_init__(self) -> None:
        if not self.epochs or list(self.epochs) != sorted(set(self.epochs)):
            raise SpecError("the epochs must increase", received=str(list(self.epochs)), allowed="such as [30, 60]")


@schedules.register("exponential")
class ExponentialSchedule(Choice):
    """Multiply the rate by `factor` after every epoch."""

    factor: Probability = 0.95


@schedules.register("linear")
class LinearSchedule(Choice):
    """Decay the rate linearly, step by step, to `floor` times the initial rate."""

    floor: Probability = 0.0


@schedules.register("cosine")
class CosineSchedule(Choice):
    """Decay the rate along half a cosine, step by step, to `floor` times the initial rate."""

    floor: Probability = 0.0


@schedules.register("restarts")
class CosineRestartsSchedule(Choice):
    """Cosine decay with restarts (Loshchilov, Hutter, 2016), after `epochs` epochs and then `growth` times as many."""

    epochs: Count = 10
    growth: Count = 1
    floor: Probability = 0.0


@schedules.register("onecycle")
class OneCycleSchedule(Choice):
    """Raise the rate from rate/first for the share `rise` of steps, then decay it to rate/first/last (Smith, 2017)."""

    rise: OpenFraction = 0.3
    first: Divisor = 25.0
    last: Divisor = 1e4


@schedules.register("plateau")
class PlateauSchedule(Choice):
    """Multiply the rate by `factor` if validation `metric` has not improved for `patience` validations."""

    factor: Probability = 0.1
    patience: Count = 10
    metric: Metric = "loss"


@schedules.register("warmup")
class WarmupSchedule(Choice):
    """Raise the rate linearly from `start` times the rate over `epochs` epochs; then follow another schedule."""

    epochs: Positive = 1.0
    then: Annotated[Any, schedules] = ConstantSchedule()
    start: Probability = 0.01

    @property
    def metric(self) -> str | None:
        """The metric that the inner schedule watches, if any."""
        return getattr(self.then, "metric", None)

    def __post_init__(self) -> None:
        if isinstance(self.then, WarmupSchedule):
            raise SpecError("a warm-up can't be followed by another one", received="then=warmup(…)")
