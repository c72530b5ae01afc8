"""`cnnlab verify`: its forms, its exit codes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cnnlab.api.verify import verify
from cnnlab.cli.main import app
from cnnlab.config.recipe import Recipe
from cnnlab.storage.run_folder import RunFolder


@pytest.fixture(scope="module")
def made(recipe: Callable[..., Recipe], trained: Callable[..., RunFolder]) -> RunFolder:
    claims = {"test_accuracy": {"published": 0.5, "source": "table 1"}}
    return trained(recipe(("flatten", "dense(classes)"), claims=claims), name="net")


def ask(*words: str, code: int = 0) -> str:
    answer = CliRunner().invoke(app, ["verify", *words])
    assert answer.exit_code == code, answer.stderr
    return answer.stdout


def test_claims_in_every_form(made: RunFolder, tmp_path: Path) -> None:
    file = tmp_path / "net.toml"
    made.recipe().write(file)
    runs = ["--runs", str(made.path.parent)]
    found = verify(file, runs=made.path.parent)
    (claim,) = json.loads(ask(str(file), *runs, "--json"))["claims"]
    assert {"name", "published", "measured", "low", "high", "n", "verdict"} <= claim.keys()
    assert (claim["name"], claim["n"], claim["verdict"]) == ("test_accuracy", 1, "not enough evidence")
    assert ask(str(file), *runs, "--format=markdown") == found.document().to_markdown()
    assert ask(str(file), *runs, "--format=latex") == found.document().to_latex()
    assert "1 not enough evidence" in ask(str(file), *runs)
    assert "table 1" in ask(str(made.path), "--format=markdown")


def test_a_run_that_holds_and_one_that_was_tampered_with(made: RunFolder, tmp_path: Path) -> None:
    runs = shutil.copytree(made.path.parent, tmp_path / "runs")  # to recompute is a look, which the ledger keeps
    told = json.loads(ask(str(runs / made.name), "--recompute", "--json", "--device", "cpu"))
    assert (told["holds"], len(told["runs"])) == (True, 1)
    result = json.loads((runs / made.name / "result.json").read_text())
    result["test"]["accuracy"] = 0.123
    (runs / made.name / "result.json").write_text(json.dumps(result))
    told = json.loads(ask(str(runs), "--recompute", "--json", "--device", "cpu", code=1))
    wrong = [figure["name"] for figure in told["runs"][0]["figures"] if not figure["holds"]]
    assert wrong == ["test accuracy, of predictions-test.npz", "test accuracy"]
    shown = ask(str(runs), "--recompute", "--device", "cpu", code=1)
    assert "what does not hold" in shown
    assert "0.123" in shown


def test_files_are_not_recalculated(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["verify", str(tmp_path / "x.toml"), "--recompute"])
    assert answer.exit_code == 2
    assert "--recompute takes runs" in answer.stderr
