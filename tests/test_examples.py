"""The examples in docstrings, and the lists in docs/, say what is true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import runpy
import tomllib
from pathlib import Path

import pytest

import cnnlab
from cnnlab.runs.networks import plan_network
from cnnlab.spec.model import Model
from cnnlab.spec.recipe import Data, Recipe, Train, Warnings
from cnnlab.spec.section import Section

REPOSITORY = Path(__file__).parents[1]
MODULES = [
    module.name for module in pkgutil.walk_packages(cnnlab.__path__, "cnnlab.") if not module.name.endswith("__main__")
]
RECIPES = [path for path in sorted((REPOSITORY / "recipes").glob("*.toml")) if "parameters" in Recipe.read(path).claims]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_there_are_docstring_examples() -> None:
    finder = doctest.DocTestFinder()
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) >= 5


def test_the_recipes_page_lists_every_choice() -> None:
    tables = runpy.run_path(str(REPOSITORY / "docs" / "tables.py"))
    page = (REPOSITORY / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert tables["with_tables"](page) == page, "run: make docs"
    assert page.count("<!-- /") == len(tables["TABLES"])


@pytest.mark.parametrize("section", [Data, Model, Train, Warnings])
def test_the_recipes_page_lists_every_key(section: type[Section]) -> None:
    page = (REPOSITORY / "docs" / "recipes.md").read_text(encoding="utf-8")
    for key in section.model_fields:
        assert f"| `{key}` |" in page


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_hold_what_they_claim_of_counts(path: Path) -> None:
    recipe = Recipe.read(path)
    assert plan_network(recipe.model, (3, 32, 32), 10).parameters == recipe.claims["parameters"].published


def test_the_readmes_recipe_is_one() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    block = text.split("```toml\n")[1].split("```")[0]
    recipe = Recipe.from_tables(tomllib.loads(block))
    assert recipe.model.trace((3, 32, 32), 10).output == (10,)
