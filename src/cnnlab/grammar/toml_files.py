"""Read recipes, studies and searches from TOML files: within limits, merged with their bases, with overrides."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from cnnlab.errors import Problem, SourceError, SpecError, UsageError, did_you_mean
from cnnlab.grammar.validation_errors import format_received

UsageErrorT = TypeVar("UsageErrorT", bound=UsageError)

MAX_FILE_BYTES = 100_000
MAX_BASES = 5
MAX_LISTED = 12  # files of a folder in an error
# The keys by which the kinds of files are recognised; the base of a study or a search is a recipe.
FILE_KINDS: dict[str, frozenset[str]] = {
    "study": frozenset(("arms", "grid", "sweep", "doses", "seeds", "says")),
    "search": frozenset(("search", "trials", "sampler", "pruner")),
    "recipe": frozenset(("model", "train")),
}
MAX_NESTING = 20
# tomllib needs time and memory with the square of a key's length: "a.a.a…" of 60 kB takes gigabytes.
MAX_DOTS = 1_000


def bundled_recipe(name: str) -> Path:
    """The path of a recipe that comes with cnnlab, in the installed package or the checkout."""
    return _bundled("recipes", name)


def bundled_study(name: str) -> Path:
    """The path of a study that comes with cnnlab, as `bundled_recipe` of a recipe."""
    return _bundled("studies", name)


def bundled_search(name: str) -> Path:
    """The path of a search that comes with cnnlab, as `bundled_recipe` of a recipe."""
    return _bundled("searches", name)


def read_tables(path: Path) -> dict[str, Any]:
    """The tables of a file; with `base = "other.toml"` they are merged into those of that file.

    Raises:
        SpecError: the file, or one that it is based on, can't be read; `where` begins with that file.
    """
    return _read_tables(path, depth=0)


def parse_toml(text: str) -> dict[str, Any]:
    """The tables in a TOML text.

    Raises:
        SpecError: it is not TOML, or nested too deeply.
    """
    if any(line.count(".") > MAX_DOTS for line in text.splitlines()):
        raise SpecError("a line has too many dots", allowed=f"up to {MAX_DOTS:,} in a line")
    try:
        tables = tomllib.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        quotes = "put every text in quotes, also within lists; https://toml.io has the notation"
        step = "leave one of the two out" if "overwrite" in str(error) else quotes
        raise SpecError(f"this is not TOML: {error}", received=_error_line(str(error), text), next_step=step) from None
    if _is_too_deep(tables):
        raise SpecError("tables and lists are nested too deeply", allowed=f"up to {MAX_NESTING} levels")
    return tables


def read_text(path: Path) -> str:
    """A file's text; errors as `read_tables`, without the file."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        nearby = sorted(found.name for found in path.parent.glob("*.toml") if found.is_file())
        step = (
            did_you_mean(path.stem, [name.removesuffix(".toml") for name in nearby])
            or "give the path of a .toml file; for images: cnnlab new FILE --source PATH"
        )
        here = f"in {path.parent}: {', '.join(nearby[:MAX_LISTED])}" if nearby else ""
        reason = getattr(error, "strerror", None) or error
        raise SpecError(f"this file can't be read: {reason}", allowed=here, next_step=step) from None
    if len(content) > MAX_FILE_BYTES:
        raise SpecError(
            "this file is too large for a recipe, a study or a search",
            allowed=f"up to {MAX_FILE_BYTES:,} bytes",
            next_step="give the path of a .toml file; images are named in one: cnnlab new FILE --source PATH writes it",
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        received = f"the byte 0x{content[error.start]:02x} in line {line:,}"
        raise SpecError("this file is not UTF-8 text", received=received, next_step="save it as UTF-8") from None


def expect_kind(wanted: str, tables: Mapping[str, Any]) -> None:
    """Refuse a file of another kind with one error, instead of one for each of its keys.

    Args:
        wanted: recipe, study or search.

    Raises:
        SpecError: the tables are those of another kind.
    """
    found = next((kind for kind, keys in FILE_KINDS.items() if not keys.isdisjoint(tables)), wanted)
    if found != wanted:
        command = {"recipe": "train", "study": "study", "search": "tune"}[found]
        raise SpecError(f"this is a {found}, and a {wanted} is needed", next_step=f"cnnlab {command} FILE")


def override(tables: dict[str, Any], key: str, value: Any) -> None:
    """Set one value by its dotted key, in place.

    Raises:
        SpecError: the key has no section, or a part of it is not a table.
    """
    *path, last = key.split(".")
    if not path:
        raise SpecError(
            "a key to set is dotted",
            where=key,
            allowed="section.key",
            next_step=f"add the section, as in train.{key} or data.{key}",
        )
    table = tables
    for name in path:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise SpecError(f"in '{key}', '{name}' is not a table", where=key)
    table[last] = value


def locate_in_file(error: UsageErrorT, path: str | Path) -> UsageErrorT:
    """The same problems with the file before each key; problems of data files are unchanged."""

    def located(problem: Problem) -> Problem:
        if isinstance(error, SourceError) and not problem.where.startswith("data."):
            return problem
        return replace(problem, where=f"{path}: {problem.where}" if problem.where else str(path))

    return type(error).from_problems(map(located, error.problems))


def _bundled(folder: str, name: str) -> Path:
    inside = Path(__file__).parents[1] / "shipped" / folder
    return (inside if inside.is_dir() else Path(__file__).parents[3] / folder) / f"{name}.toml"


def _read_tables(path: Path, depth: int) -> dict[str, Any]:
    try:
        tables = parse_toml(read_text(path))
        base = tables.pop("base", None)
        if base is None:
            return tables
        if not isinstance(base, str) or depth == MAX_BASES:
            allowed = f"the path of a recipe, at most {MAX_BASES} in a row"
            raise SpecError(f"'base' can't be {format_received(base)}", where="base", allowed=allowed)
    except SpecError as error:
        raise locate_in_file(error, path) from None
    if not (path.parent / base).is_file():
        what = f"'base' names a file that does not exist: {base}"
        raise locate_in_file(SpecError(what, where="base", next_step="give its path relative to this file"), path)
    return _merge_tables(_read_tables(path.parent / base, depth + 1), tables)


def _merge_tables(base: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in overrides.items():
        inner = merged.get(name)
        both = isinstance(inner, dict) and isinstance(value, dict)
        merged[name] = _merge_tables(inner, value) if both else value  # type: ignore[arg-type]
    return merged


def _error_line(message: str, text: str) -> str:
    """The line of a TOML error."""
    found = re.search(r"at line (\d+)", message)
    lines = text.splitlines()
    return lines[int(found[1]) - 1].strip()[:120] if found and int(found[1]) <= len(lines) else ""


def _is_too_deep(tables: dict[str, Any]) -> bool:
    level: list[Any] = [tables]
    for _ in range(MAX_NESTING):
        inner = [value.values() if isinstance(value, dict) else value for value in level]
        level = [
            one for values in inner if not isinstance(values, str) and isinstance(values, Iterable) for one in values
        ]
    return bool(level)
