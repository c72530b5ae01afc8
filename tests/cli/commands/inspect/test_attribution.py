"""`cnnlab inspect attribution`, from arguments to output and files."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from cnnlab.cli.main import app

RECIPE = """
[data]
source = "colours"
validation = 0.25
[model]
layers = ["conv(4, 3, padding=1)", "relu", "maxpool(2)", "flatten", "dense(classes)"]
"""


@pytest.fixture
def recipe_file(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.replace("colours", str(colours)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return path


def attribution(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["inspect", "attribution", *map(str, arguments), "--device", "cpu"])


def test_tables_and_both_figures(recipe_file: Path) -> None:
    done = attribution(recipe_file, "--image", "validation:0", "--image", "train:3")
    assert done.exit_code == 0, done.stderr
    for text in (
        "Attribution in tiny (random weights, seed 0)",
        "Checks of the methods over 2 images",
        "validation:0, ",
        "train:3, ",
        "integrated-gradients",
        "the maps of relu1, enlarged",
    ):
        assert text in done.stdout, text
    assert "Written to attribution.png\nWritten to attribution-curves.png" in done.stderr
    for name in ("attribution.png", "attribution-curves.png"):
        with Image.open(name) as written:
            assert written.size[0] == 1440


def test_json_has_the_numbers(recipe_file: Path, colours: Path) -> None:
    done = attribution(
        *(recipe_file, "--image", colours / "red" / "1.png", "--class", "red", "--method", "occlusion"),
        *("--method", "integrated-gradients", "--steps", 32, "--window", 3, "--stride", 2, "--baseline", "blur"),
        *("--seed", 4, "--no-pictures", "--json"),
    )
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["network"], result["window"], result["stride"]) == ("tiny (random weights, seed 4)", 3, 2)
    assert result["baseline"].startswith("the image, blurred")
    (image,) = result["images"]
    assert (image["class"]["number"], image["class"]["name"]) == (2, "red")
    assert list(image["methods"]) == ["integrated-gradients", "occlusion"]
    sums = image["methods"]["integrated-gradients"]["completeness"]
    assert sums["steps"] >= 32
    assert sums["gap"] == pytest.approx(abs(sums["total"] - sums["rise"]) / abs(sums["rise"]))
    assert len(image["methods"]["occlusion"]["deletion"]["curve"]) == 21
    assert not list(Path.cwd().glob("*.png"))


def test_every_form_is_printed(recipe_file: Path) -> None:
    one = (recipe_file, "--method", "saliency", "--no-pictures")
    assert "| random orders |" in attribution(*one, "--format=markdown").stdout
    assert r"\begin{tabular}" in attribution(*one, "--format=latex").stdout


@pytest.mark.full
def test_svg_by_the_ending(recipe_file: Path, tmp_path: Path) -> None:
    done = attribution(recipe_file, "--method", "saliency", "-o", tmp_path / "seen.svg")
    assert done.exit_code == 0, done.stderr
    for name in ("seen.svg", "seen-curves.svg"):
        assert ElementTree.parse(tmp_path / name).getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--class", "purple"], "--class: the network has no such class"),
        (["--method", "lime"], "--method: unknown method"),
        (["--layer", "dense1"], "--layer: this layer gives no feature maps"),
        (["--method", "saliency", "--window", "4"], "--window would do nothing here: it is a setting of occlusion"),
        (["--method", "saliency", "--layer", "relu1"], "add --method grad-cam, or leave --layer out"),
        (["--window", "9"], "--window: this number is out of range"),
        (["--image", "validation:99"], "the validation split has no image 99"),
        (["--image", "test:0"], "the test split is opened for a run only"),
        (["-o", "seen.pdf"], "--output: this is no name for a picture"),
        (["--json", "--format=latex"], "the output has one format"),
    ],
)
def test_wrong_options_are_errors(recipe_file: Path, arguments: list[str], message: str) -> None:
    done = attribution(recipe_file, *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""
    assert not list(Path.cwd().glob("*.png"))


@pytest.mark.full
def test_progress_counts_images_and_draws(recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[tuple[str, int, int, str]] = []
    monkeypatch.setattr(
        "cnnlab.cli.output.console.ProgressReporter.__call__", lambda _self, *message: messages.append(message)
    )
    done = attribution(recipe_file, *(["--image", "train:0"] * 2), "--method", "saliency", "--no-pictures")
    assert done.exit_code == 0, done.stderr
    assert messages[-3:] == [("attribution", n, 2, "images") for n in range(3)]


def test_a_recipe_is_changed_by_set(recipe_file: Path) -> None:
    done = attribution(recipe_file, "--set", "train.seed=3", "--method", "saliency", "--no-pictures")
    assert done.exit_code == 0, done.stderr
    assert "Attribution in tiny (random weights, seed 3)" in done.stdout
    refused = attribution("resnet18", "--set", "train.seed=3", "--no-pictures")
    assert (refused.exit_code, "only a recipe's file has values" in refused.stderr) == (2, True)
