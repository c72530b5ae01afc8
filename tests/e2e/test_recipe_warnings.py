"""The warnings that stand beside each of the house's recipes are the ones that `describe` gives."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cnnlab.cli.main import app
from cnnlab.config.recipe import Recipe
from cnnlab.context import RunContext
from cnnlab.runs.run import run

RECIPES = Path(__file__).parents[2] / "recipes"
# Of every kind one: a plain table, one with warnings, one on a folder of images, a backbone, another run's trunk.
FAST = {"lenet", "model2", "faces", "resnet18", "transfer"}


def describe(*words: object) -> list[dict[str, str]]:
    done = CliRunner().invoke(app, ["describe", *map(str, words), "--json"])
    assert done.exit_code == 0, done.stderr
    found: list[dict[str, str]] = json.loads(done.stdout)["warnings"]
    return found


def beside(recipe: Path) -> list[str]:
    """The names in the line `# warnings: …`; `none` stands for none."""
    (line,) = re.findall(r"^# warnings: (.+)$", recipe.read_text(encoding="utf-8"), re.MULTILINE)
    return [] if line == "none" else line.split(", ")


def pictures(root: Path, classes: list[str], count: int, shape: tuple[int, ...]) -> Path:
    """Folders of so many different images of each class."""
    noise = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(noise.integers(0, 256, shape, dtype=np.uint8)).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with the faces' names, whose archive not everyone has."""
    return pictures(tmp_path_factory.mktemp("faces") / "faces", [f"s{n}" for n in range(1, 41)], 10, (112, 92))


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `runs/` holds a run of trunk.toml, as transfer.toml asks for, of a few images."""
    root, recipe = tmp_path_factory.mktemp("trunk"), RECIPES / "trunk.toml"
    source = pictures(root / "pictures", Recipe.read(recipe).data.classes or [], 4, (32, 32, 3))
    few = {"data.source": str(source), "data.validation": 0.25, "data.test": 0.25}
    short = {"train.epochs": 1, "train.batch_size": 5, "train.precision": "fp32"}
    run(Recipe.read(recipe, {**few, **short}), RunContext(runs=root / "runs", device="cpu"), name="trunk")
    return root


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem in FAST else [pytest.mark.full])
        for path in sorted(RECIPES.glob("*.toml"))
    ],
)
def test_what_stands_beside_a_recipe_is_what_describe_gives(
    recipe: Path, people: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "runs/*-trunk" in recipe.read_text("utf-8"):
        monkeypatch.chdir(request.getfixturevalue("trunk"))
    own = ["--set", f"data.source={people}"] if Recipe.read(recipe).data.source == "orl-faces.zip" else []
    found = describe(recipe, *own)
    assert sorted(warning["name"] for warning in found) == sorted(beside(recipe))
    assert all(warning["where"] and warning["message"] and warning["fix"] for warning in found)


def test_a_warning_is_switched_off_by_its_name() -> None:
    recipe = RECIPES / "model2.toml"
    assert beside(RECIPES / "lenet.toml") == []
    assert [warning["name"] for warning in describe(recipe, "--set", 'warnings.off=["bias-before-batchnorm"]')] == [
        "dropout-before-batchnorm"
    ]
