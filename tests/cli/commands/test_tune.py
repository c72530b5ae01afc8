"""`cnnlab tune`, from words to answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
import sklearn  # noqa: F401  (sets environment variables when it is first imported, as by Optuna where it is there)
from typer.testing import CliRunner, Result

from cnnlab.cli.main import app
from cnnlab.config.recipe import Recipe


@pytest.fixture
def file(recipe: Callable[..., Recipe], tmp_path: Path) -> Path:
    """A search beside its base recipe."""
    recipe(layers=["flatten", "dense(classes)"]).write(tmp_path / "tiny.toml")
    path = tmp_path / "rates.toml"
    path.write_text(
        'base = "tiny.toml"\nquestion = "Which rate?"\ntrials = 3\nsampler = "random"\nconfirm = 2\n'
        '[search]\nlr = "log(1e-3, 1e-1)"\n[use]\ntrain.optimizer = "sgd(lr)"\n'
    )
    return path


def tune(file: Path, *words: object) -> Result:
    """The command; its runs lie beside the file, unless the words say otherwise."""
    return CliRunner().invoke(
        app, ["tune", *map(str, (file, "--device", "cpu", "--runs", file.parent / "runs", *words))]
    )


@pytest.mark.full
def test_the_answer_is_told_shown_and_kept(file: Path, tmp_path: Path) -> None:
    done = tune(file, "--svg", tmp_path / "trials.svg", "--trials", 2, "--set", "train.epochs=1")
    assert done.exit_code == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert told.startswith("Which rate?")
    assert "is the best of 2 finished trials, with validation accuracy" in told
    assert "search rates: 2 trials; computing in fp32" in done.stderr
    assert "2 of 2: trial 1, lr 0.0" in done.stderr
    assert "2 of 2 trials, best" in done.stderr
    folder = tmp_path / "runs" / "tuning" / "rates"
    assert {"report.html", "result.json", "best.toml", "search.toml", "optuna.db"} <= {
        path.name for path in folder.iterdir()
    }
    assert ElementTree.parse(tmp_path / "trials.svg").getroot().tag.endswith("svg")
    again = tune(folder / "search.toml", "--name", "rates", "--runs", tmp_path / "runs", "--json")
    assert again.exit_code == 0, again.stderr
    assert "2 of 2 trials are finished already" in again.stderr
    found = json.loads(again.stdout)
    assert [trial["number"] for trial in found["trials"]] == [0, 1]
    assert found["best"] in found["trials"]
    assert {"params", "value", "status", "seconds", "runs"} <= found["best"].keys()
    assert found["report"].endswith("tuning/rates/report.html")
    assert Recipe.read(found["recipe"]).train.optimizer.lr == found["best"]["params"]["lr"]
    for form, words in (("--format=markdown", "| trial |"), ("--format=latex", "\\toprule")):
        assert words in tune(folder / "search.toml", "--name", "rates", form).stdout


def test_a_plan_runs_nothing(file: Path) -> None:
    done = tune(file, "--plan")
    assert done.exit_code == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "3 trials of 1 run, up to" in told
    assert "8 runs in all" in told
    assert not (file.parent / "runs").exists()
    assert json.loads(tune(file, "--plan", "--json").stdout)["runs"] == 8


def test_a_search_that_comes_with_cnnlab_is_found_by_its_name(tmp_path: Path) -> None:
    done = tune(Path("tune-lenet"), "--plan", "--set", "data.source=nowhere.zip", "--runs", tmp_path)
    assert done.exit_code == 2
    assert "nowhere.zip" in done.stderr


def test_a_search_whose_confirmation_could_not_be_made_exits_with_1(file: Path) -> None:
    short = ("--set", "data.test=0.0", "--set", "train.epochs=1", "--set", "train.optimizer=sgd(1e-12)", "--trials", 1)
    done = tune(file, *short)
    assert done.exit_code == 1, done.output
    assert "Nothing is confirmed: the data has no test split." in done.stdout
    assert "report.html" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--set", "train.epoch=3"), "did you mean 'epochs'"),
        (("--svg", "here.png"), "this is no name for an SVG picture"),
        (("--json", "--format=latex"), "the output has one format"),
        (("--storage", "nonsense://x"), "this storage can't be opened"),
    ],
)
def test_wrong_words_are_told(file: Path, words: tuple[str, ...], told: str) -> None:
    done = tune(file, *words)
    assert done.exit_code == 2
    assert told in done.stderr


def test_without_optuna_it_is_said_how_to_get_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = tune(file)
    assert done.exit_code == 2
    assert "pip install 'cnnlab[optuna]'" in done.stderr
    assert not (file.parent / "runs").exists()
