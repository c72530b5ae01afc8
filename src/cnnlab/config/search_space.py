"""The spaces of a search's parameters, and the pruners that end poor trials early."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from cnnlab.errors import SpecError
from cnnlab.grammar.arguments import Count, Positive
from cnnlab.grammar.calls import Call, Value, format_value, parse_call
from cnnlab.grammar.registry import Choice, Registry
from cnnlab.grammar.validation_errors import format_received, value_error

MAX_OPTIONS = 1_000
# A value of a parameter as a sampler keeps it.
ScalarValue: TypeAlias = int | float | bool | str
Factor: TypeAlias = Annotated[int, Field(ge=2, le=10)]

spaces: Registry[Any] = Registry("search space")
pruners: Registry[Any] = Registry("pruner")


@spaces.register("log")
class LogUniformSpace(Choice):
    """Log-uniform numbers: as many between 0.001 and 0.01 as between 0.01 and 0.1."""

    low: Positive
    high: Positive

    def __post_init__(self) -> None:
        _check_order(self.low, self.high)

    def bounds(self) -> tuple[ScalarValue, ...]:
        """The smallest and the largest value."""
        return (self.low, self.high)

    def values(self) -> tuple[ScalarValue, ...] | None:
        """None: the values can't be listed."""
        return None


@spaces.register("uniform")
class UniformSpace(Choice):
    """Uniform numbers; with a step, `low` plus whole steps."""

    low: float
    high: float
    step: Positive | None = None

    def __post_init__(self) -> None:
        _check_order(self.low, self.high, self.step)

    def bounds(self) -> tuple[ScalarValue, ...]:
        """The smallest and the largest value."""
        return (self.low, (self.values() or (self.high,))[-1])

    def values(self) -> tuple[ScalarValue, ...] | None:
        """Every value; None without a step."""
        if self.step is None:
            return None
        count = math.floor((self.high - self.low) / self.step * (1 + 1e-12) + 1e-9) + 1
        # Twelve digits: 0.3, and not 0.30000000000000004.
        return tuple(float(f"{self.low + number * self.step:.12g}") for number in range(count))


@spaces.register("integer")
class IntegerSpace(Choice):
    """Whole numbers, uniform, or log-uniform with `log`; with a step, `low` plus whole steps."""

    low: int
    high: int
    step: Count = 1
    log: bool = False

    def __post_init__(self) -> None:
        _check_order(self.low, self.high, self.step)
        if self.log and (self.low < 1 or self.step != 1):
            raise SpecError(
                "whole numbers by their logarithm begin at 1 and have no step",
                received=format_received(spaces.to_call(self)),
                allowed="a low of 1 or more, step=1",
            )

    def bounds(self) -> tuple[ScalarValue, ...]:
        """The smallest and the largest value."""
        return (self.low, range(self.low, self.high + 1, self.step)[-1])

    def values(self) -> tuple[ScalarValue, ...]:
        """Every value."""
        return tuple(range(self.low, self.high + 1, self.step))


@spaces.register("choice")
class CategoricalSpace(Choice):
    """One of the values that are listed: numbers, texts, lists, and calls with arguments of their own."""

    options: Annotated[tuple[Any, ...], BeforeValidator(lambda value: _check_options(value))]

    def bounds(self) -> tuple[ScalarValue, ...]:
        """Every option."""
        return self.values()

    def values(self) -> tuple[ScalarValue, ...]:
        """Every option, as a sampler keeps it: calls and lists as their text."""
        return tuple(option if _is_scalar(option) else format_value(option) for option in self.options)

    def option(self, value: ScalarValue) -> Value:
        """The option of a sampler's value."""
        return self.options[self.values().index(value)]  # type: ignore[no-any-return]


@pruners.register("none")
class NoPruner(Choice):
    """No trial is ended early."""


@pruners.register("median")
class MedianPruner(Choice):
    """End a trial whose best metric is worse than the median of earlier trials after as many epochs.

    No trial is ended in its first `warmup` epochs, nor before `startup` trials have finished.
    """

    warmup: Annotated[int, Field(ge=0, le=10_000)] = 1
    startup: Count = 5


@pruners.register("halving")
class SuccessiveHalvingPruner(Choice):
    """Of the trials that reach `first` epochs, continue one in `factor` to `factor` times as many, and so on.

    L. Li et al.: A system for massively parallel hyperparameter tuning, MLSys 2020.
    """

    first: Count = 1
    factor: Factor = 3


Sampler: TypeAlias = Literal["tpe", "random", "grid"]


def read_space(value: Any) -> Any:
    """The space in a text, `log(1e-4, 1e-1)`; a list of values is a choice of them.

    >>> read_space("choice(16, 32, 64)").values(), read_space([True, False]).values()
    ((16, 32, 64), (True, False))

    Raises:
        SpecError: there is no such space, or its numbers don't fit together.
    """
    if type(value) in spaces.kinds.values():
        return value
    if isinstance(value, list | tuple):
        return spaces.read(Call(CategoricalSpace.kind, (_as_value(value),)))
    if not isinstance(value, str):
        raise SpecError(
            "this is no search space",
            received=format_received(value),
            allowed="a text or a list",
            next_step='write it as in "log(1e-4, 1e-1)", "uniform(0, 0.6)", "integer(8, 128)" or [16, 32, 64]',
        )
    call = parse_call(value)
    is_list = len(call.positional) == 1 and isinstance(call.positional[0], tuple)
    if call.name == CategoricalSpace.kind and not call.named and not is_list:
        call = Call(call.name, (call.positional,))
    return spaces.read(call)


def write_space(space: Any) -> str:
    """The text that `read_space` reads as an equal space.

    >>> write_space(read_space("choice(16, 32)")), write_space(read_space("integer(8, 128, log=true)"))
    ('choice(16, 32)', 'integer(8, 128, log=true)')
    """
    call = spaces.to_call(space)
    if isinstance(space, CategoricalSpace):
        call = Call(call.name, space.options if len(space.options) > 1 else (space.options,))
    return str(call)


def _as_value(value: Any) -> Value:
    return tuple(map(_as_value, value)) if isinstance(value, list | tuple) else value


def _is_scalar(value: Any) -> bool:
    return isinstance(value, int | float | bool | str)


def _check_options(value: Any) -> tuple[Value, ...]:
    """Options that differ, also for a sampler, for which a call is its text."""
    found = tuple(value) if isinstance(value, list | tuple) else ()
    kept = {option if _is_scalar(option) else format_value(option) for option in found if option is not None}
    if not 1 <= len(found) <= MAX_OPTIONS or len(kept) < len(found):
        raise value_error("values, each once, as in choice(16, 32, 64) or choice('relu', 'gelu'), and not none")
    return found


def _check_order(low: float, high: float, step: float | None = None) -> None:
    if not low < high:
        raise SpecError("a search goes from a low value to a higher one", received=f"{low:g} to {high:g}")
    if step is not None and step > (high - low) * (1 + 1e-9):
        raise SpecError("the step is larger than the range", received=f"{step:g}", allowed=f"up to {high - low:g}")
