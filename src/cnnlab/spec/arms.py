"""The arms of a study: recipes that differ from a base by dotted keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from cnnlab.errors import SpecError, listed, nearest
from cnnlab.spec.files import override, read_tables, shipped
from cnnlab.spec.problems import shown
from cnnlab.spec.recipe import Recipe

# An arm's key that names a recipe instead of the base.
RECIPE = "recipe"
Changes: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """One recipe of a study: what it changes of the base, and, in a dose curve, its dose."""

    name: str
    recipe: Recipe
    changes: Changes
    dose: float | None = None


def base_recipe(path: Path, name: Any, shared: Changes, where: str = "base") -> Recipe:
    """The recipe that a study names, with the changes that all its arms share."""
    tables = dict(name) if isinstance(name, dict) else read_tables(_recipe_file(path, name, where))
    for key, value in shared.items():
        with within("set"):
            override(tables, key, value)
    with within(where):
        return Recipe.from_tables(tables)


def _recipe_file(path: Path, name: Any, where: str) -> Path:
    if not isinstance(name, str) or not name:
        step = 'name the recipe that the arms change: base = "lenet.toml"'
        what = f"'{where}' is missing" if name is None else f"'{where}' is not a file's name"
        raise SpecError(what, where=where, received="" if name is None else shown(name), next_step=step)
    for found in (path.parent / name, shipped(Path(name).stem)):
        if found.is_file():
            return found
    known = sorted(file.name for file in shipped("any").parent.glob("*.toml"))
    step = nearest(name, known) or "give its path as seen from this file, or the name of one that comes with cnnlab"
    what = f"'{where}' names a file that is not there"
    raise SpecError(what, where=where, received=name, allowed=listed(known), next_step=step)


def changed(base: Recipe, changes: Changes) -> Recipe:
    """The base with the changes, by dotted key; a `recipe` among them takes the base's place first."""
    rest = dict(changes)
    own = rest.pop(RECIPE, base)
    tables: dict[str, Any] = own.to_tables()
    for key, value in rest.items():
        override(tables, key, value)
    return Recipe.from_tables({key: tables[key] for key in ("data", "model", "train") if key in tables})


@contextmanager
def within(place: str) -> Iterator[None]:
    """Within it, problems are told as those of a place."""
    try:
        yield
    except SpecError as error:
        raise SpecError.together(problem.within(place) for problem in error.problems) from None


def plain_changes(changes: Changes) -> Changes:
    """The changes as TOML can hold them."""
    return {key: value.to_tables() if isinstance(value, Recipe) else value for key, value in changes.items()}
