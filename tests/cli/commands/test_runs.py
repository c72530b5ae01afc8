"""`cnnlab runs`: its forms, and what does not go together."""

from __future__ import annotations

import csv
import io
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


def test_the_final_table_in_every_form(made: Path) -> None:
    (folder,) = [path for path in made.iterdir() if (path / "result.json").is_file()]
    result = json.loads((folder / "result.json").read_text())
    (row,) = json.loads(ask(made, "--table", "final", "--json"))["runs"]
    (cells,) = csv.DictReader(io.StringIO(ask(made, "--table", "final", "--format", "csv")))
    assert (cells["recipe"], cells["seed"]) == ("net", str(row["seed"]))
    for split in ("train", "validation", "test"):
        for measure in ("loss", "accuracy"):
            value = (result[split] or {}).get(measure)
            assert (row[split] or {}).get(measure) == value
            cell = cells[f"{split} {measure}"]
            assert cell == "" if value is None else float(cell) == pytest.approx(value, abs=5e-4)
    for form in ((), ("--format=markdown",), ("--format=latex",)):
        shown = ask(made, "--table=final", *form)
        assert "Final figures" in shown
        assert "Left out: 20260101-000000-cut" in shown


def test_chosen_runs_alone_are_shown(made: Path) -> None:
    cut, (other,) = made / "20260101-000000-cut", [path for path in made.iterdir() if (path / "result.json").is_file()]
    assert [run["run"] for run in json.loads(ask(made, str(cut), "--json"))] == [cut.name]
    shown = json.loads(ask(made, str(other), "--table=final", "--json"))
    assert [run["run"] for run in shown["runs"]] == [other.name]
    assert shown["left_out"] == []
    assert json.loads(ask(made, str(other), "--claims", "--json"))["left_out"] == []


def test_the_list_as_csv_has_plain_numbers(made: Path) -> None:
    rows = {row["run"]: row for row in csv.DictReader(io.StringIO(ask(made, "--format", "csv")))}
    listed = {run["run"]: run["parameters"] for run in json.loads(ask(made, "--json"))}
    assert {name: int(row["parameters"]) if row["parameters"] else None for name, row in rows.items()} == listed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--claims", "--table", "final"), "leave --claims or --table final out"),
        (("--claims", "--format", "csv"), "leave --claims or --format csv out"),
        (("--table", "final", "--sort", "test"), "leave --sort and --reverse out"),
        (("no-such-run",), "no-such-run"),
    ],
)
def test_options_that_do_not_go_together(made: Path, options: tuple[str, ...], words: str) -> None:
    refused = CliRunner().invoke(app, ["runs", "--runs", str(made), *options])
    assert refused.exit_code != 0
    assert words in refused.stderr


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
