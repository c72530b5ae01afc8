"""The one door through which pydantic's errors become cnnlab's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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


def problems_of(error: ValidationError, names_at: Callable[[Place], Iterable[str]]) -> tuple[Problem, ...]:
    """Every problem of one validation.

    Args:
        names_at: the names allowed at a place, for "did you mean" when one is unknown.
    """
    found: list[Problem] = []
    for details in error.errors(include_url=False):
        inner: tuple[Problem, ...] = details.get("ctx", {}).get("problems", ())
        where = _path(details["loc"])
        found += [problem.within(where) for problem in inner] if inner else [_problem(details, names_at)]
    return tuple(found)


def collected(error: SpecError) -> PydanticCustomError:
    """A cnnlab error as one that pydantic collects together with the others of the same object."""
    return PydanticCustomError("problems", "several problems", {"problems": error.problems})


def _problem(details: ErrorDetails, names_at: Callable[[Place], Iterable[str]]) -> Problem:
    where, received = _path(details["loc"]), details["input"]
    name = _path(_last_name(details["loc"]))
    if details["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        names = list(names_at(details["loc"][:-1]))
        return Problem(f"unknown key '{name}'", where, "", listed(names), nearest(name, names))
    if details["type"].startswith("missing"):
        return Problem(f"'{name}' is missing", where)
    if isinstance(received, Call) and received.is_bare:
        return Problem(
            f"'{received.name}' has no value",
            where,
            allowed=_allowed(details["msg"]),
            next_step=f"write a value, or name it in [model]: values = {{ {received.name} = … }}",
        )
    return Problem(f"'{name}' can't be {shown(received)}", where, allowed=_allowed(details["msg"]))


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
    text = message.removeprefix("Input should be ").partition(" or instance of ")[0]
    return _WORDS.get(text, text)


def _last_name(loc: Place) -> Place:
    return loc[-2:] if loc and isinstance(loc[-1], int) else loc[-1:]


def _path(loc: Place) -> str:
    path = ""
    for part in loc:
        path = join_place(path, f"[{part}]" if isinstance(part, int) else str(part))
    return path
