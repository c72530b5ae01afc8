"""`cnnlab inspect activations`, from arguments to output and files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import cnnlab
from cnnlab.cli.main import app
from cnnlab.config.recipe import Recipe
from cnnlab.context import RunContext
from cnnlab.runs.run import run

TABLE = ("conv(12, 3, padding=1)", "relu", "maxpool(2)", "conv(5, 3)", "tanh", "flatten", "dense(classes)")


@pytest.fixture
def recipe_file(recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(recipe(TABLE).to_toml(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return path


def inspect(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["inspect", "activations", *map(str, arguments), "--device", "cpu"])


def test_maps_statistics_and_a_picture(recipe_file: Path) -> None:
    done = inspect(recipe_file, "--maps", 10, "--image", "validation:2")
    assert done.exit_code == 0, done.stderr
    for text in (
        "Activations of tiny (random weights, seed 0) for validation:2, ",
        "Predicted: ",
        "conv1: conv(12, 3, padding=1), 1×12×8×8",
        "10 of 12 maps",
        "conv2: conv(5, 3), 1×5×2×2",
        "numbered from 1",
    ):
        assert text in " ".join(done.stdout.split())
    assert done.stderr.endswith("Written to activations.png\n")
    with Image.open("activations.png") as picture:
        assert min(picture.size) > 500


def test_the_figure_is_written_before_the_output_is_read(recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> None:
        raise BrokenPipeError  # as `… | head` does

    monkeypatch.setattr("cnnlab.cli.output.figure_files.show_output", closed)
    assert "Written to activations.png\n" in inspect(recipe_file).stderr
    assert Path("activations.png").is_file()


def test_named_layers_as_json_and_no_picture(recipe_file: Path) -> None:
    done = inspect(recipe_file, "--layer", "relu1", "--layer", "dense1", "--json", "--no-pictures")
    result = json.loads(done.stdout)
    assert [(layer["name"], layer["shape"]) for layer in result["layers"]] == [("relu1", [12, 8, 8]), ("dense1", [3])]
    assert all(figures["min"] >= 0 for figures in result["layers"][0]["maps"])
    assert not list(recipe_file.parent.glob("*.png"))
    again = cnnlab.inspect_activations(cnnlab.load_model(str(recipe_file), device="cpu"), layers=["relu1", "dense1"])
    assert json.loads(again.to_json()) == result


def test_units_over_a_part_and_svg(recipe_file: Path) -> None:
    done = inspect(recipe_file, "--units", "--split", "train", "--limit", 6, "-o", "idle.svg")
    assert done.exit_code == 0, done.stderr
    assert "Units of tiny (random weights, seed 0) over 6 images of the train split" in done.stdout
    assert "of 17 units dead" in " ".join(done.stdout.split())
    assert "evenly spaced" in done.stderr
    assert ElementTree.fromstring(Path("idle.svg").read_bytes()).tag.endswith("svg")


def test_patches_of_chosen_filters(recipe_file: Path) -> None:
    done = inspect(recipe_file, "--patches", "conv1:3,7", "--top", 2, "--json")
    result = json.loads(done.stdout)
    assert [(each["number"], len(each["patches"])) for each in result["filters"]] == [(3, 2), (7, 2)]
    assert (result["split"], result["images"]) == ("validation", 9)
    assert Path("patches.png").is_file()
    some = json.loads(inspect(recipe_file, "--patches", "conv1", "--json", "--no-pictures").stdout)
    assert [each["number"] for each in some["filters"]] == [1, 3, 4, 6, 7, 9, 10, 12]


@pytest.mark.full
def test_the_title_of_a_narrow_table_is_one_line(recipe_file: Path) -> None:
    lines = inspect(recipe_file, "--layer", "dense1", "--no-pictures").stdout.splitlines()
    assert "dense1: dense(3), 1×3; all 3 numbers" in lines


@pytest.mark.full
def test_every_form_is_printed(recipe_file: Path) -> None:
    for arguments in (["--units"], ["--patches", "conv1"], []):
        assert "| ---" in inspect(recipe_file, *arguments, "--format=markdown", "--no-pictures").stdout.replace(
            "|---", "| ---"
        )
        assert r"\begin{tabular}" in inspect(recipe_file, *arguments, "--format=latex", "--no-pictures").stdout


def test_an_opening_of_the_test_split_is_in_the_ledger(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = run(recipe(TABLE, opened="sealed"), RunContext(device="cpu"))
    done = inspect(folder.name, "--units", "--split", "test", "--no-pictures")
    assert done.exit_code == 0, done.stderr
    assert "of the test split" in done.stdout
    assert _looks(folder.path) == 1
    shown = inspect(folder.name, "--no-pictures")
    assert "for validation:0, " in shown.stdout
    assert _looks(folder.path) == 1


def _looks(path: Path) -> int:
    from cnnlab.storage.test_ledger import openings

    test_set = cnnlab.RunFolder.open(path).data().test_set
    return sum(look.purpose == "inspect activations --units" for look in openings(path.parent, test_set))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--units", "--top", 3], "--top would do nothing here: it is an option of patches"),
        (["--limit", 3], "add --units or --patches, or leave --limit out"),
        (["--units", "--image", "x.png"], "--image would do nothing here: it is an option of activations"),
        (["--image", "val:2"], "SPLIT:NUMBER, such as validation:12"),
        (["--layer", "conv3"], "there is no layer 'conv3'"),
        (["--patches", "conv1:99"], "'conv1' has no filter 99"),
        (["--patches", "conv1:0"], "'conv1' has no filter 0"),
        (["--filters", "6"], "'conv2' has no map 6 received: 6 allowed: 1 to 5"),
        (["--filters", "1", "--maps", 3], "--maps would do nothing here: --filters names the maps"),
        (["--units", "--filters", "1"], "--filters would do nothing here: it is an option of activations"),
        (["--patches", "conv1:x"], "these are no numbers of filters"),
        (["--units", "--patches", "conv1"], "--units and --patches do not go together"),
        (["--image", "validation:900"], "the validation split has no image 900"),
        (["-o", "x.pdf"], "this is no name for a picture"),
    ],
)
def test_wrong_options_are_errors(recipe_file: Path, arguments: list[object], message: str) -> None:
    done = inspect(recipe_file, *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert not list(recipe_file.parent.glob("*.png"))


def test_maps_are_chosen_by_their_numbers_from_1(recipe_file: Path) -> None:
    done = inspect(recipe_file, "--layer", "conv1", "--filters", "7,3", "--no-pictures")
    assert done.exit_code == 0, done.stderr
    assert "2 of 12 maps, chosen by number" in done.stdout
    result = json.loads(inspect(recipe_file, "--layer", "conv1", "--filters", "7,3", "--no-pictures", "--json").stdout)
    (layer,) = result["layers"]
    assert (layer["shown"], [each["number"] for each in layer["maps"]]) == ([7, 3], list(range(1, 13)))
    values = cnnlab.inspect_activations(cnnlab.load_model(str(recipe_file), device="cpu"), layers="conv1")
    assert layer["maps"][6]["max"] == pytest.approx(float(values.layer("conv1").values[6].max()), rel=1e-5)


def test_a_recipe_is_changed_by_set(recipe_file: Path) -> None:
    done = inspect(recipe_file, "--set", "train.seed=5", "--layer", "conv1", "--no-pictures", "--json")
    assert json.loads(done.stdout)["network"] == "tiny (random weights, seed 5)"
