"""`cnnlab lr`, from words to answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from cnnlab.cli.main import app
from cnnlab.config.recipe import Recipe


@pytest.fixture
def recipe_file(recipe: Callable[..., Recipe], tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    recipe(layers=["flatten", "dense(classes)"], optimizer="adam(5.0)").write(path)
    return path


def lr(*words: object) -> Result:
    return CliRunner().invoke(app, ["lr", *map(str, words), "--device", "cpu"])


def test_the_answer_tells_rule_comparison_and_the_line_to_set(recipe_file: Path) -> None:
    done = lr(recipe_file, "--steps", 120)
    assert done.exit_code == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "Learning-rate range test of tiny" in told
    assert "120 steps from 1e-06 to 1" in told
    assert "Suggested rate: " in told
    assert "a tenth of the upper limit" in told
    assert "The recipe's own rate, 5, is above all that were tried." in told
    assert 'optimizer = "adam(lr=' in told
    assert "--set 'train.optimizer=adam(lr=" in told
    assert "27 images of the training split, 8 per step, seed 0, fp32 on cpu." in told
    assert "range test: 120 of 120 steps" in done.stderr
    assert "computing in fp32, contiguous" in done.stderr


def test_json_has_the_curve_and_a_line_that_works(recipe_file: Path) -> None:
    found = json.loads(lr(recipe_file, "--steps", 120, "--from", "1e-5", "--to", "2", "--json").stdout)
    assert len(found["rates"]) == len(found["losses"]) == len(found["reading"]["smoothed"])
    assert (found["rates"][0], found["planned"][-1], found["own"], found["verdict"]) == (1e-5, 2, 5, None)
    assert found["rates"][0] <= found["suggestion"] <= found["limit"] < 5
    again = json.loads(lr(recipe_file, "--steps", 120, "--set", found["set"], "--json").stdout)
    assert again["own"] == pytest.approx(found["suggestion"], rel=0.05)
    assert again["verdict"] == "within"
    assert found["summary"].startswith("Suggested rate: ")
    assert found["answer"] == found["summary"]


@pytest.mark.full
def test_seed_and_set_reach_the_recipe(recipe_file: Path) -> None:
    words = (recipe_file, "--steps", 100, "--json")
    first, same, other, small = (
        json.loads(lr(*words, *more).stdout)
        for more in ((), (), ("--seed", 3), ("--set", "train.batch_size=4"))
    )  # fmt: skip
    assert first == same
    assert (other["seed"], small["batch"]) == (3, 4)
    assert other["losses"] != first["losses"]


def test_the_picture_is_written_and_nothing_else(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    done = lr(recipe_file, "--steps", 100, "--svg", "rates.svg", "--format=markdown")
    assert done.exit_code == 0
    assert [path.name for path in here.iterdir()] == ["rates.svg"]
    assert ElementTree.fromstring((here / "rates.svg").read_bytes()).tag.endswith("svg")
    assert done.stdout.startswith("**Learning-rate range test of tiny**")
    assert r"\begin{tabular}" in lr(recipe_file, "--steps", 100, "--format=latex").stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--from", "1", "--to", "0.1"], "--from, --to: these can't be learning rates\n  received: 1 to 0.1"),
        (["--steps", "9"], "--steps: this number of steps makes no curve\n  received: 9\n  allowed:  10 to 10,000"),
        (["--json", "--format=markdown"], "the output has one format"),
        (["--svg", "rates.png"], "--svg: this is no name for an SVG picture"),
        (["--svg", "no/such/rates.svg"], "--svg: the folder of this file does not exist"),
        (["--set", "train.batch_size=1000"], "tiny.toml: train.batch_size: a batch of 1000 is larger than"),
        (["--set", "train.epoch=1"], "did you mean 'epochs'?"),
    ],
)
def test_mistakes_are_told(recipe_file: Path, words: list[str], told: str) -> None:
    done = lr(recipe_file, *words)
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stdout == ""


def test_where_no_rate_can_be_suggested_it_fails_and_says_what_to_do(recipe_file: Path) -> None:
    done = lr(recipe_file, "--from", "1e-12", "--to", "1e-11", "--steps", 40)
    assert done.exit_code == 1
    assert "No rate can be suggested: the loss did not fall clearly at any rate" in " ".join(done.stdout.split())
    assert "✗ no rate can be suggested: the loss did not fall clearly at any rate" in done.stderr
    assert "next:     take more steps or other rates: --steps 400, or --to 1e-10" in done.stderr
    found = json.loads(lr(recipe_file, "--from", "1e-12", "--to", "1e-11", "--steps", 40, "--json").stdout)
    assert found["suggestion"] is found["verdict"] is None
    assert found["set"] == ""


@pytest.mark.full
def test_a_loss_that_is_no_number_fails_with_a_way_on(recipe_file: Path) -> None:
    deep = 'model.layers=["conv(4, 3)", "relu", "conv(4, 3)", "relu", "flatten", "dense(classes)"]'
    rates = ("--set", "train.optimizer=sgd(1)", "--from", "1e20", "--to", "1e21")
    done = lr(recipe_file, "--set", deep, *rates, "--steps", 20)
    assert done.exit_code == 1
    assert "no rate can be suggested: the loss blew up after " in done.stderr
    assert "begin lower: --from 1e+17 --to 1" in done.stderr
