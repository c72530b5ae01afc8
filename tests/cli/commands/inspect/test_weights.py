"""`cnnlab inspect weights`, from arguments to output and files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from cnnlab.cli.main import app
from cnnlab.config.recipe import Recipe
from cnnlab.storage.run_folder import RunFolder

RECIPE = """
[data]
source = "shapes"
[model]
layers = ["conv(8, 5, padding=2)", "relu", "maxpool(2)", "conv(6, 3)", "relu", "flatten", "dense(5)", "dense(classes)"]
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def known(recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]) -> RunFolder:
    return trained(recipe())


def inspect(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["inspect", "weights", *map(str, arguments)])


def test_a_run_is_shown_before_and_after_in_two_pictures(known: RunFolder, tmp_path: Path) -> None:
    place = tmp_path / "shown.png"
    done = inspect(known.path, "--output", place)
    assert done.exit_code == 0
    for text in ("Weights of conv1", "4 filters of 3×3×3", "verified by the SHA-256", "Median change"):
        assert text in done.stdout
    written = [place, tmp_path / "shown-channels.png"]
    assert sorted(tmp_path.glob("*.png")) == sorted(written)
    for path in written:
        assert f"Written to {path}" in done.stderr
        with Image.open(path) as picture:
            assert picture.width == 1440


@pytest.mark.full
def test_svg_figures_have_a_title(known: RunFolder, tmp_path: Path) -> None:
    assert inspect(known.path, "-o", tmp_path / "shown.svg").exit_code == 0
    root = ElementTree.parse(tmp_path / "shown.svg").getroot()
    title = next(element.text for element in root.iter() if element.tag.endswith("title"))
    assert title is not None
    assert "mid-grey is weight 0" in title
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"before training", "after training", "1", "4"} <= set(texts)


def test_json_has_the_numbers_of_every_filter(recipe_file: Path, tmp_path: Path) -> None:
    done = inspect(recipe_file, "--most", 3, "--order", "norm", "--seed", 4, "--no-pictures", "--json")
    assert done.exit_code == 0
    result = json.loads(done.stdout)
    assert (result["layer"], result["shape"], result["start"]["begun"]) == ("conv1", [8, 3, 5, 5], "untrained")
    assert result["network"] == "tiny (random weights, seed 4)"
    norms = [each["norm"] for each in result["filters"]]
    assert len(norms) == 8
    assert result["shown"] == sorted(range(1, 9), key=lambda number: -norms[number - 1])[:3]
    assert result["filters"][0].keys() == {"number", "norm", "twin"}
    assert [each["number"] for each in result["filters"]] == list(range(1, 9))
    chosen = inspect(recipe_file, "--filters", "8,3", "--no-pictures", "--json")
    assert json.loads(chosen.stdout)["shown"] == [8, 3]
    assert r"\begin{tabular}" in inspect(recipe_file, "--format=latex", "--no-pictures").stdout
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    ("layer", "figures", "title"),
    [
        pytest.param("conv2", ["kernels", "norms"], "6 filters of 8×3×3", marks=pytest.mark.full),
        pytest.param("dense1", ["kernels", "norms"], "5 units of 6×14×14", marks=pytest.mark.full),
        ("dense2", ["matrix"], "units of 5×1×1"),
    ],
)
def test_any_layer_by_name(recipe_file: Path, tmp_path: Path, layer: str, figures: list[str], title: str) -> None:
    done = inspect(recipe_file, "--layer", layer, "--format=markdown", "-o", tmp_path / "x.svg")
    assert done.exit_code == 0
    assert title in done.stdout
    assert len(list(tmp_path.glob("x*.svg"))) == len(figures)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--layer", "conv3"),
            ("no convolution or dense layer 'conv3'", "conv1, conv2, dense1, dense2", "did you mean"),
        ),
        (("--layer", "relu1"), ("no convolution or dense layer 'relu1'", "conv1, conv2")),
        (("--filters", "9"), ("'conv1' has no filter 9", "1 to 8", "numbered from 1")),
        (("--filters", "1, 2"), ("these are no numbers of filters", "from 1")),
        (("--filters", "1", "--most", "2"), ("leave --most and --order out",)),
        (("--output", "x.jpeg"), ("this is no name for a picture",)),
    ],
)
def test_wrong_options_are_errors(recipe_file: Path, arguments: tuple[str, ...], message: tuple[str, ...]) -> None:
    done = inspect(recipe_file, *arguments)
    assert done.exit_code == 2
    for each in message:
        assert each in done.stderr


@pytest.mark.full
def test_one_scale_for_before_and_after(known: RunFolder, recipe_file: Path, tmp_path: Path) -> None:
    done = inspect(known.path, "--scale", "common", "-o", tmp_path / "shown.svg")
    assert done.exit_code == 0, done.stderr
    for name in ("", "-channels"):
        assert "before and after training" in (tmp_path / f"shown{name}.svg").read_text(encoding="utf-8")
    alone = inspect(recipe_file, "--scale", "common", "--no-pictures")
    assert alone.exit_code == 2
    assert "the initial weights are not known" in " ".join(alone.stderr.split())


def test_a_recipe_is_changed_by_set_and_nothing_else_is(recipe_file: Path, known: RunFolder) -> None:
    table = 'model.layers=["conv(3, 5)", "flatten", "dense(classes)"]'
    done = inspect(recipe_file, "--set", table, "--set", "train.seed=7", "--no-pictures", "--json")
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["network"], result["shape"]) == ("tiny (random weights, seed 7)", [3, 3, 5, 5])
    wrong = inspect(recipe_file, "--set", "model.layer=[]", "--no-pictures")
    assert (wrong.exit_code, "did you mean 'layers'" in wrong.stderr) == (2, True)
    for target in (known.path, "resnet18"):
        refused = inspect(target, "--set", "train.seed=7", "--no-pictures")
        assert refused.exit_code == 2
        assert "only a recipe's file has values that can be changed" in refused.stderr
        assert str(target) in "".join(refused.stderr.split())
