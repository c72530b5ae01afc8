"""What one recipe has otherwise than another, and how `--set` says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cnnlab.cli.options import overrides
from cnnlab.config.arms import CALL_REGISTRIES, diff_recipes, experiment_settings, file_name, format_override
from cnnlab.config.recipe import Data, Recipe, Train
from cnnlab.grammar.registry import Registry

RECIPES = Path(__file__).parents[2] / "recipes"
TEXTS = st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=("Cs",)))
PLAIN = st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


@given(VALUES)
@example("true")
@example("1")
@example("2020-01-01")
@example("sgd(0.1, momentum=0.9)")
def test_a_setting_is_read_as_what_it_says(value: Any) -> None:
    (read,) = overrides([format_override("train.key", value)]).values()
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("name", ["convnet", "lenet", "small-regularised"])
@pytest.mark.parametrize("base", ["lenet", "small-wide-kernel"])
def test_a_base_with_its_changes_set_is_the_recipe(name: str, base: str) -> None:
    recipe = Recipe.read(RECIPES / f"{name}.toml")
    changed = diff_recipes(recipe, Recipe.read(RECIPES / f"{base}.toml"))
    if name == base:
        assert changed == {}
    # `values` that the table does not use are an error, and no change can take keys out of a table.
    if changed is not None:
        said = overrides([format_override(key, value) for key, value in changed.items()])
        assert experiment_settings(Recipe.read(RECIPES / f"{base}.toml", said)) == experiment_settings(recipe)


def test_seeds_and_folders_of_data_make_no_other_experiment() -> None:
    lenet = Recipe.read(RECIPES / "lenet.toml")
    data, train = lenet.data.model_dump(mode="json"), lenet.train.model_dump(mode="json")
    there = Data(**{**data, "source": "/home/someone/data/cifar10"})
    elsewhere = lenet.model_copy(update={"data": there, "train": Train(**{**train, "seed": 7})})
    assert diff_recipes(elsewhere, lenet) == {}
    assert diff_recipes(elsewhere.model_copy(update={"claims": {}}), lenet) == {}
    shorter = Recipe.read(RECIPES / "lenet.toml", {"train.epochs": 3, "train.schedule": "plateau(factor=0.1)"})
    assert diff_recipes(shorter, lenet) == {"train.epochs": 3, "train.schedule": "plateau"}


def test_what_only_the_base_sets_can_not_be_said() -> None:
    limited = Recipe.read(RECIPES / "lenet.toml", {"data.limit": 100})
    lenet = Recipe.read(RECIPES / "lenet.toml")
    assert diff_recipes(limited, lenet) == {"data.limit": 100}
    assert diff_recipes(lenet, limited) is None


def test_every_call_of_a_recipe_is_told_without_its_defaults() -> None:
    """A key that gets a registry, and is not in the table, would be told in full."""
    tables = Recipe.read(RECIPES / "lenet.toml", {"data.augment": ["crop"]}).to_tables()
    written = {
        f"{section}.{key}": value
        for section in ("data", "train")
        for key, value in tables[section].items()
        if isinstance(value, str | list)
    }
    calls = {key for key, value in written.items() if "(" in str(value)}
    assert {"data.augment", "train.optimizer"} <= calls <= CALL_REGISTRIES.keys()
    fields = {
        f"train.{name}"
        for name, field in Train.model_fields.items()
        if any(isinstance(one, Registry) for one in field.metadata)
    }
    assert fields == {key for key in CALL_REGISTRIES if key.startswith("train.")}


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("cifar10", "cifar10"),
        ("/home/me/faces.zip", "faces.zip"),
        ("C:\\data\\cats\\", "cats"),
        ("../pets/", "pets"),
        ("/", "/"),
    ],
)
def test_a_source_is_told_by_its_file_name(source: str, name: str) -> None:
    assert file_name(source) == name
