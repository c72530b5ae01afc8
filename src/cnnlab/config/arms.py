"""The arms of a study: recipes that differ from a base by dotted keys, and the differences of two recipes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import field_validator

from cnnlab.config.backbones import cache_policies, trainable_choices
from cnnlab.config.image_changes import augmentations, mixing
from cnnlab.config.losses import losses
from cnnlab.config.optimizers import averaging, optimizers
from cnnlab.config.recipe import Recipe
from cnnlab.config.schedules import schedules
from cnnlab.config.stopping import budgets, stopping_rules
from cnnlab.errors import Problem, SpecError, comma_separated, did_you_mean
from cnnlab.grammar.registry import Registry
from cnnlab.grammar.section import Section
from cnnlab.grammar.toml_files import bundled_recipe, override, read_tables
from cnnlab.grammar.validation_errors import format_received, value_error

# An arm's key that names a recipe instead of the base.
RECIPE_KEY = "recipe"
# Keys that a study sets itself in every run, and what to write in their place.
RESERVED_KEYS = {
    "train.seed": "every arm runs with the study's seeds: seeds = …",
    "train.test": "the test set is sealed in a study; `confirm` opens it for the winner",
}
Changes: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """One recipe of a study: what it changes of the base and, in a sweep, the value of the swept key."""

    name: str
    recipe: Recipe
    changes: Changes
    sweep_value: float | None = None


class Sweep(Section):
    """One key over a list of values, in rising order."""

    key: str
    values: tuple[int | float, ...]

    @field_validator("values", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("values")
    @classmethod
    def _check_increasing(cls, value: tuple[int | float, ...]) -> tuple[int | float, ...]:
        if len(value) < 2 or any(first >= second for first, second in pairwise(value)):
            raise value_error("two numbers or more, each above the one before it")
        return value


def base_recipe(path: Path, name: Any, shared: Changes, where: str = "base") -> Recipe:
    """The recipe that a study names, with the changes that all its arms share."""
    tables = dict(name) if isinstance(name, dict) else read_tables(_recipe_file(path, name, where))
    with error_prefix("set"):
        for key, value in shared.items():
            override(tables, key, value)
    with error_prefix(where):
        return Recipe.from_tables(tables)


def _recipe_file(path: Path, name: Any, where: str) -> Path:
    if not isinstance(name, str) or not name:
        step = 'name the recipe that the arms change: base = "lenet.toml"'
        what = f"'{where}' is missing" if name is None else f"'{where}' is not a file's name"
        raise SpecError(what, where=where, received="" if name is None else format_received(name), next_step=step)
    known = sorted(file.name for file in bundled_recipe("any").parent.glob("*.toml"))
    full = name if name.endswith(".toml") else f"{name}.toml"
    if (path.parent / full).is_file():
        return path.parent / full
    if full in known:
        return bundled_recipe(full.removesuffix(".toml"))
    step = did_you_mean(full, known) or "give its path relative to this file, or the name of one that comes with cnnlab"
    what = f"'{where}' names a file that does not exist"
    raise SpecError(what, where=where, received=format_received(name), allowed=comma_separated(known), next_step=step)


def flatten_keys(changes: Mapping[str, Any]) -> Changes:
    """Flatten changes to dotted keys: in TOML `train.epochs = 3` without quotes is a table in a table.

    >>> flatten_keys({"train": {"epochs": 3}, "model.values": {"p": 0.1}})
    {'train.epochs': 3, 'model.values': {'p': 0.1}}
    """
    found: Changes = {}
    for key, value in changes.items():
        if isinstance(value, dict) and value and "." not in key and key != RECIPE_KEY:
            found |= {f"{key}.{rest}": inner for rest, inner in flatten_keys(value).items()}
        else:
            found[key] = value
    return found


def apply_changes(base: Recipe, changes: Changes) -> Recipe:
    """The base with changes by dotted key; a `recipe` among them replaces the base first."""
    rest = dict(changes)
    own = rest.pop(RECIPE_KEY, base)
    if not isinstance(own, Recipe):
        step = "in a study's file give a recipe's name, from Python a Recipe"
        raise SpecError("this is not a recipe", where=RECIPE_KEY, received=format_received(own), next_step=step)
    # Claims about the base do not hold for its arms.
    tables = {key: table for key, table in own.to_tables().items() if key in EXPERIMENT_SECTIONS}
    for key, value in rest.items():
        _check_key(key)
        override(tables, key, value)
    return Recipe.from_tables(tables)


def _check_key(key: str) -> None:
    if key in RESERVED_KEYS:
        raise SpecError("a study sets this itself", where=key, next_step=RESERVED_KEYS[key])
    if key.partition(".")[0] == "claims":
        what, step = "published figures of an arm don't stand in it", "write them in the study: [[claims]]"
        raise SpecError(what, where=key, next_step=step)


@contextmanager
def error_prefix(prefix: str) -> Iterator[None]:
    """Prefix the locations of all problems raised inside."""
    try:
        yield
    except SpecError as error:
        raise SpecError.from_problems(problem.with_prefix(prefix) for problem in error.problems) from None


def changes_to_tables(changes: Changes) -> Changes:
    """The changes as TOML can hold them."""
    return {key: value.to_tables() if isinstance(value, Recipe) else value for key, value in changes.items()}


def check_arm_names(kind: str, names: Sequence[str]) -> None:
    """Check that names are distinct and printable."""
    for name in names:
        if not name.strip() or not name.isprintable():
            what, allowed = "this can't be an arm's name", "a text on one line, not empty"
            raise SpecError(what, where=kind, received=repr(name), allowed=allowed)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SpecError("two arms are the same", where=kind, received=twice, allowed="each value once")


def unknown_arm(name: str, where: str, names: Iterable[str]) -> Problem:
    """The problem of a name that no arm has."""
    return Problem("the study has no such arm", where, name, comma_separated(names), did_you_mean(name, names))


# The sections that define an experiment; claims and warnings are about it, and seeds repeat it.
EXPERIMENT_SECTIONS = ("data", "model", "train")
SEED_KEY = "train.seed"
# Keys with calls: a recipe writes out their default arguments, a change leaves them out.
CALL_REGISTRIES: dict[str, Registry[Any]] = {
    "data.augment": augmentations,
    "train.optimizer": optimizers,
    "train.schedule": schedules,
    "train.loss": losses,
    "train.mix": mixing,
    "train.stop": stopping_rules,
    "train.budget": budgets,
    "train.average": averaging,
    "train.cache": cache_policies,
    "model.trainable": trainable_choices,
}


def experiment_settings(recipe: Recipe) -> dict[str, Any]:
    """A recipe's settings by dotted key, without the seed and unset keys; the source by its file name.

    Two recipes of one experiment have the same settings, wherever their data is.
    """
    tables = recipe.to_tables()
    found = {
        f"{section}.{key}": value for section in EXPERIMENT_SECTIONS for key, value in tables.get(section, {}).items()
    }
    found.pop(SEED_KEY)
    for key in CALL_REGISTRIES.keys() & found.keys():
        found[key] = _shortest_call(CALL_REGISTRIES[key], found[key])
    return {**found, "data.source": file_name(recipe.data.source)}


def diff_recipes(recipe: Recipe, base: Recipe) -> dict[str, Any] | None:
    """The changes by dotted key that turn `base` into `recipe`, apart from the seed.

    None: `base` sets a key that `recipe` leaves unset, which no change can express.
    """
    ours, theirs = experiment_settings(recipe), experiment_settings(base)
    if theirs.keys() - ours.keys():
        return None
    return {key: value for key, value in ours.items() if key not in theirs or theirs[key] != value}


def format_override(key: str, value: Any) -> str:
    """KEY=VALUE as `--set` takes it: a text is without quotes, unless it would be read as another type.

    >>> format_override("train.optimizer", "sgd(0.1)"), format_override("data.classes", ["cat", "dog"])
    ('train.optimizer=sgd(0.1)', 'data.classes=["cat", "dog"]')
    """
    bare = isinstance(value, str) and re.fullmatch(r"(?!true$|false$|inf$|nan$)[^\W\d_].*", value)
    return f"{key}={value if bare else _format_toml_value(value)}"


def file_name(source: str) -> str:
    """A source without its folders: `cifar10`, `faces.zip`."""
    return re.split(r"[/\\]", source.rstrip("/\\"))[-1] or source


def _shortest_call(registry: Registry[Any], written: Any) -> Any:
    if isinstance(written, list):
        return [_shortest_call(registry, call) for call in written]
    return str(registry.to_call(registry.read(written)))


def _format_toml_value(value: Any) -> str:
    """A value as TOML on one line."""
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{_format_toml_value(str(key))} = {_format_toml_value(inner)}" for key, inner in value.items())
            + "}"
        )
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_format_toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False)
