"""The examples in docstrings, the lists in docs/recipes.md and the counts that recipes claim are true."""

from __future__ import annotations

import doctest
import importlib
import runpy
import tomllib
from pathlib import Path

import pytest

import cnnlab
from cnnlab.config.recipe import Recipe
from cnnlab.models.network_plan import plan_network

REPOSITORY = Path(__file__).parents[1]
SOURCE = Path(cnnlab.__path__[0])
EXAMPLES = [path for path in sorted(SOURCE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]
RECIPES = [path for path in sorted((REPOSITORY / "recipes").glob("*.toml")) if "parameters" in Recipe.read(path).claims]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_docstring_examples(path: Path) -> None:
    name = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
    results = doctest.testmod(importlib.import_module(name.removesuffix(".__init__")))
    assert (results.failed, results.attempted > 0) == (0, True)


def test_the_recipes_page_lists_every_choice() -> None:
    tables = runpy.run_path(str(REPOSITORY / "docs" / "tables.py"))
    page = (REPOSITORY / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert tables["with_tables"](page) == page, "run: make docs"
    assert page.count("<!-- /") == len(tables["TABLES"])


@pytest.mark.parametrize(
    "path",
    [
        # Of the networks that reports transferred, those with many parameters take a second each.
        pytest.param(path, marks=[pytest.mark.full] * path.stem.startswith(("alexnet", "resnet", "vgg")), id=path.stem)
        for path in RECIPES
    ],
)
def test_recipes_hold_what_they_claim_of_counts(path: Path) -> None:
    recipe = Recipe.read(path)
    assert plan_network(recipe.model, (3, 32, 32), 10).parameters == recipe.claims["parameters"].published


def test_the_readmes_recipe_is_one() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    block = text.split("```toml\n")[1].split("```")[0]
    recipe = Recipe.from_tables(tomllib.loads(block))
    assert recipe.model.trace((3, 32, 32), 10).output == (10,)
