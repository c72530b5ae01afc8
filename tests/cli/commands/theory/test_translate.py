"""`cnnlab theory translate`, from arguments to output."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from cnnlab.cli.main import app

RECIPE = """
[data]
source = "shapes"
[model]
layers = ["conv(8, 5, padding=2)", "relu", "maxpool(2)", "conv(8, 3)", "avgpool(2)", "flatten", "dense(classes)"]
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def translate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["theory", "translate", *map(str, arguments), "--device", "cpu"])


def test_the_answer_tells_pools_and_kept_shifts(recipe_file: Path) -> None:
    done = translate(recipe_file)
    assert done.exit_code == 0
    assert "Sensitivity of tiny (random weights, seed 0) to small shifts" in done.output
    for text in (
        "maxpool1 ",
        "avgpool1 ",
        "after/before",
        "exact at",
        "Image: built-in shape, ",
    ):
        assert text in done.output


def test_json_has_the_numbers_of_the_sentences(recipe_file: Path) -> None:
    found = json.loads(translate(recipe_file, "--shifts", 3, "--direction", "down", "--seed", 5, "--json").output)
    assert found["shifts"] == [0, 1, 2, 3]
    assert (found["direction"], found["network"]) == ("down", "tiny (random weights, seed 5)")
    assert [stage["name"] for stage in found["stages"]] == ["maxpool1", "avgpool1"]
    by_name = {layer["name"]: layer for layer in found["layers"]}
    assert list(by_name) == ["conv1", "relu1", "maxpool1", "conv2", "avgpool1", "flatten1", "dense1"]
    for stage in found["stages"]:
        layer = by_name[stage["name"]]
        assert (stage["before"], stage["after"]) == (layer["before"][1], layer["after"][1])
        assert stage["output_without"] == pytest.approx(layer["output_change_without"] / found["output_change"])
    assert by_name["conv1"]["output_change_without"] is None
    assert found["output_changes_without"].keys() == {"maxpool", "avgpool"}
    assert found["exact"]["maxpool1"] == {"period": 2, "kept": [2, 4]}
    assert found["exact"]["avgpool1"] == {"period": 4, "kept": [4]}
    assert found["summary"].startswith("At a shift of 1 px ")
    assert found["answer"] == found["summary"]


@pytest.mark.full
def test_every_form_is_printed(recipe_file: Path, tmp_path: Path) -> None:
    assert ElementTree.fromstring(translate(recipe_file, "--format=svg").output).tag.endswith("svg")
    assert "| maxpool1 | `maxpool(2)` |" in translate(recipe_file, "--format=markdown").output
    assert r"\begin{tabular}" in translate(recipe_file, "--format=latex", "-o", tmp_path / "shift.png").output
    assert (tmp_path / "shift.png").exists()


def test_a_recipe_finds_its_data_where_data_says(colours: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(RECIPE.replace("shapes", colours.name).replace("conv(8, 3)", "conv(8, 1)"), encoding="utf-8")
    done = translate(recipe, "--shifts", 2, "--data", colours.parent)
    assert done.exit_code == 0, done.stderr
    assert "3×8×8" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shifts", "40"], "the shift must be smaller than the image"),
        (
            ["--image", "test:0", "--shifts", "99"],
            "--shifts: the shift must be smaller",
        ),  # before the image is looked for
        (["--image", "no.png"], "no.png: this image can't be used: missing"),
        (["--json", "--format=svg"], "the output has one format"),
    ],
)
def test_wrong_options_are_errors(recipe_file: Path, arguments: list[str], message: str) -> None:
    done = translate(recipe_file, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_an_unknown_name_is_an_error() -> None:
    assert "this is no recipe, no run folder and no backbone" in translate("resnet17").stderr


def test_the_change_of_the_output_over_images_of_the_data(recipe_file: Path) -> None:
    one = json.loads(translate(recipe_file, "--image", "validation:0", "--images", 1, "--json").stdout)
    alone = json.loads(translate(recipe_file, "--image", "validation:0", "--json").stdout)
    assert one["output_change"] == pytest.approx(alone["output_change"], rel=1e-4)
    done = translate(recipe_file, "--images", 20)
    assert done.exit_code == 0, done.stderr
    assert "Mean over 20 images of the validation split." in " ".join(done.stdout.split())
    refused = translate("resnet18", "--images", 2)
    assert (refused.exit_code, "a network by its name alone has no data" in refused.stderr) == (2, True)
