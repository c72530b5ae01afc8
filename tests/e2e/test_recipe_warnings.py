"""The warnings that stand beside each of the house's recipes are the ones that `describe` gives."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cnnlab.spec.recipe import Recipe

RECIPES = Path(__file__).parents[2] / "recipes"


def describe(*words: object) -> list[dict[str, str]]:
    command = [sys.executable, "-m", "cnnlab", "describe", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, str]] = json.loads(done.stdout)["warnings"]
    return found


def beside(recipe: Path) -> list[str]:
    """The names in the line `# warnings: …`; `none` stands for none."""
    (line,) = re.findall(r"^# warnings: (.+)$", recipe.read_text(encoding="utf-8"), re.MULTILINE)
    return [] if line == "none" else line.split(", ")


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Class folders with the faces' names, whose archive not everyone has."""
    for person in range(1, 41):
        folder = tmp_path / "faces" / f"s{person}"
        folder.mkdir(parents=True)
        for number in range(10):
            Image.new("L", (92, 112), 5 * number + person).save(folder / f"{number}.png")
    return tmp_path / "faces"


@pytest.fixture
def trunk(tmp_path: Path) -> Path:
    """A folder in which `runs/` holds a run of trunk.toml, as transfer.toml asks for; a short one, of other images."""
    settings = ["data.source=shapes", "data.classes=none", "data.limit=60", "train.epochs=1", "train.batch_size=30"]
    changes = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "cnnlab", "train", RECIPES / "trunk.toml", *changes]
    subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=True)
    return tmp_path


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_what_stands_beside_a_recipe_is_what_describe_gives(
    recipe: Path, people: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "runs/*-trunk" in recipe.read_text("utf-8"):
        monkeypatch.chdir(request.getfixturevalue("trunk"))
    own = ["--set", f"data.source={people}"] if Recipe.read(recipe).data.source == "orl-faces.zip" else []
    found = describe(recipe, *own)
    assert sorted(warning["name"] for warning in found) == sorted(beside(recipe))
    assert all(warning["where"] and warning["message"] and warning["fix"] for warning in found)


def test_a_plain_lenet_gives_none() -> None:
    assert beside(RECIPES / "lenet.toml") == []


def test_a_warning_is_switched_off_by_its_name() -> None:
    recipe = RECIPES / "model2.toml"
    assert [warning["name"] for warning in describe(recipe, "--set", 'warnings.off=["bias-before-batchnorm"]')] == [
        "dropout-before-batchnorm"
    ]
