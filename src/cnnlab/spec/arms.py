"""The arms of a study: recipes that differ from a base by dotted keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import field_validator

from cnnlab.errors import SpecError, listed, nearest
from cnnlab.spec.changes import EXPERIMENT
from cnnlab.spec.files import override, read_tables, shipped
from cnnlab.spec.problems import refuse, shown
from cnnlab.spec.recipe import Recipe
from cnnlab.spec.section import Section

# An arm's key that names a recipe instead of the base.
RECIPE = "recipe"
# What a study sets itself in every run, and what an arm is to do instead.
OWN_KEYS = {
    "train.seed": "every arm runs with the study's seeds: seeds = …",
    "train.test": "the test set is sealed in a study; `confirm` opens it for the winner",
}
Changes: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """One recipe of a study: what it changes of the base, and, in a dose curve, its dose."""

    name: str
    recipe: Recipe
    changes: Changes
    dose: float | None = None


class Doses(Section):
    """One key over a list of values, in rising order: a dose curve."""

    key: str
    values: tuple[int | float, ...]

    @field_validator("values", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("values")
    @classmethod
    def _rising(cls, value: tuple[int | float, ...]) -> tuple[int | float, ...]:
        if len(value) < 2 or any(first >= second for first, second in pairwise(value)):
            raise refuse("two numbers or more, each above the one before it")
        return value


def base_recipe(path: Path, name: Any, shared: Changes, where: str = "base") -> Recipe:
    """The recipe that a study names, with the changes that all its arms share."""
    tables = dict(name) if isinstance(name, dict) else read_tables(_recipe_file(path, name, where))
    with within("set"):
        for key, value in shared.items():
            override(tables, key, value)
    with within(where):
        return Recipe.from_tables(tables)


def _recipe_file(path: Path, name: Any, where: str) -> Path:
    if not isinstance(name, str) or not name:
        step = 'name the recipe that the arms change: base = "lenet.toml"'
        what = f"'{where}' is missing" if name is None else f"'{where}' is not a file's name"
        raise SpecError(what, where=where, received="" if name is None else shown(name), next_step=step)
    known = sorted(file.name for file in shipped("any").parent.glob("*.toml"))
    full = name if name.endswith(".toml") else f"{name}.toml"
    if _is_file(path.parent / full):
        return path.parent / full
    if full in known:
        return shipped(full.removesuffix(".toml"))
    step = nearest(full, known) or "give its path as seen from this file, or the name of one that comes with cnnlab"
    what = f"'{where}' names a file that is not there"
    raise SpecError(what, where=where, received=shown(name), allowed=listed(known), next_step=step)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def dotted(changes: Mapping[str, Any]) -> Changes:
    """Changes by dotted key: `train.epochs = 3` without quotes is a table in a table for TOML, and is meant the same.

    >>> dotted({"train": {"epochs": 3}, "model.values": {"p": 0.1}})
    {'train.epochs': 3, 'model.values': {'p': 0.1}}
    """
    found: Changes = {}
    for key, value in changes.items():
        if isinstance(value, dict) and value and "." not in key and key != RECIPE:
            found |= {f"{key}.{rest}": inner for rest, inner in dotted(value).items()}
        else:
            found[key] = value
    return found


def changed(base: Recipe, changes: Changes) -> Recipe:
    """The base with the changes, by dotted key; a `recipe` among them takes the base's place first."""
    rest = dict(changes)
    own = rest.pop(RECIPE, base)
    if not isinstance(own, Recipe):
        step = "in a study's file give a recipe's name, from Python a Recipe"
        raise SpecError("this is not a recipe", where=RECIPE, received=shown(own), next_step=step)
    # What is said of the base is not said of its arms.
    tables = {key: table for key, table in own.to_tables().items() if key in EXPERIMENT}
    for key, value in rest.items():
        _check_key(key)
        override(tables, key, value)
    return Recipe.from_tables(tables)


def _check_key(key: str) -> None:
    if key in OWN_KEYS:
        raise SpecError("a study sets this itself", where=key, next_step=OWN_KEYS[key])
    if key.partition(".")[0] == "claims":
        what, step = "published figures of an arm don't stand in it", "write them in the study: [claims.ARM]"
        raise SpecError(what, where=key, next_step=step)


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
