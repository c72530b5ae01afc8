"""Convert pydantic's errors to those of cnnlab."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from cnnlab.errors import Problem, SpecError, comma_separated, did_you_mean, join_location
from cnnlab.grammar.calls import Call, Value, format_value

ErrorLocation = tuple[int | str, ...]

_WORDING = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "a text",
    "a valid boolean": "true or false",
    "a valid tuple": "a [list]",
    "a valid dictionary": "a table",
}


# Errors about numbers: what is allowed is then the whole range, not only the bound that was crossed.
_NUMBER_ERRORS = frozenset(
    (
        *("int_type", "int_from_float", "float_type", "finite_number"),
        *("greater_than", "greater_than_equal", "less_than", "less_than_equal"),
    )
)


def spec_error(
    error: ValidationError,
    fields: Mapping[str, FieldInfo],
    extra_keys: Iterable[str] = (),
    renamed_keys: Mapping[str, str] = MappingProxyType({}),
) -> SpecError:
    """One error with every problem of a validation, those of nested objects included.

    Args:
        fields: the fields of the object, for "did you mean" and the ranges of numbers.
        extra_keys: other names that are allowed in the file.
        renamed_keys: names of an earlier version, and their new names.
    """
    names = [*fields, *extra_keys]
    found: list[Problem] = []
    for details in error.errors(include_url=False):
        inner = details.get("ctx", {}).get("error")
        if isinstance(inner, SpecError):
            found += [problem.with_prefix(_path(details["loc"])) for problem in inner.problems]
        else:
            found.append(_problem(details, names, fields, renamed_keys))
    return SpecError.from_problems(found)


def value_error(allowed: str) -> PydanticCustomError:
    """The error of a validator: what is allowed."""
    return PydanticCustomError("not_allowed", "{allowed}", {"allowed": allowed})


def _problem(
    details: ErrorDetails, names: list[str], fields: Mapping[str, FieldInfo], renamed_keys: Mapping[str, str]
) -> Problem:
    where, received = _path(details["loc"]), details["input"]
    name = _path(_last_name(details["loc"]))
    if details["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        if name in renamed_keys:
            step = f"write '{renamed_keys[name]}'"
            return Problem(f"'{name}' is called '{renamed_keys[name]}' now", where, next_step=step)
        return Problem(f"unknown key '{name}'", where, "", comma_separated(names), did_you_mean(name, names))
    if details["type"].startswith("missing"):
        field = fields.get(str(details["loc"][0]))
        return Problem(f"'{name}' is missing", where, next_step=(field.description if field else None) or "")
    allowed = _allowed_text(details["msg"])
    if details["type"] in _NUMBER_ERRORS and details["loc"][0] in fields:
        allowed = _field_range(fields[str(details["loc"][0])]) or allowed
    if details["type"] == "finite_number":
        allowed = allowed.replace("a number", "a finite number")
    if isinstance(received, Call) and received.is_bare and received.name.lower() not in ("nan", "inf", "infinity"):
        what = f"'{received.name}' has no value"
        return Problem(what, where, allowed=allowed, next_step=_naming_hint(received.name))
    return Problem(f"'{name}' can't be {format_received(received)}", where, "", allowed, _nearest_hint(details))


def integer_range(minimum: int, maximum: int | None) -> str:
    """The allowed range of a whole number, in words.

    >>> integer_range(1, 10_000), integer_range(0, None)
    ('a whole number from 1 to 10,000', 'a whole number from 0 on')
    """
    return (
        f"a whole number from {minimum:,} to {maximum:,}"
        if maximum is not None
        else f"a whole number from {minimum:,} on"
    )


def _field_range(field: FieldInfo) -> str:
    """The allowed range of a field, in words; "" if it has no bounds."""
    found = list(_ranges(field.annotation, field.metadata))
    return found[0] if len(found) == 1 else ""


def _ranges(annotation: Any, about: Iterable[Any]) -> Iterator[str]:
    """The ranges within an annotation, at any depth, as in `Annotated[int, Field(ge=1)] | None`."""
    bounds = {side: getattr(one, side) for one in about for side in ("ge", "gt", "le", "lt") if hasattr(one, side)}
    if bounds:
        yield _format_bounds(bounds, annotation is int)
    elif hasattr(annotation, "__metadata__"):
        inner, *fields = get_args(annotation)
        yield from _ranges(inner, [one for field in fields for one in getattr(field, "metadata", [field])])
    else:
        for inner in get_args(annotation):
            yield from _ranges(inner, ())


def _format_bounds(bounds: Mapping[str, Any], is_whole: bool) -> str:
    if is_whole:
        return integer_range(bounds["ge"], bounds.get("le"))
    if {"ge", "le"} <= bounds.keys():
        return f"a number from {bounds['ge']:g} to {bounds['le']:g}"
    words = {"ge": "from {:g}", "gt": "above {:g}", "le": "up to {:g}", "lt": "below {:g}"}
    limits = [text.format(bounds[side]) for side, text in words.items() if side in bounds]
    return f"a number {', '.join(limits)}" + (" on" if bounds.keys() == {"ge"} else "")


def _naming_hint(name: str) -> str:
    hint = did_you_mean(name, ["classes"])
    step = f"write a value, or name it in [model]: values = {{ {name} = … }}; a text stands in quotes: '{name}'"
    return f"{hint} otherwise {step}" if hint else step


def _nearest_hint(details: ErrorDetails) -> str:
    """The most similar of the words that a key allows."""
    if details["type"] != "literal_error" or not isinstance(details["input"], str):
        return ""
    return did_you_mean(details["input"], re.findall(r"'([^']*)'", details["ctx"]["expected"]))


def format_received(value: Any) -> str:
    """A received value for an error message: as it was written, shortened."""
    try:
        text = format_value(_as_value(value))
    except TypeError:
        text = repr(value)
    return text if len(text) <= 120 else text[:117] + "…"


def _as_value(value: Any) -> Value:
    if isinstance(value, list | tuple):
        return tuple(_as_value(item) for item in value)
    if value is None or isinstance(value, int | float | str | bool | Call):
        return value
    raise TypeError


def _allowed_text(message: str) -> str:
    text = message.removeprefix("Input should be ").removeprefix("String should have ").partition(" or instance of ")[0]
    return _WORDING.get(text, text)


def _last_name(loc: ErrorLocation) -> ErrorLocation:
    return loc[-2:] if loc and isinstance(loc[-1], int) else loc[-1:]


def _path(loc: ErrorLocation) -> str:
    path = ""
    for part in loc:
        path = join_location(path, f"[{part}]" if isinstance(part, int) else str(part))
    return path
