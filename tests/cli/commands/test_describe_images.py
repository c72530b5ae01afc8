"""`describe --data`: with a folder and without one, the images are looked at; else they are left alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cnnlab.cli.main import app
from cnnlab.config.model import Model
from cnnlab.config.recipe import Data, Recipe

LAYERS = ["conv(4, 3, bias=false)", "batchnorm", "relu", "flatten", "dense(classes)"]


@pytest.fixture
def recipe(colours: Path, tmp_path: Path) -> Path:
    """A recipe whose source is a folder beside it, in which a test image is a training image, too."""
    pictures = tmp_path / "data" / "pictures"
    for number, part in enumerate(("train", "test")):
        for name in ("blue", "green", "red"):
            (pictures / part / name).mkdir(parents=True)
            for image in range(6 * number, 6 * number + 6):
                shutil.copy(colours / name / f"{image}.png", pictures / part / name / f"{image}.png")
    shutil.copy(pictures / "train" / "red" / "0.png", pictures / "test" / "red" / "again.png")
    path = tmp_path / "own.toml"
    Recipe(data=Data(source="pictures", validation=0.0), model=Model(layers=LAYERS)).write(path)
    return path


def warned(*words: object, env: dict[str, str] | None = None) -> list[str]:
    done = CliRunner().invoke(app, ["describe", *map(str, words), "--json"], env=env)
    assert done.exit_code == 0, done.stderr
    return [warning["name"] for warning in json.loads(done.stdout)["warnings"]]


def test_a_folder_behind_it_is_where_the_data_lives(recipe: Path) -> None:
    folder = recipe.parent / "data"
    assert warned(recipe, "--data", folder) == ["leak"]
    assert warned("--data", folder, recipe) == ["leak"]
    assert warned(f"--data={folder}", recipe) == ["leak"]


def test_the_data_folder_of_the_environment_is_no_wish_to_look(recipe: Path) -> None:
    env = {"CNNLAB_DATA": str(recipe.parent / "data")}
    assert warned(recipe, env=env) == []
    assert warned(recipe, "--data", env=env) == ["leak"]
    assert warned("--data", recipe, env=env) == ["leak"]
    assert warned("--data", "--size", "8", recipe, env=env) == ["leak"]


def test_what_is_off_is_off_there_too(recipe: Path) -> None:
    assert warned(recipe, "--set", 'warnings.off=["leak"]', "--data", recipe.parent / "data") == []


@pytest.mark.full
def test_a_backbone_has_no_images() -> None:
    done = CliRunner().invoke(app, ["describe", "resnet18", "--data"])
    assert done.exit_code == 2
    assert "only a recipe has images to look at" in done.stderr
