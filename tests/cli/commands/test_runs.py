"""`cnnlab runs`: its forms, and what does not go together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cnnlab.cli.main import app
from cnnlab.config.recipe import Recipe
from cnnlab.reports.runs_table import collect_results
from cnnlab.storage.run_folder import RunFolder

NO_RUNS = "no runs in runs; 'cnnlab train RECIPE' makes one\n"


@pytest.fixture(scope="module")
def made(
    recipe: Callable[..., Recipe], trained: Callable[..., RunFolder], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with one run, with a claim, and one that was cut off."""
    claims = {"test_accuracy": {"published": 0.5, "source": "table 1"}}
    folder = trained(recipe(("flatten", "dense(classes)"), claims=claims), name="net")
    runs = shutil.copytree(folder.path.parent, tmp_path_factory.mktemp("listed") / "runs")
    cut = shutil.copytree(folder.path, runs / "20260101-000000-cut")
    (cut / "result.json").unlink()
    return runs


def ask(runs: Path, *options: str) -> str:
    answer = CliRunner().invoke(app, ["runs", "--runs", str(runs), *options])
    assert answer.exit_code == 0, answer.stderr
    return answer.stdout


def test_claims_in_every_form(made: Path) -> None:
    found = collect_results(made)
    assert json.loads(ask(made, "--claims", "--json")) == json.loads(found.to_json())
    assert ask(made, "--claims", "--format=markdown") == found.document().to_markdown()
    assert ask(made, "--claims", "--format=latex") == found.document().to_latex()
    shown = ask(made, "--claims")
    assert all(text in shown for text in ("Published and measured", "table 1", "Left out: 20260101-000000-cut"))


def test_the_list_in_every_form(made: Path) -> None:
    names = [run["run"] for run in json.loads(ask(made, "--json"))]
    assert len(names) == 2
    for form in ((), ("--format=markdown",), ("--format=latex",)):
        assert all(name in ask(made, *form) for name in names)
    assert ask(made, "--format=markdown").splitlines()[2].startswith("| run | status | data |")


def test_without_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ask(Path("runs"), "--claims") == ask(Path("runs")) == NO_RUNS
    assert json.loads(ask(Path("runs"), "--claims", "--json")) == {"experiments": [], "left_out": []}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--claims", "--sort", "test"], "claims stand by recipe"),
        (["--claims", "--reverse"], "claims stand by recipe"),
        (["--recipes", "recipes"], "a list of runs needs no recipes"),
        (["--claims", "--recipes", "nowhere"], "there is no such folder"),
        (["--claims", "--json", "--format=markdown"], "the output has one format"),
        (["--sort", "tset"], "did you mean 'test'?"),
    ],
)
def test_what_does_not_go_together(options: list[str], said: str, tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["runs", "--runs", str(tmp_path), *options])
    assert answer.exit_code == 2
    assert said in answer.stderr
