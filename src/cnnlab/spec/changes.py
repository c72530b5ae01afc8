"""What one recipe has otherwise than another, and how `--set` says it."""

from __future__ import annotations

import json
import re
from typing import Any

from cnnlab.spec.augmentations import augmentations
from cnnlab.spec.choices import optimizers, schedules, stops
from cnnlab.spec.keeping import keepings
from cnnlab.spec.limits import budgets
from cnnlab.spec.losses import losses
from cnnlab.spec.recipe import Recipe
from cnnlab.spec.registry import Registry
from cnnlab.spec.regularisers import averages, mixes
from cnnlab.spec.trainable import policies

# What makes an experiment; claims and warnings only speak of it, and seeds repeat it.
EXPERIMENT = ("data", "model", "train")
SEED = "train.seed"
# A recipe spells out the defaults of these calls; a change is told without them.
CALLS: dict[str, Registry[Any]] = {
    "data.augment": augmentations,
    "train.optimizer": optimizers,
    "train.schedule": schedules,
    "train.loss": losses,
    "train.mix": mixes,
    "train.stop": stops,
    "train.budget": budgets,
    "train.average": averages,
    "train.cache": keepings,
    "model.trainable": policies,
}


def settings(recipe: Recipe) -> dict[str, Any]:
    """A recipe's experiment by dotted key, without its seed and without what is not set; the source by its file name.

    Two recipes of one experiment have the same settings, wherever their data lies.
    """
    tables = recipe.to_tables()
    found = {f"{section}.{key}": value for section in EXPERIMENT for key, value in tables.get(section, {}).items()}
    found.pop(SEED)
    for key in CALLS.keys() & found.keys():
        found[key] = _shortest(CALLS[key], found[key])
    return {**found, "data.source": file_name(recipe.data.source)}


def changes(recipe: Recipe, base: Recipe) -> dict[str, Any] | None:
    """What makes `recipe` of `base`, by dotted key and apart from the seed.

    None: `base` sets what `recipe` leaves open, which no change can say.
    """
    ours, theirs = settings(recipe), settings(base)
    if theirs.keys() - ours.keys():
        return None
    return {key: value for key, value in ours.items() if key not in theirs or theirs[key] != value}


def as_setting(key: str, value: Any) -> str:
    """KEY=VALUE as `--set` takes it: a text is bare, unless it would be read as something else.

    >>> as_setting("train.optimizer", "sgd(0.1)"), as_setting("data.classes", ["cat", "dog"])
    ('train.optimizer=sgd(0.1)', 'data.classes=["cat", "dog"]')
    """
    bare = isinstance(value, str) and re.fullmatch(r"(?!true$|false$|inf$|nan$)[^\W\d_].*", value)
    return f"{key}={value if bare else _toml(value)}"


def file_name(source: str) -> str:
    """A source without the folders that it lies in: `cifar10`, `faces.zip`."""
    return re.split(r"[/\\]", source.rstrip("/\\"))[-1] or source


def _shortest(registry: Registry[Any], written: Any) -> Any:
    if isinstance(written, list):
        return [_shortest(registry, call) for call in written]
    return str(registry.write(registry.read(written)))


def _toml(value: Any) -> str:
    """A value as TOML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(str(key))} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)
