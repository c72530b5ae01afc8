"""`cnnlab theory receptive`, as a person calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cnnlab.cli.main import app
from cnnlab.config.recipe import Recipe
from cnnlab.storage.run_folder import RunFolder

LENET = Path(__file__).parents[4] / "recipes" / "lenet.toml"


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["theory", "receptive", *map(str, words)])


def told(*words: str | Path) -> dict:
    done = call(*words, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_rows_of_a_table() -> None:
    answer = told("conv(1, 5)", "conv(1, 3)")
    assert (answer["receptive_field"], answer["jump"]) == (7, 1)
    assert [layer["receptive_field"] for layer in answer["layers"]] == [5, 7]
    assert [layer["jump"] for layer in answer["layers"]] == [1, 1]
    shown = call("conv(1, 5)", "conv(1, 3)")
    assert shown.exit_code == 0
    for words in ("A node of conv2 sees 7×7 pixels", "A − 4", "A − 6", "r = 1 + (5 − 1)·1 + (3 − 1)·1 = 7"):
        assert words in shown.stdout


def test_options_choose_the_image_the_layer_and_the_node() -> None:
    answer = told(
        *("eyes: conv(4, 3, padding=1)", "maxpool(2)", "conv(4, 3)"),
        *("--size", "32x48", "--channels", "1", "--layer", "maxpool1", "--node", "0,3"),
    )
    assert (answer["image"], answer["layer"], answer["node"]) == ([1, 32, 48], "maxpool1", [0, 3])
    assert answer["sees"][-1] == {"name": "input", "size": 4, "rows": [-1, 2], "columns": [5, 8]}
    assert (answer["inputs"], answer["inputs_inside"]) == (16, 12)
    assert answer["layers"][0]["output"] == [4, 32, 48]


def test_a_recipe_has_images_of_its_own() -> None:
    answer = told(LENET)
    assert (answer["receptive_field"], answer["image"], answer["layer"]) == (36, [3, 32, 32], "maxpool3")
    assert told(LENET, "--size", "64")["image"] == [3, 64, 64]


def test_a_recipe_whose_data_is_not_at_hand_needs_a_size(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[data]\nsource = "nowhere"\n[model]\nlayers = ["conv(4, 3)", "flatten", "dense(classes)"]\n')
    failed = call(path)
    assert failed.exit_code == 2
    assert "no data is found" in failed.stderr
    assert told(path, "--size", "20")["image"] == [3, 20, 20]
    (field,) = told(path, "--size", "20", "--effective", "--images", "1", "--device", "cpu")["fields"]
    assert field["network"] == "mine (random weights, seed 0)"


def test_the_effective_field_of_random_weights() -> None:
    answer = told("conv(4, 5)", "conv(4, 3)", "--effective", "--images", "4", "--seed", "3", "--device", "cpu")
    (field,) = answer["fields"]
    assert (field["receptive_field"], field["support"], field["images"]) == ([7, 7], [7, 7], 4)
    assert 0 < field["effective_size"] <= 7
    assert len(field["gradient"]) == 12
    shown = call("conv(4, 5)", "--effective", "--images", "2", "--device", "cpu")
    assert "Effective receptive field of conv1" in shown.stdout
    assert call("conv(4, 5)", "--effective", "--images", "2", "--device", "cpu", "--format=svg").stdout.startswith(
        "<svg"
    )


def test_the_effective_field_of_a_run_by_its_name(
    recipe: Callable[..., Recipe], trained: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained(recipe())
    monkeypatch.setenv("CNNLAB_RUNS", str(folder.path.parent))
    names = [field["network"] for field in told(folder.name, "--effective", "--images", "2")["fields"]]
    assert names == [f"{folder.name} (trained)", "before training"]
    assert told(folder.name)["image"] == [3, 8, 8]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cov(3, 5)", "relu"], "did you mean 'conv'"),
        (["resnet19"], "no layer, no recipe, no run folder and no backbone"),
        (["conv(3, 5)", "--size", "4"], "does not fit"),
        (["conv(3, 5)", "--size", "100001"], "1 to 100,000"),
        (["conv(3, 5)", "--node", "a,b"], "next:     write it as in --node 3,4"),
        (["conv(3, 5)", "--size", "8", "--node", "9,0"], "rows 0 to 3"),
        (["conv(3, 5)", "--layer", "conv9"], "there is no layer 'conv9'"),
        (["conv(3, 5)", "--images", "4"], "--images is for --effective"),
        (["conv(3, 5)", "--effective", "--layer", "conv9"], "no layer 'conv9'"),
        (["nowhere.toml"], "nowhere.toml"),
    ],
)
def test_mistakes_are_explained(words: list[str], said: str) -> None:
    failed = call(*words)
    assert failed.exit_code == 2
    assert said in failed.stderr
