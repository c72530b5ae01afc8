"""Registries of choices: each converts calls to frozen choices and back."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.dataclasses import rebuild_dataclass
from pydantic_core import ArgsKwargs, core_schema

from cnnlab.errors import Problem, SpecError, comma_separated, did_you_mean
from cnnlab.grammar.calls import Call, Value, format_value, parse_call
from cnnlab.grammar.validation_errors import format_received, spec_error

T = TypeVar("T")
# Validators are built when a choice is first used: most recipes use few of them.
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class Choice:
    """The base of choices. `kind` is the name in a recipe.

    An optimizer may have the range of its usual learning rates (`typical_lr`), and an augmentation may mirror left and
    right (`flips_horizontally`).
    """

    kind: ClassVar[str]
    typical_lr: ClassVar[tuple[float, float] | None] = None
    flips_horizontally: ClassVar[bool] = False


class Registry(Generic[T]):
    """The choices of one kind, by name.

    A choice is a frozen dataclass: its fields are the arguments, in the order of the call. A field of a section or of
    another choice has the annotation `Annotated[Any, registry]`.
    """

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self.kinds: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Register a class under a name, as a frozen dataclass whose values are checked."""
        assert name not in self.kinds, name

        def register(cls: type[Any]) -> type[Any]:
            made: Any = pydantic_dataclass(frozen=True, config=_STRICT)(cls)
            made.__init__ = _checking_init(made)
            made.kind = name
            self.kinds[name] = made
            return made  # type: ignore[no-any-return]

        return register

    def read(self, call: Call | str) -> T:
        """Convert a call to a choice.

        Raises:
            SpecError: an unknown name or argument, or a value that is not allowed; all arguments are checked.
        """
        call = call if isinstance(call, Call) else parse_call(call)
        if call.name not in self.kinds:
            raise SpecError(
                f"unknown {self.noun} '{call.name}'",
                received=format_received(call),
                allowed=comma_separated(self.kinds),
                next_step=did_you_mean(call.name, self.kinds),
            )
        kind = self.kinds[call.name]
        arguments = self._bind(call, kind)
        try:
            return kind(**arguments)
        except SpecError as error:
            raise SpecError.from_problems(self._call_problem(problem, call) for problem in error.problems) from None

    def to_call(self, choice: T, *, defaults: bool = False) -> Call:
        """The call of a choice, which `read` converts back: the shortest, or one with all defaults."""
        values = {field: getattr(choice, field.name) for field in dataclasses.fields(choice)}  # type: ignore[arg-type]
        required = tuple(
            self._to_value(value, defaults) for field, value in values.items() if field.default is dataclasses.MISSING
        )
        named = {
            field.name: self._to_value(value, defaults)
            for field, value in values.items()
            if field.default is not dataclasses.MISSING and (defaults or value != field.default)
        }
        return Call(choice.kind, required, named)  # type: ignore[attr-defined]

    def signature(self, name: str) -> str:
        """A call with all arguments and their defaults, for documentation."""
        arguments = []
        for field in dataclasses.fields(self.kinds[name]):  # type: ignore[arg-type]
            default = "" if field.default is dataclasses.MISSING else f"={format_value(self._to_value(field.default))}"
            arguments.append(f"{field.name}{default}")
        return f"{name}({', '.join(arguments)})"

    def describe(self, name: str) -> str:
        """The first line of a choice's documentation."""
        return (inspect.getdoc(self.kinds[name]) or "").split("\n")[0]

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        """The schema of a field `Annotated[Any, registry]`, which reads a text or takes a choice itself."""

        def validate(value: Any) -> Any:
            return value if type(value) in self.kinds.values() else self.read(value)

        return core_schema.no_info_plain_validator_function(
            validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: str(self.to_call(value, defaults=True)), return_schema=core_schema.str_schema()
            ),
        )

    def _bind(self, call: Call, kind: type[T]) -> dict[str, Value]:
        names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
        if len(call.positional) > len(names):
            raise SpecError(
                f"{call.name} takes at most {len(names)} arguments, not {len(call.positional)}",
                received=format_received(call),
                allowed=self.signature(call.name),
            )
        bound = dict(zip(names, call.positional, strict=False))
        twice = sorted(bound.keys() & call.named.keys())
        if twice:
            raise SpecError(
                f"'{twice[0]}' is given twice", received=format_received(call), allowed=self.signature(call.name)
            )
        return {**bound, **call.named}

    def _call_problem(self, problem: Problem, call: Call) -> Problem:
        """The problem of an argument with its call; for a missing or unknown one, with the signature."""
        if problem.what.startswith("unknown key"):
            what = problem.what.replace("unknown key", f"{call.name} has no argument")
        elif problem.what.endswith("is missing"):
            what = f"{call.name} needs {problem.what.removesuffix(' is missing')}"
        else:
            # Only layer tables have names for values.
            step = problem.next_step if self.noun == "layer" or "has no value" not in problem.what else ""
            return dataclasses.replace(problem, received=problem.received or format_received(call), next_step=step)
        return dataclasses.replace(
            problem, what=what, where="", received=format_received(call), allowed=self.signature(call.name)
        )

    def _to_value(self, value: Any, defaults: bool = False) -> Value:
        if type(value) in self.kinds.values():  # a choice within a choice
            return self.to_call(value, defaults=defaults)
        if isinstance(value, tuple):
            square = len(value) == 2 and value[0] == value[1] and isinstance(value[0], int)
            return value[0] if square else tuple(self._to_value(item) for item in value)
        if dataclasses.is_dataclass(value) and hasattr(value, "as_call"):
            return value.as_call()  # type: ignore[no-any-return]
        return value  # type: ignore[no-any-return]


def _checking_init(kind: Any) -> Callable[..., None]:
    """An `__init__` that raises SpecError, and whose own argument names can't clash with those of a call."""

    def __init__(made: Any, /, *positional: Any, **named: Any) -> None:  # noqa: N807
        if not kind.__pydantic_complete__:
            rebuild_dataclass(kind)
            kind.__init__ = __init__  # building puts pydantic's own in its place
        try:
            kind.__pydantic_validator__.validate_python(ArgsKwargs(positional, named), self_instance=made)
        except ValidationError as error:
            raise spec_error(error, kind.__pydantic_fields__) from None

    return __init__
