"""The one door through which pydantic's errors become cnnlab's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from cnnlab.errors import Problem, SpecError, join_place, listed, nearest
from cnnlab.spec.calls import Call, Value, write

Place = tuple[int | str, ...]

_WORDS = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "a text",
    "a valid boolean": "true or false",
    "a valid tuple": "a [list]",
    "a valid dictionary": "a table",
}


def spec_error(error: ValidationError, names: Iterable[str]) -> SpecError:
    """Every problem of one validation, those of nested objects included, as one error.

    Args:
        names: the names that the object has, for "did you mean" when one is unknown.
    """
    found: list[Problem] = []
    for details in error.errors(include_url=False):
        inner = details.get("ctx", {}).get("error")
        if isinstance(inner, SpecError):
            found += [problem.within(_path(details["loc"])) for problem in inner.problems]
        else:
            found.append(_problem(details, list(names)))
    return SpecError.together(found)


def refuse(allowed: str) -> PydanticCustomError:
    """The error of a validator that only says what is allowed."""
    return PydanticCustomError("not_allowed", "{allowed}", {"allowed": allowed})


def _problem(details: ErrorDetails, names: list[str]) -> Problem:
    where, received = _path(details["loc"]), details["input"]
    name = _path(_last_name(details["loc"]))
    if details["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return Problem(f"unknown key '{name}'", where, "", listed(names), nearest(name, names))
    if details["type"].startswith("missing"):
        return Problem(f"'{name}' is missing", where)
    if isinstance(received, Call) and received.is_bare:
        return Problem(
            f"'{received.name}' has no value",
            where,
            allowed=_allowed(details["msg"]),
            next_step=_how_to_name(received.name),
        )
    return Problem(f"'{name}' can't be {shown(received)}", where, "", _allowed(details["msg"]), _nearest_of(details))


def _how_to_name(name: str) -> str:
    hint = nearest(name, ["classes"])
    step = f"write a value, or name it in [model]: values = {{ {name} = … }}; a text stands in quotes: '{name}'"
    return f"{hint} otherwise {step}" if hint else step


def _nearest_of(details: ErrorDetails) -> str:
    """The nearest of the words that a key allows, where it allows words."""
    if details["type"] != "literal_error" or not isinstance(details["input"], str):
        return ""
    return nearest(details["input"], re.findall(r"'([^']*)'", details["ctx"]["expected"]))


def shown(value: Any) -> str:
    """A received value as an error shows it: as the person wrote it, and not too long."""
    try:
        text = write(_as_value(value))
    except TypeError:
        text = repr(value)
    return text if len(text) <= 120 else text[:117] + "…"


def _as_value(value: Any) -> Value:
    if isinstance(value, list | tuple):
        return tuple(_as_value(item) for item in value)
    if value is None or isinstance(value, int | float | str | bool | Call):
        return value
    raise TypeError


def _allowed(message: str) -> str:
    text = message.removeprefix("Input should be ").removeprefix("String should have ").partition(" or instance of ")[0]
    return _WORDS.get(text, text)


def _last_name(loc: Place) -> Place:
    return loc[-2:] if loc and isinstance(loc[-1], int) else loc[-1:]


def _path(loc: Place) -> str:
    path = ""
    for part in loc:
        path = join_place(path, f"[{part}]" if isinstance(part, int) else str(part))
    return path
